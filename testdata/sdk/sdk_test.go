package sdk

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/balena-community/balena-migrate/steps/device/balena"
	"github.com/balena-community/balena-migrate/steps/device/registration"
	"github.com/balena-community/balena-migrate/steps/host"
	"github.com/balena-community/balena-migrate/testdata/balenaapi"
)

const (
	userKey    = "canary-user-key"
	fleet      = "operator/gateways"
	deviceType = "intel-nuc" // not the fleet's own
	version    = "6.1.24"
	poll       = 10
)

// modules is the folder with the SDK. It is installed once for a lock file.
func modules(t *testing.T) string {
	t.Helper()
	lock, err := os.ReadFile("package-lock.json")
	if err != nil {
		t.Fatal(err)
	}
	base := os.Getenv("BALENA_LAB_DIR")
	if base == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			t.Fatal(err)
		}
		base = filepath.Join(home, ".cache", "balena-migrate-lab")
	}
	dir := filepath.Join(base, fmt.Sprintf("sdk-%.8x", sha256.Sum256(lock)))
	if _, err := os.Stat(dir); err == nil {
		return filepath.Join(dir, "node_modules")
	}
	if err := os.MkdirAll(base, 0o755); err != nil {
		t.Fatal(err)
	}
	part, err := os.MkdirTemp(base, "sdk-part-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(part)
	run(t, nil, "cp", "package.json", "package-lock.json", part)
	run(t, nil, "npm", "ci", "--prefix", part, "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline")
	if err := os.Rename(part, dir); err != nil && !os.IsExist(err) {
		if _, there := os.Stat(dir); there != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "node_modules")
}

func run(t *testing.T, env []string, argv ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
	return out
}

// side is what one of the two asked a server for, and what it got.
type side struct {
	api    *balenaapi.Server
	uuid   string
	config map[string]any
	status map[string]any
}

func newServer(t *testing.T) (*balenaapi.Server, string) {
	t.Helper()
	api := balenaapi.New(userKey, "canary-session")
	api.Delay = 0
	api.AddFleet(fleet, "generic-amd64")
	web := httptest.NewServer(api)
	t.Cleanup(web.Close)
	return api, web.URL
}

// ours registers a device, which asks for config.json too, and waits for it once.
func ours(t *testing.T) side {
	t.Helper()
	api, address := newServer(t)
	s := &registration.Store{Files: host.At(t.TempDir()), Dir: "/state"}
	c := &balena.Client{Net: s.Files, URL: address, Token: userKey}
	doc, err := s.Register(t.Context(), c, registration.Wish{Name: "gateway-1", Fleet: fleet, DeviceType: deviceType, OSVersion: version, Poll: poll})
	if err != nil {
		t.Fatal(err)
	}
	arrival, err := s.Wait(t.Context(), c, "gateway-1", registration.Patience{Timeout: time.Minute, Interval: time.Second, Once: true})
	if err != nil {
		t.Fatal(err)
	}
	data, err := s.Files.ReadFile(doc.ConfigJSON)
	if err != nil {
		t.Fatal(err)
	}
	out := side{api: api, uuid: doc.UUID, status: map[string]any{
		"api_heartbeat_state": arrival.Heartbeat, "overall_status": arrival.Status, "is_online": arrival.IsOnline,
	}}
	if err := json.Unmarshal(data, &out.config); err != nil {
		t.Fatal(err)
	}
	return out
}

// theirs does the same by the SDK.
func theirs(t *testing.T, uuid string, selected []string) side {
	t.Helper()
	node := modules(t)
	api, address := newServer(t)
	input, err := json.Marshal(map[string]any{
		"url": address, "dir": t.TempDir(), "token": userKey, "fleet": fleet, "uuid": uuid, "deviceType": deviceType, "version": version,
		"poll": poll, "keyName": balena.KeyName, "select": selected,
	})
	if err != nil {
		t.Fatal(err)
	}
	out := run(t, []string{"INPUT=" + string(input), "NODE_PATH=" + node}, "node", "requests.js")
	var got struct {
		Unique     string
		Registered struct{ UUID string }
		Config     map[string]any
		Device     map[string]any
	}
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if form := regexp.MustCompile(`^[0-9a-f]{32}$`); !form.MatchString(got.Unique) || !form.MatchString(balena.NewKey()) {
		t.Errorf("the SDK's keys are like %s, ours like %s; want 32 hex digits", got.Unique, balena.NewKey())
	}
	return side{api: api, uuid: got.Registered.UUID, config: got.Config, status: got.Device}
}

