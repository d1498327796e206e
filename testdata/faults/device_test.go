package faults

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/goccy/go-json"

	"github.com/balena-community/balena-migrate/steps/device/balena"
	"github.com/balena-community/balena-migrate/steps/host"
	"github.com/balena-community/balena-migrate/testdata/balenaapi"
)

const userKey = "canary-user-key"

// desk is a controller that registers a device with a server of its own.
type desk struct {
	t       *testing.T
	program string
	dir     string
	api     *balenaapi.Server
	url     string
}

func newDesk(t *testing.T, program string) desk {
	t.Helper()
	api := balenaapi.New(userKey, "canary-session")
	api.AddFleet("operator/gateways", "generic-amd64")
	web := httptest.NewServer(api)
	t.Cleanup(web.Close)
	return desk{t: t, program: program, dir: t.TempDir(), api: api, url: web.URL}
}

// run runs a command, kills it at a point unless that is 0, and says whether it was killed.
func (d desk) run(at int, args ...string) bool {
	d.t.Helper()
	cmd := exec.Command(d.program, append([]string{"device"}, args...)...)
	cmd.Env = append(os.Environ(), fmt.Sprintf("BALENA_KILL_AT=%d", at), "BALENA_API_TOKEN="+userKey)
	cmd.Dir = d.dir
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() && status.Signal() == syscall.SIGKILL {
			return true
		}
	}
	if err != nil {
		d.t.Fatalf("%v at %d: %v\n%s", args, at, err, out)
	}
	return false
}

func (d desk) register(at int) bool {
	d.t.Helper()
	return d.run(at, "register", "gateway-1", "--fleet", "operator/gateways", "--os-version", "6.1.24", "--state", "state", "--api-url", d.url)
}

// holds says that one device is registered, and that the key in config.json is its own.
func (d desk) holds(at int) {
	d.t.Helper()
	all := d.api.Devices()
	if len(all) != 1 {
		d.t.Fatalf("killed at %d: %d devices, want one", at, len(all))
	}
	data, err := os.ReadFile(filepath.Join(d.dir, "state/devices/gateway-1/config.json"))
	if err != nil {
		d.t.Fatal(err)
	}
	var c struct {
		UUID         string `json:"uuid"`
		DeviceAPIKey string `json:"deviceApiKey"`
	}
	if err := json.Unmarshal(data, &c); err != nil {
		d.t.Fatal(err)
	}
	client := &balena.Client{Net: host.At("/"), URL: d.url, Token: c.DeviceAPIKey}
	owner, err := client.Owner(context.Background())
	if err != nil || owner != all[0].UUID || c.UUID != all[0].UUID {
		d.t.Errorf("killed at %d: config.json is for %s with the key of %q (%v), want %s", at, c.UUID, owner, err, all[0].UUID)
	}
}

// A registration that is killed at any of its writes is finished by the next run: one device, and no more provisioning keys
// than one that was asked for and never written down.
func TestKilledRegistration(t *testing.T) {
	program := programFile(t)
	points := 0
	for at := 1; ; at++ {
		d := newDesk(t, program)
		if !d.register(at) {
			points = at - 1
			break
		}
		before := len(d.api.Devices())
		d.register(0)
		d.holds(at)
		if n := len(d.api.Requests("POST /download-config")); n > 2 || before > 1 {
			t.Errorf("killed at %d: config.json was fetched %d times, %d devices before the second run", at, n, before)
		}
	}
	t.Logf("killed at %d points", points)
	if points < 15 {
		t.Errorf("%d points, want all writes of three files", points)
	}
}

// A removal that is killed is finished by the next, and another registration works after it.
func TestKilledRemoval(t *testing.T) {
	program := programFile(t)
	for at := 1; ; at++ {
		d := newDesk(t, program)
		d.register(0)
		killed := d.run(at, "remove", "gateway-1", "--state", "state")
		d.run(0, "remove", "gateway-1", "--state", "state")
		if n := len(d.api.Devices()); n != 0 {
			t.Errorf("killed at %d: %d devices are left", at, n)
		}
		d.register(0)
		d.holds(at)
		if !killed {
			if at < 5 {
				t.Errorf("%d points, want all writes", at-1)
			}
			return
		}
	}
}

// programFile is the program with its points to be killed at, as a file.
func programFile(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "balena-migrate")
	if err := os.WriteFile(name, build(t), 0o755); err != nil {
		t.Fatal(err)
	}
	return name
}
