package registration

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-json"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps/device/balena"
	"github.com/balena-community/balena-migrate/testdata/balenaapi"
)

// arrive is what a device's supervisor does: it asks for its state, and tells what it runs.
func (b *bench) arrive(doc *schema.DeviceRegistration, osVersion string) {
	b.t.Helper()
	key, _ := b.config(doc)["deviceApiKey"].(string)
	b.call("GET", "/device/v3/"+doc.UUID+"/state", key, "")
	b.tell(doc, key, osVersion)
}

func (b *bench) tell(doc *schema.DeviceRegistration, key, osVersion string) {
	b.t.Helper()
	body, err := json.Marshal(map[string]any{doc.UUID: map[string]any{"os_version": osVersion, "os_variant": "prod", "supervisor_version": "17.0.1"}})
	if err != nil {
		b.t.Fatal(err)
	}
	b.call("PATCH", "/device/v3/state", key, string(body))
}

func (b *bench) call(method, path, key, body string) {
	b.t.Helper()
	q, err := http.NewRequestWithContext(b.t.Context(), method, b.url+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	q.Header.Set("Authorization", "Bearer "+key)
	q.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(q)
	if err != nil {
		b.t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 200 {
		b.t.Fatalf("%s %s: %s", method, path, res.Status)
	}
}

func once() Patience { return Patience{Timeout: time.Minute, Interval: time.Second, Once: true} }

func (b *bench) wait(p Patience) *schema.DeviceArrival {
	b.t.Helper()
	doc, err := b.store().Wait(b.t.Context(), b.client(), "gateway-1", p)
	if err != nil {
		b.t.Fatal(err)
	}
	text, err := schema.Encode(doc)
	if err != nil {
		b.t.Fatal(err)
	}
	if err := schema.Decode(text, "it", "device-arrival", &schema.DeviceArrival{}); err != nil {
		b.t.Error(err)
	}
	return doc
}

// E14: neither the heartbeat alone nor the version alone is an arrival, and is_online is none at all.
func TestArrival(t *testing.T) {
	for name, tt := range map[string]struct {
		before       func(*bench, *schema.DeviceRegistration, string)
		beat, status string
		online       bool
		msg          string
	}{
		"registered": {func(*bench, *schema.DeviceRegistration, string) {}, "unknown", "configuring", false, "is not online: heartbeat unknown"},
		"told its version": {func(b *bench, d *schema.DeviceRegistration, key string) { b.tell(d, key, "balenaOS 6.1.24") },
			"unknown", "configuring", false, "heartbeat unknown, balenaOS 6.1.24, supervisor 17.0.1"},
		"asked for its state": {func(b *bench, d *schema.DeviceRegistration, key string) {
			b.call("GET", "/device/v2/"+d.UUID+"/state", key, "")
		}, "online", "reduced-functionality", false, "heartbeat online"},
		"asked by its owner": {func(b *bench, d *schema.DeviceRegistration, key string) {
			b.call("GET", "/device/v2/"+d.UUID+"/state", userKey, "")
			b.tell(d, key, "balenaOS 6.1.24")
		}, "unknown", "configuring", false, ""},
		"VPN alone": {func(b *bench, d *schema.DeviceRegistration, _ string) {
			vpn := b.api.AddKey("vpn", 0, time.Time{})
			b.call("PATCH", "/v7/device(uuid='"+d.UUID+"')", vpn, `{"is_connected_to_vpn":true}`)
		}, "unknown", "disconnected", false, ""},
		"arrived":              {func(b *bench, d *schema.DeviceRegistration, _ string) { b.arrive(d, "balenaOS 6.1.24") }, "online", "reduced-functionality", true, "gateway-1 is online: heartbeat online, balenaOS 6.1.24"},
		"arrived, a revision":  {func(b *bench, d *schema.DeviceRegistration, _ string) { b.arrive(d, "balenaOS 6.1.24+rev2") }, "online", "reduced-functionality", true, ""},
		"another version":      {func(b *bench, d *schema.DeviceRegistration, _ string) { b.arrive(d, "balenaOS 6.1.2") }, "online", "reduced-functionality", false, "is online, but runs balenaOS 6.1.2 instead of 6.1.24"},
		"another system":       {func(b *bench, d *schema.DeviceRegistration, _ string) { b.arrive(d, "Raspbian 6.1.24") }, "online", "reduced-functionality", false, ""},
		"a cursor that dances": {func(b *bench, d *schema.DeviceRegistration, _ string) { b.arrive(d, "balenaOS \x1b[2J6") }, "online", "reduced-functionality", false, "balenaOS  [2J6"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			d := b.register("gateway-1")
			tt.before(b, d, b.config(d)["deviceApiKey"].(string))
			got := b.wait(once())
			if got.Heartbeat != tt.beat || got.Status != tt.status || got.Online != tt.online || got.Failed == tt.online || !strings.Contains(got.Msg, tt.msg) {
				t.Errorf("heartbeat %s, status %s, online %v, %q; want %s, %s, %v, %q", got.Heartbeat, got.Status, got.Online, got.Msg, tt.beat, tt.status, tt.online, tt.msg)
			}
			if !got.Registered || got.DeviceID != d.DeviceID || got.Looks != 1 || got.Since == "" || got.Seen == "" {
				t.Errorf("%+v", got)
			}
		})
	}
}

// Without an expected version any of balenaOS is an arrival.
func TestArrivalOfAny(t *testing.T) {
	b := newBench(t)
	w := wish("gateway-1")
	w.OSVersion = ""
	d, err := b.store().Register(t.Context(), b.client(), w)
	if err != nil {
		t.Fatal(err)
	}
	b.arrive(d, "Resin OS 2.9.7+rev2")
	if got := b.wait(once()); !got.Online {
		t.Errorf("%+v", got)
	}
	p := once()
	p.OSVersion = "^6.1"
	if got := b.wait(p); got.Online {
		t.Errorf("%+v", got)
	}
}

// The heartbeat goes the way of the real server's: online, timeout after 1.5 intervals, then offline.
func TestArrivalHeartbeat(t *testing.T) {
	b := newBench(t)
	d := b.register("gateway-1")
	b.arrive(d, "balenaOS 6.1.24")
	for silent, want := range map[time.Duration]string{22 * time.Minute: "online", 22*time.Minute + 40*time.Second: "timeout", 23 * time.Minute: "offline"} {
		b.api.Now = func() time.Time { return time.Now().Add(silent) }
		if got := b.wait(once()); got.Heartbeat != want || got.Online != (want == "online") {
			t.Errorf("after %s: %s, online %v, want %s", silent, got.Heartbeat, got.Online, want)
		}
	}
}

// It is waited until the device comes, through all that goes wrong, and not a moment longer than allowed.
func TestWait(t *testing.T) {
	for name, fault := range faults() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			d := b.register("gateway-1")
			b.api.Forget()
			// Seven failures: more than one look takes by itself.
			fault.At, fault.Times = "GET /v7/device", 7
			if name == "slow" {
				fault.Times, fault.Slow = 1, 400*time.Millisecond
			}
			b.api.Fail(fault)
			time.AfterFunc(300*time.Millisecond, func() { b.arrive(d, "balenaOS 6.1.24") })
			got := b.wait(Patience{Timeout: 20 * time.Second, Interval: 50 * time.Millisecond})
			if !got.Online || got.Looks < 2 && name != "slow" || got.Trouble != "" || b.api.Pending() != 0 {
				t.Errorf("%+v with %d faults left", got, b.api.Pending())
			}
		})
	}
}