// asked is a request, taken apart. Names that stand for what is another each time: UUID, the key's role.
func asked(t *testing.T, s side, r balenaapi.Request) map[string]string {
	t.Helper()
	out := map[string]string{
		"method": r.Method, "path": strings.ReplaceAll(r.Path, s.uuid, "UUID"), "authorization": s.api.Role(r.Header.Get("Authorization")),
		"type": strings.Split(r.Header.Get("Content-Type"), ";")[0],
	}
	query, err := url.ParseQuery(r.Query)
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range query {
		words := strings.Split(strings.Join(values, ","), ",")
		slices.Sort(words)
		out["query "+name] = strings.Join(words, ",")
	}
	if r.Body == "" {
		return out
	}
	var body map[string]any
	if err := json.Unmarshal([]byte(r.Body), &body); err != nil {
		t.Fatalf("%s: %v", r.Body, err)
	}
	for name, value := range body {
		out["body "+name] = strings.ReplaceAll(fmt.Sprintf("%T %v", value, value), s.uuid, "UUID")
	}
	return out
}

// intended are the differences that there are meant to be: request and what of it, and why.
var intended = map[string]string{
	"register: body user": "only the SDK sends it: the API takes it or not, and finding it out would be one more request for each device",
	"register: body api_key": "only we send it: the key is chosen and on the disk before the request, so that a lost answer loses no key; " +
		"the SDK takes one that the server makes",
}

// more are requests that only the SDK makes for the same, and why we don't.
var more = map[string]string{
	"GET /actor/v1/whoami":   "to find out the user, whom we don't send",
	"POST /api-key/v1/":      "a provisioning key for each device: ours is the one of the fleet's config.json, one for all",
	"GET /v7/device_type":    "architecture of the type: precheck and prepare-image compare device, image and config.json on the device itself",
	"GET /v7/application":    "to find the fleet's number by its slug: three times, we do once for a fleet",
	"POST /device/register":  "",
	"POST /download-config":  "",
	"GET /v7/device(uuid='U": "",
}

// TestSDK: register, config and status are asked for as balena's own SDK asks for them.
func TestSDK(t *testing.T) {
	we := ours(t)
	status := we.api.Requests("GET /v7/device(")
	if len(status) != 1 {
		t.Fatalf("%d requests for the status, want one", len(status))
	}
	query, err := url.ParseQuery(status[0].Query)
	if err != nil {
		t.Fatal(err)
	}
	they := theirs(t, we.uuid, strings.Split(query.Get("$select"), ","))
	found := map[string]bool{}
	for name, at := range map[string]string{"register": "POST /device/register", "config": "POST /download-config", "status": "GET /v7/device("} {
		mine, yours := we.api.Requests(at), they.api.Requests(at)
		if len(mine) != 1 || len(yours) != 1 {
			t.Fatalf("%s: %d requests of ours, %d of theirs, want one each", name, len(mine), len(yours))
		}
		a, b := asked(t, we, mine[0]), asked(t, they, yours[0])
		keys := slices.Sorted(maps.Keys(a))
		for _, k := range append(keys, slices.Sorted(maps.Keys(b))...) {
			if a[k] == b[k] {
				continue
			}
			at := name + ": " + k
			found[at] = true
			if intended[at] == "" {
				t.Errorf("%s: ours %q, theirs %q", at, a[k], b[k])
			}
		}
		t.Logf("%s: %d parts compared: %v", name, len(b), slices.Sorted(maps.Keys(b)))
	}
	for at := range intended {
		if !found[at] {
			t.Errorf("%s is said to differ, but does not", at)
		}
	}
	for _, r := range they.api.Requests("") {
		known := slices.ContainsFunc(slices.Collect(maps.Keys(more)), func(p string) bool {
			return strings.HasPrefix(strings.ReplaceAll(r.Method+" "+r.Path, they.uuid, "U"), p)
		})
		if !known {
			t.Errorf("the SDK also asks %s %s", r.Method, r.Path)
		}
	}
	sameAnswers(t, we, they)
}

// sameAnswers: what both made of it is the same config.json, but for keys and who the device is, and the same status.
func sameAnswers(t *testing.T, we, they side) {
	t.Helper()
	own := []string{"uuid", "deviceApiKey", "deviceId", "registered_at"} // E4: what makes the fleet's a device's
	for _, name := range own {
		if we.config[name] == nil {
			t.Errorf("our config.json has no %s", name)
		}
		delete(we.config, name)
	}
	for _, c := range []map[string]any{we.config, they.config} {
		if key, _ := c["apiKey"].(string); len(key) != 32 {
			t.Errorf("config.json has no key of the fleet")
		}
		delete(c, "apiKey")
	}
	if !maps.Equal(we.config, they.config) {
		t.Errorf("config.json: ours %v, theirs %v", we.config, they.config)
	}
	for name, value := range we.status {
		if they.status[name] != value {
			t.Errorf("%s: ours %v, theirs %v", name, value, they.status[name])
		}
	}
}
