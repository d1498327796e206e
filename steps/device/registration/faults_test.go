package registration

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps/device/balena"
	"github.com/balena-community/balena-migrate/testdata/balenaapi"
)

// faults are what networks and servers do, once.
func faults() map[string]balenaapi.Fault {
	return map[string]balenaapi.Fault{
		"429":  {Status: 429, Header: map[string]string{"Retry-After": "3", "Content-Type": "application/json; charset=utf-8"}, Body: `"Too Many Requests"`},
		"500":  {Status: 500},
		"502":  {Status: 502, Header: map[string]string{"Content-Type": "text/html"}, Body: "<html><h1>502 Bad Gateway</h1></html>"},
		"503":  {Status: 503, Header: map[string]string{"Retry-After": "1"}},
		"slow": {Slow: 2 * time.Second},
		"drop": {Drop: true},
		"lose": {Lose: true},
		"cut":  {Cut: true},
	}
}

// Whatever goes wrong once with whichever request: the device is registered once, and its key is the one in its file.
func TestRegisterFaults(t *testing.T) {
	for _, at := range []string{"GET /v7/application", "GET /v7/release", "POST /download-config", "POST /device/register", "GET /v7/device", "GET /actor/v1/whoami"} {
		for name, fault := range faults() {
			t.Run(at+" "+name, func(t *testing.T) {
				t.Parallel()
				b := newBench(t)
				fault.At, fault.Times = at, 1
				b.api.Fail(fault)
				if at == "GET /v7/device" || at == "GET /actor/v1/whoami" { // asked only where an answer was lost
					b.api.Fail(balenaapi.Fault{At: "POST /device/register", Times: 1, Lose: true})
				}
				w := wish("gateway-1")
				w.OSVersion = "" // the latest is asked for
				c := b.client()
				if name == "slow" {
					c.Idle = time.Second
				}
				doc, err := b.store().Register(t.Context(), c, w)
				if err != nil {
					t.Fatal(err)
				}
				if b.api.Pending() != 0 {
					t.Error("the fault did not happen")
				}
				b.holds(doc)
				keys, want := b.api.Keys(b.fleet.ID), 1
				if at == "POST /download-config" && (name == "lose" || name == "cut") {
					want = 2 // one that nobody has: it can't be helped, as every request makes one
				}
				if keys != want {
					t.Errorf("%d provisioning keys, want %d", keys, want)
				}
			})
		}
	}
}

// A fault that lasts ends in an error; when it is over the next run goes on, and still there is one device.
func TestRegisterInterrupted(t *testing.T) {
	for _, at := range []string{"POST /download-config", "POST /device/register", "GET /actor/v1/whoami"} {
		for _, name := range []string{"429", "500", "lose", "cut", "drop"} {
			t.Run(at+" "+name, func(t *testing.T) {
				t.Parallel()
				b := newBench(t)
				fault := faults()[name]
				fault.At, fault.Times = at, 5
				b.api.Fail(fault)
				if at == "GET /actor/v1/whoami" {
					b.api.Fail(balenaapi.Fault{At: "POST /device/register", Times: 1, Lose: true})
				}
				_, err := b.store().Register(t.Context(), b.client(), wish("gateway-1"))
				// A registration of which only the answer is lost is recognised within the same run.
				if recognised := at == "POST /device/register" && (name == "lose" || name == "cut"); err == nil && !recognised {
					t.Error("no error")
				}
				if err != nil && strings.Contains(err.Error(), "canary") {
					t.Errorf("a key is in %v", err)
				}
				b.holds(b.register("gateway-1"))
			})
		}
	}
}

// Fifty devices at the same moment, each in a process of its own: one config.json is fetched, and each is registered once,
// although 25 answers are lost.
func TestRegisterTogether(t *testing.T) {
	b := newBench(t)
	const devices = 50
	for n := range devices / 2 {
		b.api.Fail(balenaapi.Fault{At: "POST /device/register", Times: 1, After: 2 * n, Lose: true})
	}
	docs := [2][]*schema.DeviceRegistration{make([]*schema.DeviceRegistration, devices), make([]*schema.DeviceRegistration, devices)}
	var all sync.WaitGroup
	for n := range devices {
		for run := range docs { // each twice: a second run that somebody started
			all.Go(func() {
				c := b.client()
				c.Tries = 30 // every other answer is lost, for whomever it is
				doc, err := b.store().Register(t.Context(), c, wish(fmt.Sprint("gateway-", n)))
				if err != nil {
					t.Error(err)
				}
				docs[run][n] = doc
			})
		}
	}
	all.Wait()
	if n := b.api.Keys(b.fleet.ID); n != 1 || len(b.api.Requests("POST /download-config")) != 1 {
		t.Errorf("config.json was fetched %d times, want once", n)
	}
	if b.api.Pending() != 0 {
		t.Errorf("%d answers were not lost", b.api.Pending())
	}
	if !t.Failed() {
		b.holds(docs[0]...)
		b.holds(docs[1]...)
	}
}