func TestWaitInVain(t *testing.T) {
	b := newBench(t)
	b.register("gateway-1")
	var told []string
	began := time.Now()
	got := b.wait(Patience{Timeout: 500 * time.Millisecond, Interval: 20 * time.Millisecond, Progress: func(msg string) { told = append(told, msg) }})
	if got.Online || !got.Failed || !got.Registered || got.Looks < 3 || time.Since(began) > 5*time.Second || !strings.Contains(got.Msg, "is not online: heartbeat unknown") {
		t.Errorf("after %s: %+v", time.Since(began), got)
	}
	if strings.Join(told, "|") != "heartbeat unknown" {
		t.Errorf("told %q, want what is new alone", told)
	}
}

// A server that never answers is not a device that is not there, and does not hold up the end.
func TestWaitUnanswered(t *testing.T) {
	b := newBench(t)
	b.register("gateway-1")
	b.api.Fail(balenaapi.Fault{At: "GET /v7/device", Times: 1000, Slow: time.Minute})
	began := time.Now()
	got := b.wait(Patience{Timeout: 700 * time.Millisecond, Interval: 20 * time.Millisecond})
	if got.Online || got.Seen != "" || time.Since(began) > 10*time.Second || got.Trouble == "" || !strings.Contains(got.Msg, "could not be asked") {
		t.Errorf("after %s: %+v", time.Since(began), got)
	}
}

