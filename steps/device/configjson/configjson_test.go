package configjson

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-json"
)

const canary = "canary-0123456789abcdef"

// good is what balena hands out for a fleet (E3).
func good() map[string]any {
	return map[string]any{
		"apiEndpoint": "https://api.balena-cloud.com", "vpnEndpoint": "cloudlink.balena-cloud.com", "vpnPort": 443,
		"registryEndpoint": "registry2.balena-cloud.com", "deltaEndpoint": "https://delta.balena-cloud.com",
		"applicationId": 1234567, "deviceType": "genericx86-64-ext", "listenPort": 48484, "appUpdatePollInterval": 900000,
		"apiKey": canary, "wifiSsid": "home", "wifiKey": canary, "os": map[string]any{"sshKeys": []string{canary}},
	}
}

func parse(t *testing.T, members map[string]any) *File {
	t.Helper()
	data, err := json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	f, err := Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestCheck(t *testing.T) {
	const uuid = "0123456789abcdef0123456789abcdef"
	registered := map[string]any{"apiKey": nil, "uuid": uuid, "deviceApiKey": canary, "deviceId": 1, "registered_at": 1700000000}
	with := func(more map[string]any, name string, value any) map[string]any {
		out := map[string]any{name: value}
		for k, v := range more {
			if k != name {
				out[k] = v
			}
		}
		return out
	}
	for _, c := range []struct {
		name   string
		change map[string]any
		want   []string // the members that are blocked
	}{
		{"a fleet's", nil, nil},
		{"numbers as texts", map[string]any{"vpnPort": "443", "listenPort": "48484", "applicationId": "12"}, nil},
		{"registered before (E4)", registered, nil},
		{"62 digits of uuid (E8)", with(registered, "uuid", strings.Repeat("0a", 31)), nil},
		{"registered, nobody knows when (E4)", with(registered, "registered_at", nil), []string{"registered_at"}},
		{"the same with the fleet's key (E4)", with(with(registered, "registered_at", nil), "apiKey", canary), nil},
		{"uuid in capitals (E8)", map[string]any{"uuid": strings.ToUpper(uuid)}, []string{"uuid"}},
		{"uuid as a number", map[string]any{"uuid": 5}, []string{"uuid"}},
		{"device key without its uuid", with(registered, "uuid", nil), []string{"uuid"}},
		{"no key", map[string]any{"apiKey": ""}, []string{"apiKey"}},
		{"key of another type", map[string]any{"apiKey": 5}, []string{"apiKey"}},
		{"application by name (E6)", map[string]any{"applicationId": "my-fleet"}, []string{"applicationId"}},
		{"application 0", map[string]any{"applicationId": 0}, []string{"applicationId"}},
		{"fractions and signs", map[string]any{"listenPort": 1.5, "appUpdatePollInterval": -1}, []string{"listenPort", "appUpdatePollInterval"}},
		{"port out of range", map[string]any{"vpnPort": 65536}, []string{"vpnPort"}},
		{"API without a scheme", map[string]any{"apiEndpoint": "api.balena-cloud.com"}, []string{"apiEndpoint"}},
		{"API by ftp", map[string]any{"apiEndpoint": "ftp://api.balena-cloud.com"}, []string{"apiEndpoint"}},
		{"API without a host", map[string]any{"apiEndpoint": "https:///v7"}, []string{"apiEndpoint"}},
		{"VPN with a scheme", map[string]any{"vpnEndpoint": "https://vpn.balena-cloud.com"}, []string{"vpnEndpoint"}},
		{"registry with a path, VPN with a blank", map[string]any{"vpnEndpoint": "a b", "registryEndpoint": "r.example/v2"}, []string{"vpnEndpoint", "registryEndpoint"}},
		{"hosts with ports, IPv6", map[string]any{"vpnEndpoint": "[2001:db8::1]:443", "registryEndpoint": "r.example:5000"}, nil},
		{"servers as texts (E2)", map[string]any{"dnsServers": "null", "ntpServers": "a b", "balenaRootCA": ""}, nil},
		{"servers as lists (E2)", map[string]any{"dnsServers": []string{"9.9.9.9"}, "ntpServers": 5}, []string{"dnsServers", "ntpServers"}},
		{"CA (E2)", map[string]any{"balenaRootCA": rootCA(t)}, nil},
		{"CA that is no base64 (E2)", map[string]any{"balenaRootCA": canary}, []string{"balenaRootCA"}},
		{"CA that is no certificate (E2)", map[string]any{"balenaRootCA": "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCkFBQUEKLS0tLS1FTkQgQ0VSVElGSUNBVEUtLS0tLQo="}, []string{"balenaRootCA"}},
		{"os of another type", map[string]any{"os": canary}, []string{"os"}},
		{"keys in another case", map[string]any{"apiKey": nil, "APIKEY": canary}, []string{"apiKey"}},
		{"all of it missing", map[string]any{
			"apiEndpoint": nil, "vpnEndpoint": nil, "registryEndpoint": nil, "deltaEndpoint": nil, "deviceType": nil,
			"applicationId": nil, "vpnPort": nil, "listenPort": nil, "appUpdatePollInterval": nil, "apiKey": nil,
		}, []string{
			"apiEndpoint", "vpnEndpoint", "registryEndpoint", "deltaEndpoint", "deviceType",
			"applicationId", "vpnPort", "listenPort", "appUpdatePollInterval", "apiKey",
		}},
	} {
		members := good()
		for k, v := range c.change {
			if members[k] = v; v == nil {
				delete(members, k)
			}
		}
		var got []string
		for _, b := range parse(t, members).Check() {
			member, _, _ := strings.Cut(b.Got, ":")
			got = append(got, member)
			if b.Check != "config-json" || b.Want == "" || b.Remedy == "" || strings.Contains(b.Got+b.Want+b.Remedy, canary) {
				t.Errorf("%s: %+v", c.name, b)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: blocked %v, want %v", c.name, got, c.want)
		}
	}
}

// rootCA is balenaRootCA: a certificate in PEM, in base64.
func rootCA(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func TestMembers(t *testing.T) {
	f := parse(t, good())
	ssid, key := f.Wifi()
	if ssid != "home" || key != canary || f.DeviceType() != "genericx86-64-ext" || f.Number("vpnPort") != 443 {
		t.Errorf("wifi %q %q, device type %q, VPN port %d", ssid, key, f.DeviceType(), f.Number("vpnPort"))
	}
	if f.Text("vpnPort") != "" || f.Number("apiKey") != 0 || f.Number("no such") != 0 {
		t.Error("members of another type, or none, have a value")
	}
}

func TestParseRefuses(t *testing.T) {
	for _, text := range []string{
		"", "null", "[]", `"` + canary + `"`, "{" + canary, `{"apiKey":"` + canary + `"} x`, `{"a":1}{"b":2}`, `{"a":1}}`, "\x1f\x8b\x08" + canary,
		strings.Repeat("[", 100000),
	} {
		f, err := Parse([]byte(text))
		if err == nil || f != nil {
			t.Errorf("%.40q was taken for a config.json", text)
		} else if strings.Contains(err.Error(), canary) {
			t.Errorf("%.40q: the error shows the content: %v", text, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"apiKey":"k","vpnPort":"443","uuid":5}`))
	f.Add([]byte(`{"apiEndpoint":"https://[::1"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse(data)
		if err != nil {
			return
		}
		if !json.Valid(data) {
			t.Errorf("%q was taken for JSON", data)
		}
		c.Check()
	})
}
