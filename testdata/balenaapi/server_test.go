package balenaapi

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"
)

const (
	typeJSON = "application/json; charset=utf-8"
	typeHTML = "text/html; charset=utf-8"
	typeText = "text/plain; charset=utf-8"
	uuid     = "0123456789abcdef0123456789abcdef"
)

type bench struct {
	*Server
	t     *testing.T
	url   string
	names *strings.Replacer
}

// newBench is a server with a fleet and one registered device. Names in requests: FLEET, OTHER, PROV, PROV2, OLD, VPN, ID32.
func newBench(t *testing.T) *bench {
	t.Helper()
	s := New("userkey", "jwt")
	s.Delay = 0
	f, other := s.AddFleet("operator/gateways", "generic-amd64"), s.AddFleet("operator/others", "generic-amd64")
	web := httptest.NewServer(s)
	t.Cleanup(web.Close)
	b := &bench{Server: s, t: t, url: web.URL}
	b.names = strings.NewReplacer("FLEET", fmt.Sprint(f.ID), "OTHER", fmt.Sprint(other.ID), "PROV2", s.AddKey("provisioning", other.ID, time.Time{}),
		"PROV", s.AddKey("provisioning", f.ID, time.Time{}), "OLD", s.AddKey("provisioning", f.ID, time.Now().Add(-time.Hour)),
		"VPN", s.AddKey("vpn", 0, time.Time{}), "ID32", uuid)
	return b
}

// head is an answer without its body.
type head struct {
	StatusCode       int
	Header           http.Header
	TransferEncoding []string
}

// ask makes a request "METHOD path [key [body]]".
func (b *bench) ask(text string, header ...string) (head, string) {
	b.t.Helper()
	word := strings.SplitN(b.names.Replace(text), " ", 4)
	for len(word) < 4 {
		word = append(word, "")
	}
	q, err := http.NewRequestWithContext(b.t.Context(), word[0], b.url+word[1], strings.NewReader(word[3]))
	if err != nil {
		b.t.Fatal(err)
	}
	q.Header.Set("User-Agent", "curl/8")
	if word[2] != "" && word[2] != "-" {
		q.Header.Set("Authorization", "Bearer "+word[2])
	}
	if word[3] != "" {
		q.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		q.Header.Set(header[i], header[i+1])
	}
	res, err := (&http.Transport{DisableCompression: true}).RoundTrip(q)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return head{res.StatusCode, res.Header, res.TransferEncoding}, string(body)
}

const device = `{"application":FLEET,"device_type":"generic-amd64","uuid":"ID32"`

