package registration

import (
	"context"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-json"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps/device/balena"
	"github.com/balena-community/balena-migrate/steps/device/configjson"
	"github.com/balena-community/balena-migrate/steps/host"
	"github.com/balena-community/balena-migrate/testdata/balenaapi"
)

const (
	userKey = "canary-user-key"
	session = "canary-session"
	slug    = "operator/gateways"
)

// bench is a server with a fleet, and a folder of a controller.
type bench struct {
	t     *testing.T
	api   *balenaapi.Server
	fleet *balenaapi.Fleet
	url   string
	root  string
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, api: balenaapi.New(userKey, session), root: t.TempDir()}
	b.api.Delay = 0
	b.fleet = b.api.AddFleet(slug, "generic-amd64")
	web := httptest.NewServer(b.api)
	t.Cleanup(web.Close)
	b.url = web.URL
	return b
}

// store is another process on the same controller.
func (b *bench) store() *Store { return &Store{Files: host.At(b.root), Dir: "/state"} }

// client does not really wait between two tries.
func (b *bench) client() *balena.Client {
	return &balena.Client{
		Net: host.At(b.root), URL: b.url, Token: userKey, Idle: 20 * time.Second,
		Wait: func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
	}
}

func wish(name string) Wish { return Wish{Name: name, Fleet: slug, OSVersion: "6.1.24", Poll: 10} }

func (b *bench) register(name string) *schema.DeviceRegistration {
	b.t.Helper()
	doc, err := b.store().Register(b.t.Context(), b.client(), wish(name))
	if err != nil {
		b.t.Fatal(err)
	}
	return doc
}

// config is the device's config.json.
func (b *bench) config(doc *schema.DeviceRegistration) map[string]any {
	b.t.Helper()
	data, err := os.ReadFile(filepath.Join(b.root, doc.ConfigJSON))
	if err != nil {
		b.t.Fatal(err)
	}
	f, err := configjson.Parse(data)
	if err != nil {
		b.t.Fatal(err)
	}
	if bad := f.Check(); len(bad) > 0 {
		b.t.Errorf("config.json: %v", bad)
	}
	var out map[string]any
	if err := json.Unmarshal(data, &out); err != nil {
		b.t.Fatal(err)
	}
	return out
}

// holds says that the devices are registered once each, with the keys that their files have.
func (b *bench) holds(docs ...*schema.DeviceRegistration) {
	b.t.Helper()
	devices := b.api.Devices()
	if len(devices) != len(docs) {
		b.t.Fatalf("%d devices are registered, want %d", len(devices), len(docs))
	}
	for _, doc := range docs {
		c := b.config(doc)
		key, _ := c["deviceApiKey"].(string)
		owner, err := b.client().With(key).Owner(b.t.Context())
		if err != nil || owner != doc.UUID || c["uuid"] != doc.UUID || c["deviceId"] != float64(doc.DeviceID) {
			b.t.Errorf("%s is %s, device %d; its key is that of %q (%v), config.json has %v, device %v", doc.Name, doc.UUID, doc.DeviceID, owner, err, c["uuid"], c["deviceId"])
		}
	}
}

func TestRegister(t *testing.T) {
	b := newBench(t)
	doc, err := b.store().Register(t.Context(), b.client(), Wish{Name: "shop/1 ä", Fleet: slug, OSVersion: "6.1.24", Poll: 10, Hostname: "shop-1"})
	if err != nil {
		t.Fatal(err)
	}
	b.holds(doc)
	c := b.config(doc)
	for name, want := range map[string]any{
		"hostname": "shop-1", "applicationId": float64(b.fleet.ID), "deviceType": "generic-amd64", "appUpdatePollInterval": 600000.0,
	} {
		if c[name] != want {
			t.Errorf("config.json: %s is %v, want %v", name, c[name], want)
		}
	}
	if c["apiKey"] == "" || c["registered_at"].(float64) < 1.7e9 || doc.State != schema.Registered || !doc.Changed || doc.Fleet != b.fleet.ID {
		t.Errorf("config.json registered at %v; document %+v", c["registered_at"], doc)
	}
	text, err := schema.Encode(doc)
	if err != nil || strings.Contains(string(text), c["deviceApiKey"].(string)) || strings.Contains(string(text), c["apiKey"].(string)) {
		t.Errorf("a key is in the document (%v):\n%s", err, text)
	}
	if err := schema.Decode(text, "it", "device-registration", &schema.DeviceRegistration{}); err != nil {
		t.Error(err)
	}
	b.private()
}