// What the server asks for in Retry-After is kept to: one request, then nothing until the end.
func TestWaitRetryAfter(t *testing.T) {
	b := newBench(t)
	b.register("gateway-1")
	b.api.Forget()
	b.api.Fail(balenaapi.Fault{At: "GET /v7/device", Times: 1000, Status: 429, Header: map[string]string{"Retry-After": "3600"}})
	got := b.wait(Patience{Timeout: time.Second, Interval: 20 * time.Millisecond})
	if n := len(b.api.Requests("GET /v7/device")); n != 1 || got.Online || !strings.Contains(got.Msg, "could not be asked") || !strings.Contains(got.Trouble, "429") || got.RetryAfter != 3600 {
		t.Errorf("%d requests, want 1; %+v", n, got)
	}
}

// What time does not heal ends the wait at once.
func TestWaitEnds(t *testing.T) {
	b := newBench(t)
	p := Patience{Timeout: time.Minute, Interval: 20 * time.Millisecond}
	if _, err := b.store().Wait(t.Context(), b.client(), "gateway-1", p); !errors.Is(err, ErrNotRegistered) {
		t.Errorf("not registered: %v", err)
	}
	d := b.register("gateway-1")
	c := b.client()
	c.Token = "canary-nobody"
	var refused *balena.Refused
	if _, err := b.store().Wait(t.Context(), c, "gateway-1", p); !errors.As(err, &refused) || strings.Contains(err.Error(), "canary") {
		t.Errorf("unknown key: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	if _, err := b.store().Wait(ctx, b.client(), "gateway-1", p); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	b.api.Delete(d.UUID)
	if got := b.wait(p); got.Registered || got.Online || got.Looks != 1 || !strings.Contains(got.Msg, "balena knows no such device") {
		t.Errorf("deleted: %+v", got)
	}
}

// E15, S152: an unused registration goes, with its file; the same name is registered again later, under the same uuid.
func TestRemove(t *testing.T) {
	b := newBench(t)
	first := b.register("gateway-1")
	key := b.config(first)["deviceApiKey"]
	doc, blocked, err := b.store().Remove(t.Context(), b.client(), Removal{Name: "gateway-1"})
	if err != nil || len(blocked) > 0 || !doc.Changed || doc.State != schema.Removed || len(b.api.Devices()) != 0 {
		t.Fatalf("%+v, %v, %v, %d devices", doc, blocked, err, len(b.api.Devices()))
	}
	if _, err := os.Stat(filepath.Join(b.root, first.ConfigJSON)); err == nil {
		t.Error("config.json is still there")
	}
	b.api.Forget()
	doc, _, err = b.store().Remove(t.Context(), b.client(), Removal{Name: "gateway-1"})
	if err != nil || doc.Changed || doc.State != schema.None || len(b.api.Requests("")) != 0 {
		t.Errorf("again: %+v, %v", doc, err)
	}
	again := b.register("gateway-1")
	if again.UUID != first.UUID || b.config(again)["deviceApiKey"] == key {
		t.Errorf("first %+v, again %+v", first, again)
	}
	b.holds(again)
}

func TestRemoveUnknown(t *testing.T) {
	b := newBench(t)
	doc, _, err := b.store().Remove(t.Context(), b.client(), Removal{Name: "gateway-1"})
	if err != nil || doc.Changed || len(b.api.Requests("")) != 0 {
		t.Errorf("%+v, %v", doc, err)
	}
}

// A device that was ever heard of is no orphan: only somebody who says so deletes it.
func TestRemoveUsed(t *testing.T) {
	for name, use := range map[string]func(*bench, *schema.DeviceRegistration, string){
		"online":  func(b *bench, d *schema.DeviceRegistration, _ string) { b.arrive(d, "balenaOS 6.1.24") },
		"version": func(b *bench, d *schema.DeviceRegistration, key string) { b.tell(d, key, "balenaOS 6.1.24") },
		"offline": func(b *bench, d *schema.DeviceRegistration, key string) {
			b.call("GET", "/device/v2/"+d.UUID+"/state", key, "")
			b.api.Now = func() time.Time { return time.Now().Add(time.Hour) }
		},
		"VPN": func(b *bench, d *schema.DeviceRegistration, _ string) {
			b.call("PATCH", "/v7/device(uuid='"+d.UUID+"')", b.api.AddKey("vpn", 0, time.Time{}), `{"is_connected_to_vpn":true}`)
		},
	} {
		b := newBench(t)
		d := b.register("gateway-1")
		use(b, d, b.config(d)["deviceApiKey"].(string))
		doc, blocked, err := b.store().Remove(t.Context(), b.client(), Removal{Name: "gateway-1"})
		if err != nil || doc != nil || len(blocked) != 1 || blocked[0].Remedy == "" || len(b.api.Devices()) != 1 || len(b.api.Requests("DELETE")) != 0 {
			t.Errorf("%s: %+v, %v, %v", name, doc, blocked, err)
		}
		if doc, blocked, err = b.store().Remove(t.Context(), b.client(), Removal{Name: "gateway-1", Force: true}); err != nil || len(blocked) > 0 || !doc.Changed || len(b.api.Devices()) != 0 {
			t.Errorf("%s, by force: %+v, %v, %v", name, doc, blocked, err)
		}
	}
}

func TestRemoveCheck(t *testing.T) {
	b := newBench(t)
	d := b.register("gateway-1")
	doc, _, err := b.store().Remove(t.Context(), b.client(), Removal{Name: "gateway-1", Check: true})
	if err != nil || !doc.Changed || !doc.Check {
		t.Errorf("%+v, %v", doc, err)
	}
	b.holds(d)
}

// Whatever goes wrong once on the way, the device is gone in the end; what lasts is an error, and the next run goes on.
func TestRemoveFaults(t *testing.T) {
	for _, at := range []string{"GET /v7/device", "DELETE /v7/device"} {
		for name, fault := range faults() {
			t.Run(at+" "+name, func(t *testing.T) {
				t.Parallel()
				b := newBench(t)
				b.register("gateway-1")
				fault.At, fault.Times = at, 1
				b.api.Fail(fault)
				c := b.client()
				if name == "slow" {
					c.Idle = time.Second
				}
				if _, _, err := b.store().Remove(t.Context(), c, Removal{Name: "gateway-1"}); err != nil || len(b.api.Devices()) != 0 || b.api.Pending() != 0 {
					t.Errorf("%v, %d devices, %d faults left", err, len(b.api.Devices()), b.api.Pending())
				}
			})
		}
	}
	b := newBench(t)
	b.register("gateway-1")
	b.api.Fail(balenaapi.Fault{At: "DELETE", Times: 5, Lose: true})
	if _, _, err := b.store().Remove(t.Context(), b.client(), Removal{Name: "gateway-1"}); err == nil {
		t.Error("no error though every answer was lost")
	}
	doc, _, err := b.store().Remove(t.Context(), b.client(), Removal{Name: "gateway-1"})
	if err != nil || !doc.Changed || len(b.api.Devices()) != 0 {
		t.Errorf("%+v, %v", doc, err)
	}
}