// Each answer as it was recorded of the real server: status, content type, body (an expression for what differs each time).
func TestAnswers(t *testing.T) {
	for _, tt := range []struct {
		name, ask    string
		status       int
		kind, answer string
	}{
		{"ping", "GET /ping", 200, typeText, "OK"},
		{"connectivity", "GET /connectivity-check", 204, "", ""},
		{"no path", "GET /nowhere", 404, "", ""},
		{"login", `POST /login_ - {"username":"operator","password":"password"}`, 200, typeText, "jwt"},
		{"wrong login", `POST /login_ - {"username":"operator","password":"x"}`, 401, "", ""},
		{"whoami", "GET /user/v1/whoami jwt", 200, typeJSON, `{"email":"operator@balena.test","id":2,"username":"operator"}`},
		{"whoami without", "GET /user/v1/whoami", 401, "", ""},
		{"actor of a device", "GET /actor/v1/whoami DEVKEY", 200, typeJSON, `{"actorType":"device","actorTypeId":\d+,"id":\d+,"uuid":"ID32"}`},
		{"actor of a deleted device", "GET /actor/v1/whoami GONE", 401, typeJSON, `"Actor \d+ is not associated to any resource"`},
		{"user key", "POST /api-key/user/full jwt {}", 200, typeJSON, `"\w{32}"`},
		{"provisioning key", "POST /api-key/application/FLEET/provisioning userkey {}", 200, typeJSON, `"\w{32}"`},
		{"of no fleet", "POST /api-key/application/7/provisioning userkey {}", 500, typeText, "No application found to associate with the api key"},
		{"v2 without date", `POST /api-key/v2 userkey {"actorType":"application","actorTypeId":FLEET}`, 400, typeJSON, `"Key expiry date should be a valid date"`},
		{"v2", `POST /api-key/v2 userkey {"actorType":"application","actorTypeId":FLEET,"expiryDate":null}`, 200, typeJSON, `"\w{32}"`},
		{"old key route", "POST /application/FLEET/generate-api-key userkey {}", 404, typeJSON, `"Role 'user-api-key' not found"`},
		{"register by user key", "POST /device/register userkey " + strings.Replace(device, "ID32", strings.Repeat("a", 62), 1) + "}", 201, typeJSON, `{"id":\d+,"uuid":"a{62}","api_key":"\w{32}"}`},
		{"register by query", "POST /device/register?apikey=PROV - " + strings.Replace(device, "ID32", strings.Repeat("b", 32), 1) + `,"api_key":"mine","x":1}`, 201, typeJSON, `{"id":\d+,"uuid":"b{32}","api_key":"mine"}`},
		{"register again", "POST /device/register PROV " + device + "}", 409, typeHTML, `"uuid" must be unique.`},
		{"register with a used key", "POST /device/register PROV " + strings.Replace(device, "ID32", strings.Repeat("c", 32), 1) + `,"api_key":"DEVKEY"}`, 409, typeJSON, `"\\"key\\" must be unique."`},
		{"register with a dead key", "POST /device/register PROV " + strings.Replace(device, "ID32", strings.Repeat("c", 32), 1) + `,"api_key":"GONE"}`, 409, typeJSON, `"\\"key\\" must be unique."`},
		{"no type", `POST /device/register PROV {"application":FLEET,"uuid":"ID32"}`, 400, typeJSON, `"Device type must be specified"`},
		{"no uuid", `POST /device/register PROV {"application":"FLEET","device_type":"x"}`, 400, typeJSON, `"UUID must be specified"`},
		{"no fleet", `POST /device/register PROV {"application":"x"}`, 400, typeJSON, `"Application ID must be a valid integer"`},
		{"bad uuid", `POST /device/register PROV {"application":FLEET,"device_type":"generic-amd64","uuid":"ABC"}`, 400, typeJSON, `"Device UUID must be a 32 or 62 character long lower case hex string."`},
		{"wrong member", `POST /device/register PROV {"application":FLEET,"device_type":1,"uuid":"ID32"}`, 400, "", ""},
		{"broken JSON", `POST /device/register PROV {"application":`, 400, typeHTML, `(?s)<!DOCTYPE html>.*`},
		{"register by session", "POST /device/register jwt " + device + "}", 401, typeJSON, `{"error":"API key required"}`},
		{"by no key", "POST /device/register - " + device + "}", 401, typeJSON, `{"error":"API key required"}`},
		{"by an expired key", "POST /device/register OLD " + device + "}", 401, typeJSON, `{"error":"API key required"}`},
		{"by another fleet's key", "POST /device/register PROV2 " + strings.Replace(device, "ID32", strings.Repeat("c", 32), 1) + "}", 401, "", ""},
		{"unknown type", `POST /device/register PROV {"application":FLEET,"device_type":"nope","uuid":"` + strings.Repeat("c", 32) + `"}`, 404, typeJSON, `"Unknown device type nope"`},
		{"another architecture", `POST /device/register PROV {"application":FLEET,"device_type":"raspberrypi3","uuid":"` + strings.Repeat("c", 32) + `"}`, 201, typeJSON, `{.*}`},
		{"config", `POST /download-config jwt {"appId":"FLEET","version":"6.1.24","appUpdatePollInterval":10}`, 200, typeJSON, `{"apiEndpoint":"https://api.balena.test","apiKey":"\w{32}","appUpdatePollInterval":600000,"applicationId":FLEET,.*}`},
		{"config by GET", `GET /download-config?appId=FLEET&version=6.1.24&developmentMode=true userkey`, 200, typeJSON, `{.*"appUpdatePollInterval":60000,.*"developmentMode":true,.*}`},
		{"config by a fleet's key", `POST /download-config PROV {"appId":FLEET,"version":"6.1.24"}`, 401, "", ""},
		{"config without fleet", `POST /download-config jwt {"version":"6.1.24"}`, 400, typeJSON, `"An appId is required."`},
		{"config without version", `POST /download-config jwt {"appId":FLEET}`, 400, typeJSON, `"A version is required."`},
		{"config of another's", `POST /download-config jwt {"appId":7,"version":"6.1.24"}`, 404, typeJSON, `"You do not have permission to access this application"`},
		{"config of no type", `POST /download-config jwt {"appId":FLEET,"version":"6.1.24","deviceType":"nope"}`, 404, typeJSON, `"Unknown device type nope"`},
		{"device", `GET /v7/device(uuid='ID32')?$select=is_online,api_heartbeat_state jwt`, 200, typeJSON, `{"d":\[{"api_heartbeat_state":"unknown","is_online":false}\]}`},
		{"device by filter", `GET /v7/device?$filter=uuid%20eq%20'ID32'&$select=uuid jwt`, 200, typeJSON, `{"d":\[{"uuid":"ID32"}\]}`},
		{"no device", `GET /v7/device(uuid='ff')?$select=id jwt`, 200, typeJSON, `{"d":\[\]}`},
		{"device by a fleet's key", `GET /v7/device(uuid='ID32') PROV`, 401, "", ""},
		{"device by its own key", `DELETE /v7/device(uuid='ID32') DEVKEY`, 401, "", ""},
		{"unknown member", `GET /v7/device(uuid='ID32')?$select=nope jwt`, 500, "", ""},
		{"unknown resource", `GET /v7/nope jwt`, 401, "", ""},
		{"no address", `GET /v7/device((( jwt`, 400, typeJSON, `"Malformed url: '/v7/device\(\(\('"`},
		{"delete none", `DELETE /v7/device(uuid='ff') jwt`, 200, "", ""},
		{"state", `GET /device/v2/ID32/state DEVKEY`, 200, typeJSON, `{"dependent":{"apps":{},"devices":{}},"local":{.*}}`},
		{"state 3", `GET /device/v3/ID32/state DEVKEY`, 200, typeJSON, `{"ID32":{"apps":{.*},"config":{"RESIN_SUPERVISOR_POLL_INTERVAL":"900000"},"name":"wild-moon"}}`},
		{"state of none", `GET /device/v2/ff/state DEVKEY`, 304, "", ""},
		{"state without key", `GET /device/v3/ID32/state`, 401, "", ""},
		{"tell", `PATCH /device/v2/ID32/state DEVKEY {"local":{"os_version":"balenaOS 6.1.24","x":1}}`, 200, "", ""},
		{"tell nothing", `PATCH /device/v2/ID32/state DEVKEY {}`, 400, "", ""},
		{"tell rubbish", `PATCH /device/v2/ID32/state DEVKEY {"local":{"os_version":7}}`, 400, "", ""},
		{"tell of none", `PATCH /device/v2/ff/state DEVKEY {"local":{}}`, 200, "", ""},
		{"tell without key", `PATCH /device/v2/ID32/state - {"local":{}}`, 401, typeJSON, `{"error":"API key required"}`},
		{"tell 3 of none", `PATCH /device/v3/state DEVKEY {"ff":{}}`, 401, "", ""},
		{"types", "GET /device-types/v1/nope", 404, typeJSON, `"Unknown device type nope"`},
		{"type's number", "GET /v7/device_type(slug='intel-nuc')?$select=slug userkey", 200, typeJSON, `{"d":\[{"slug":"intel-nuc"}\]}`},
		{"row that is there", `POST /v7/device jwt {"uuid":"ID32","belongs_to__application":FLEET}`, 409, typeJSON, `"\\"uuid\\" must be unique."`},
		{"fleet by slug of its type", `POST /v7/application jwt {"app_name":"x","device_type":"intel-nuc"}`, 500, "", ""},
		{"fleet that is there", `POST /v7/application jwt {"app_name":"gateways"}`, 409, typeJSON, `"\\"slug\\" must be unique."`},
	} {
		b := newBench(t)
		_, dead := b.ask("POST /device/register PROV " + strings.Replace(device, "ID32", strings.Repeat("d", 32), 1) + "}")
		b.Delete(strings.Repeat("d", 32))
		_, live := b.ask("POST /device/register PROV " + device + "}")
		tt.ask = strings.NewReplacer("GONE", keyOf(dead), "DEVKEY", keyOf(live)).Replace(tt.ask)
		res, body := b.ask(tt.ask)
		if res.StatusCode != tt.status || res.Header.Get("Content-Type") != tt.kind || !regexp.MustCompile("^"+b.names.Replace(tt.answer)+"$").MatchString(body) {
			t.Errorf("%s: %d %q %s; want %d %q %s", tt.name, res.StatusCode, res.Header.Get("Content-Type"), body, tt.status, tt.kind, tt.answer)
		}
		if tag := res.Header.Get("ETag"); strings.HasPrefix(tag, "W/") != (tt.kind != "") {
			t.Errorf("%s: tag %q", tt.name, tag)
		}
		if tt.kind == "" && res.StatusCode != 204 && res.StatusCode != 304 && strings.Join(res.TransferEncoding, "") != "chunked" {
			t.Errorf("%s: an empty answer by %v, want chunked", tt.name, res.TransferEncoding)
		}
		if odata := strings.Contains(tt.ask, " /v7/"); odata != (res.Header.Get("Cache-Control") == "no-cache") {
			t.Errorf("%s: Cache-Control %q", tt.name, res.Header.Get("Cache-Control"))
		}
	}
}