// private: nothing in the directory is for others.
func (b *bench) private() {
	b.t.Helper()
	files := 0
	err := filepath.Walk(filepath.Join(b.root, "state"), func(path string, info os.FileInfo, err error) error {
		if err == nil && info.Mode()&0o077 != 0 {
			b.t.Errorf("%s has mode %v", path, info.Mode())
		}
		if err == nil && info.Mode().IsRegular() {
			files++
		}
		return err
	})
	if err != nil || files != 3 {
		b.t.Errorf("%d files, want registration, config.json and the fleet's; %v", files, err)
	}
}

func TestRegisterAgain(t *testing.T) {
	b := newBench(t)
	first := b.register("gateway-1")
	b.api.Forget()
	again := b.register("gateway-1")
	if again.Changed || again.UUID != first.UUID || again.DeviceID != first.DeviceID {
		t.Errorf("first %+v, again %+v", first, again)
	}
	if all := b.api.Requests(""); len(all) != 1 || all[0].Method != "GET" {
		t.Errorf("%d requests for what is done, want one look", len(all))
	}
	if err := os.Remove(filepath.Join(b.root, first.ConfigJSON)); err != nil {
		t.Fatal(err)
	}
	if mended := b.register("gateway-1"); !mended.Changed {
		t.Error("a config.json that is gone was not written again")
	}
	b.holds(first)
}

// What was deleted in balena is registered anew: the same uuid, and another key, as the old one stays known for ever.
func TestRegisterDeleted(t *testing.T) {
	b := newBench(t)
	first := b.register("gateway-1")
	key := b.config(first)["deviceApiKey"]
	b.api.Delete(first.UUID)
	again := b.register("gateway-1")
	if !again.Changed || again.UUID != first.UUID || again.DeviceID == first.DeviceID || b.config(again)["deviceApiKey"] == key {
		t.Errorf("first %+v, again %+v", first, again)
	}
	b.holds(again)
}

// A request whose answer was lost, and then a device that was deleted: the key is known, the device is not.
func TestRegisterUsedKey(t *testing.T) {
	b := newBench(t)
	b.api.Fail(balenaapi.Fault{At: "POST /device/register", Times: 1, Lose: true})
	c := b.client()
	c.Tries = 1
	if _, err := b.store().Register(t.Context(), c, wish("gateway-1")); err == nil {
		t.Fatal("a lost answer is no error")
	}
	b.api.Delete(b.api.Devices()[0].UUID)
	b.holds(b.register("gateway-1"))
	if n := len(b.api.Requests("POST /device/register")); n != 3 {
		t.Errorf("%d requests, want the lost one, one with the used key, one with another", n)
	}
}

// A device that is ours, but whose key is not the one that we have: it gets that.
func TestRegisterForeignKey(t *testing.T) {
	b := newBench(t)
	first := b.register("gateway-1")
	b.api.Revoke(b.config(first)["deviceApiKey"].(string))
	rec, err := b.store().Load("gateway-1")
	if err != nil {
		t.Fatal(err)
	}
	rec.State = schema.Requested
	if err := b.store().save(rec); err != nil {
		t.Fatal(err)
	}
	for _, f := range []balenaapi.Fault{{At: "POST /api-key/", Times: 1, Lose: true}, {At: "POST /api-key/", Times: 1, Status: 503}} {
		b.api.Fail(f)
	}
	again := b.register("gateway-1")
	if again.UUID != first.UUID || again.DeviceID != first.DeviceID || b.api.Pending() != 0 {
		t.Errorf("first %+v, again %+v, faults left %d", first, again, b.api.Pending())
	}
	b.holds(again)
}
