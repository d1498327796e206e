package precheck

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps/host/hosttest"
	"github.com/balena-community/balena-migrate/steps/steptest"
)

// dialer is a machine that keeps its addresses, and answers each only when as many as meet are waited for.
type dialer struct {
	*hosttest.Host
	mu      sync.Mutex
	dialled []string
	met     chan struct{}
	meet    int
	err     error
}

func (d *dialer) Dial(ctx context.Context, address string) error {
	d.mu.Lock()
	d.dialled = append(d.dialled, address)
	if len(d.dialled) == d.meet {
		close(d.met)
	}
	d.mu.Unlock()
	select {
	case <-d.met:
		return d.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (d *dialer) plan(t *testing.T, in *schema.Migration) *schema.Result {
	t.Helper()
	res, err := steptest.RunOn(d).Converge(t.Context(), Step{}, in)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// TestDialsAtTheSameTime would run into its timeout if one connection waited for the other.
func TestDialsAtTheSameTime(t *testing.T) {
	h, in := machines()[0].start(t)
	d := &dialer{Host: h, met: make(chan struct{}), meet: 2}
	if res := d.plan(t, in); res.Status != schema.Converged {
		t.Errorf("status %s, blocked %v", res.Status, res.Blocked)
	}
}

// TestTimeout is S33: the time is bounded, whatever the network does.
func TestTimeout(t *testing.T) {
	h, in := machines()[0].start(t)
	in.Config.Balena.ConnectTimeoutS = 0 // runs out at once
	d := &dialer{Host: h, met: make(chan struct{}), meet: -1}
	res := d.plan(t, in)
	if got := strings.Join(names(res.Blocked), " "); got != "api vpn" {
		t.Errorf("blocked by %q, want api vpn", got)
	}
}

func TestNameResolution(t *testing.T) {
	h, in := machines()[0].start(t)
	d := &dialer{Host: h, met: make(chan struct{}), meet: 1, err: &net.DNSError{Err: "no such host", Name: "api.balena-cloud.com", IsNotFound: true}}
	for _, b := range d.plan(t, in).Blocked {
		if !strings.Contains(b.Remedy, "resolv.conf") {
			t.Errorf("remedy %q says nothing of the name resolution", b.Remedy)
		}
	}
}

// TestEndpoints is P20: the new system uses config.json's endpoints.
func TestEndpoints(t *testing.T) {
	own := strings.NewReplacer("https://api.balena-cloud.com", "http://api.example.org:8080/v7", "cloudlink.balena-cloud.com", "vpn.example.org", `"vpnPort": 443`, `"vpnPort": "1194"`)
	for _, c := range []struct {
		name, api, vpn, config string
		wantAPI, wantVPN       string
	}{
		{"defaults and config.json", "", "", goodConfig, "api.balena-cloud.com:443", "cloudlink.balena-cloud.com:443"},
		{"config.json of an openBalena", "", "", own.Replace(goodConfig), "api.example.org:8080", "vpn.example.org:1194"},
		{"the configuration's own", "http://[::1]", "10.0.0.1", own.Replace(goodConfig), "[::1]:80", "10.0.0.1:443"},
		{"no config.json", "", "", "", "api.balena-cloud.com:443", "vpn.balena-cloud.com:443"},
	} {
		h, in := machines()[0].start(t)
		put(t, h, configName, c.config)
		if c.api != "" {
			in.Config.Balena.APIURL, in.Config.Balena.VPNHost = c.api, c.vpn
		}
		d := &dialer{Host: h, met: make(chan struct{}), meet: 2}
		d.plan(t, in)
		if got := strings.Join(d.dialled, " "); got != c.wantAPI+" "+c.wantVPN && got != c.wantVPN+" "+c.wantAPI {
			t.Errorf("%s: dialled %s, want %s and %s", c.name, got, c.wantAPI, c.wantVPN)
		}
	}
}

// TestEmptyHostSwitchesOff is S33.
func TestEmptyHostSwitchesOff(t *testing.T) {
	h, in := machines()[0].start(t)
	in.Config.Balena.APIURL, in.Config.Balena.VPNHost = "", ""
	d := &dialer{Host: h, err: errors.New("not to be dialled"), meet: -1}
	res := d.plan(t, in)
	if len(d.dialled) > 0 || res.Status != schema.Converged || len(res.Warnings) != 2 {
		t.Errorf("dialled %v, status %s, warnings %v", d.dialled, res.Status, res.Warnings)
	}
	for _, name := range []string{"api", "vpn"} {
		if c := status(t, res, name); c.Status != "skip" {
			t.Errorf("%+v, want skip", c)
		}
	}
}