func keyOf(registered string) string {
	return regexp.MustCompile(`"api_key":"(\w+)"`).FindStringSubmatch(registered)[1]
}

// Three at once: one is made, two are told so.
func TestTogether(t *testing.T) {
	b := newBench(t)
	out := make(chan int, 3)
	for range 3 {
		go func() {
			res, _ := b.ask("POST /device/register PROV " + device + "}")
			out <- res.StatusCode
		}()
	}
	if sum := <-out + <-out + <-out; sum != 201+409+409 {
		t.Errorf("the statuses' sum is %d, want 1019", sum)
	}
}

func TestLoginLimit(t *testing.T) {
	b := newBench(t)
	for range 10 {
		b.ask(`POST /login_ - {"username":"operator","password":"x"}`)
	}
	if res, body := b.ask(`POST /login_ - {"username":"operator","password":"x"}`); res.StatusCode != 429 || res.Header.Get("Retry-After") != "3600" || body != `"Too Many Requests"` {
		t.Errorf("%d %s", res.StatusCode, body)
	}
}

func TestHeaders(t *testing.T) {
	b := newBench(t)
	for agent, want := range map[string]string{"curl/8": "", "Supervisor/17": "", "": "", "balena-migrate": "DENY"} {
		if res, _ := b.ask("GET /ping", "User-Agent", agent); res.Header.Get("X-Frame-Options") != want {
			t.Errorf("agent %q: X-Frame-Options %q, want %q", agent, res.Header.Get("X-Frame-Options"), want)
		}
	}
	res, _ := b.ask("GET /user/v1/whoami jwt", "X-Forwarded-For", "192.0.2.1")
	if res.StatusCode != 301 || res.Header.Get("Location") != "https://api.balena.test/user/v1/whoami" {
		t.Errorf("%d to %q", res.StatusCode, res.Header.Get("Location"))
	}
	if res, _ := b.ask("GET /user/v1/whoami jwt", "X-Forwarded-For", "192.0.2.1", "X-Forwarded-Proto", "https"); res.StatusCode != 200 {
		t.Errorf("%d behind https", res.StatusCode)
	}
	_, live := b.ask("POST /device/register PROV " + device + "}")
	first, _ := b.ask("GET /device/v3/ID32/state " + keyOf(live))
	if again, body := b.ask("GET /device/v3/ID32/state "+keyOf(live), "If-None-Match", first.Header.Get("ETag")); again.StatusCode != 304 || body != "" {
		t.Errorf("%d %s for what the asker has", again.StatusCode, body)
	}
}