// What can't go by itself is an error at once that says what helps, and shows no key.
func TestRegisterRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		spoil    func(*bench, *Wish, *balena.Client)
		want     string
		requests int
	}{
		"no such fleet":  {func(_ *bench, w *Wish, _ *balena.Client) { w.Fleet = "operator/none" }, "found none that this key may see", 1},
		"no such number": {func(_ *bench, w *Wish, _ *balena.Client) { w.Fleet = "77" }, "found none", 1},
		"unknown type":   {func(_ *bench, w *Wish, _ *balena.Client) { w.DeviceType = "nope" }, "Unknown device type nope", 2},
		"old version":    {func(_ *bench, w *Wish, _ *balena.Client) { w.OSVersion = "1.0.0" }, "no longer supported", 2},
		"unknown key":    {func(_ *bench, _ *Wish, c *balena.Client) { c.Token = "canary-nobody" }, "status 401", 1},
		"a fleet's key": {func(b *bench, _ *Wish, c *balena.Client) {
			c.Token = b.api.AddKey("provisioning", b.fleet.ID, time.Time{})
		}, "status 401", 1},
		"key over http":   {func(_ *bench, _ *Wish, c *balena.Client) { c.URL = "http://192.0.2.1" }, "not sent over http", 0},
		"no name":         {func(_ *bench, w *Wish, _ *balena.Client) { w.Name = "" }, "no name for a device", 0},
		"name of a novel": {func(_ *bench, w *Wish, _ *balena.Client) { w.Name = strings.Repeat("ä", 50) }, "no name for a device", 0},
	} {
		b := newBench(t)
		w, c := wish("gateway-1"), b.client()
		tt.spoil(b, &w, c)
		_, err := b.store().Register(t.Context(), c, w)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
		if n := len(b.api.Requests("")); n != tt.requests {
			t.Errorf("%s: %d requests, want %d", name, n, tt.requests)
		}
	}
}

func TestRegisterRevokedKey(t *testing.T) {
	b := newBench(t)
	first := b.register("gateway-1")
	b.api.Revoke(b.config(first)["apiKey"].(string))
	if _, err := b.store().Register(t.Context(), b.client(), wish("gateway-2")); !errors.Is(err, ErrProvisioning) {
		t.Errorf("error %v, want one about the provisioning key", err)
	}
	if err := os.RemoveAll(filepath.Join(b.root, "state/fleets")); err != nil {
		t.Fatal(err)
	}
	b.holds(b.register("gateway-1"), b.register("gateway-2"))
}

// A session token is as good as a key: registering itself goes by the fleet's key, which is all that it takes.
func TestRegisterBySession(t *testing.T) {
	b := newBench(t)
	c := b.client()
	c.Token = session
	w := wish("gateway-1")
	w.Fleet = fmt.Sprint(b.fleet.ID)
	doc, err := b.store().Register(t.Context(), c, w)
	if err != nil {
		t.Fatal(err)
	}
	b.holds(doc)
}

// The same name in another fleet would leave the first registration without anybody who knows of it.
func TestRegisterElsewhere(t *testing.T) {
	b := newBench(t)
	b.api.AddFleet("operator/others", "generic-amd64")
	b.register("gateway-1")
	w := wish("gateway-1")
	w.Fleet = "others" // by its bare name
	_, err := b.store().Register(t.Context(), b.client(), w)
	var elsewhere *Elsewhere
	if !errors.As(err, &elsewhere) || len(b.api.Devices()) != 1 {
		t.Errorf("error %v with %d devices, want a refusal and the first", err, len(b.api.Devices()))
	}
	if _, _, err := b.store().Remove(t.Context(), b.client(), Removal{Name: "gateway-1"}); err != nil {
		t.Fatal(err)
	}
	doc, err := b.store().Register(t.Context(), b.client(), w)
	if err != nil {
		t.Fatal(err)
	}
	b.holds(doc)
}

func TestRegisterCheck(t *testing.T) {
	b := newBench(t)
	look := func() *schema.DeviceRegistration {
		t.Helper()
		doc, err := b.store().CheckRegister(t.Context(), b.client(), wish("gateway-1"))
		if err != nil || !doc.Check {
			t.Fatal(doc, err)
		}
		return doc
	}
	if doc := look(); !doc.Changed || doc.State != schema.None {
		t.Errorf("%+v", doc)
	}
	if _, err := os.Stat(filepath.Join(b.root, "state")); err == nil || len(b.api.Requests("")) != 0 {
		t.Error("check mode left something")
	}
	first := b.register("gateway-1")
	if doc := look(); doc.Changed || doc.UUID != first.UUID || doc.ConfigJSON != first.ConfigJSON {
		t.Errorf("%+v", doc)
	}
	b.api.Delete(first.UUID)
	if doc := look(); !doc.Changed || len(b.api.Devices()) != 0 {
		t.Errorf("%+v", doc)
	}
}

func TestDamagedRecord(t *testing.T) {
	b := newBench(t)
	doc := b.register("gateway-1")
	path := filepath.Join(b.root, filepath.Dir(doc.ConfigJSON), recordName)
	if err := os.WriteFile(path, []byte(`{"schema":"registration/1","api_key":"canary-key"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := b.store().Register(t.Context(), b.client(), wish("gateway-1"))
	var invalid *schema.Invalid
	if !errors.As(err, &invalid) || strings.Contains(err.Error(), "canary") || len(b.api.Devices()) != 1 {
		t.Errorf("error %v with %d devices, want the file named and nothing done", err, len(b.api.Devices()))
	}
}
