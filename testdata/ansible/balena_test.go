package ansible

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/testdata/balenaapi"
)

const userKey = "canary-user-key"

// cloud is balena, as a playbook on this machine meets it.
type cloud struct {
	*balenaapi.Server
	t     *testing.T
	url   string
	fleet *balenaapi.Fleet
}

func newCloud(t *testing.T) *cloud {
	t.Helper()
	api := balenaapi.New(userKey, "canary-session")
	api.Delay = 0
	c := &cloud{Server: api, t: t, fleet: api.AddFleet("operator/gateways", "genericx86-64-ext")}
	web := httptest.NewServer(api)
	t.Cleanup(web.Close)
	c.url = web.URL
	return c
}

// arrive is a device of the fleet that comes up on its new system.
func (c *cloud) arrive(d balenaapi.Device) {
	for method, path := range map[string]string{"GET": "/device/v3/" + d.UUID + "/state", "PATCH": "/device/v3/state"} {
		q, err := http.NewRequest(method, c.url+path, strings.NewReader(fmt.Sprintf(`{%q:{"os_version":"balenaOS 6.1.24"}}`, d.UUID)))
		if err != nil {
			c.t.Error(err)
			return
		}
		q.Header.Set("Authorization", "Bearer "+d.Key)
		q.Header.Set("Content-Type", "application/json")
		res, err := http.DefaultClient.Do(q)
		if err != nil {
			c.t.Error(err)
			return
		}
		res.Body.Close()
	}
}

// only is the fleet's one device.
func (c *cloud) only(t *testing.T) balenaapi.Device {
	t.Helper()
	all := c.Devices()
	if len(all) != 1 {
		t.Fatalf("%d devices are registered, want one", len(all))
	}
	return all[0]
}

// vars are the role's variables for a device that is registered by the role.
func (c *cloud) vars(t *testing.T, more map[string]any) []string {
	t.Helper()
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte(userKey+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	skip := strings.FieldsFunc(skipAll, func(r rune) bool { return strings.ContainsRune("[], \n", r) })
	skip = slices.DeleteFunc(skip, func(check string) bool { return check == "config-json" }) // the registration's is looked at
	all := map[string]any{
		"balena_migrate_fleet": c.fleet.ID, "balena_migrate_api_url": c.url, "balena_migrate_token_file": token,
		"balena_migrate_os_version": "6.1.24", "balena_migrate_skip_checks": skip, "balena_migrate_require_network": false,
		"balena_migrate_wait_timeout": 600, "balena_migrate_wait_interval": 1, "balena_migrate_online_interval": 1,
	}
	for name, value := range more {
		all[name] = value
	}
	return variables(t, all)
}

// played is an executable whose steps after precheck are played, as a tree is no machine that could be armed; all else is
// the real one: precheck, status, device. VERDICT is what becomes of the device after its reboot: "left" ends its sshd.
const played = `#!/bin/sh
here=$(dirname "$0")/balena-migrate-real
[ -x "$here" ] || here=/opt/balena-migrate
[ "$1" = step ] && [ "$2" != precheck ] || exec "$here" "$@"
cat >/dev/null
facts='{}'
if [ "$2" = reboot ]; then
	boot=00000000-0000-0000-0000-000000000000
	case $(cat /opt/verdict)\ $* in
	left*--check*) ;;
	left*)
		boot=$(cat /proc/sys/kernel/random/boot_id)
		(sleep 1; kill 1) >/dev/null 2>&1 </dev/null &
		;;
	esac
	facts='{"reboot":{"boot_id":"'$boot'"}}'
fi
if [ "$2" = "$(cat /opt/fails)" ]; then
	echo '{"schema":"result/1","step":"'"$2"'","status":"failed","changed":false,"failed":true,"msg":"no room","error":{"message":"no room","hint":""}}'
	exit 1
fi
echo '{"schema":"result/1","step":"'"$2"'","status":"converged","changed":true,"failed":false,"msg":"","changes":[],"blocked":[],"warnings":[],"facts":'"$facts"'}'
`

// play makes executables and device such that the steps are played.
func (b bench) play(t *testing.T, d *device, verdict, fails string) bench {
	t.Helper()
	p := bench{binaries: t.TempDir(), tree: b.tree}
	real := filepath.Join(b.binaries, "balena-migrate-linux-amd64")
	command(t, "", "cp", real, filepath.Join(p.binaries, "balena-migrate-real"))
	if err := os.WriteFile(filepath.Join(p.binaries, "balena-migrate-linux-amd64"), []byte(played), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(d.root, "opt"), 0o755); err != nil {
		t.Fatal(err)
	}
	command(t, "", "cp", real, filepath.Join(d.root, "opt/balena-migrate"))
	d.write("opt/verdict", verdict, 0o644)
	d.write("opt/fails", fails, 0o644)
	return p
}

// registrations is the controller's folder of registrations.
func (d *device) registrations() string { return filepath.Join(d.dir, "registrations") }

// config is what config.json says that lies on the device.
func (d *device) config() map[string]any {
	d.t.Helper()
	var c map[string]any
	if err := json.Unmarshal([]byte(d.read(filepath.Join(d.root, "var/lib/balena-migrate/input/config.json"))), &c); err != nil {
		d.t.Fatal(err)
	}
	return c
}

func TestBalena(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := b.newDevice(t)
	for _, c := range []struct {
		name string
		test func(*testing.T, bench, *device, *cloud)
	}{
		{"a blocked device is not registered", testBalenaBlocked},
		{"check mode registers nothing", testBalenaCheck},
		{"registered once, for good", testBalenaOnce},
		{"online", testBalenaOnline},
		{"lost on the way", testBalenaLost},
		{"back on the old system", testBalenaBack},
		{"back while others go on", testBalenaStopped},
		{"a step that fails", testBalenaFailed},
		{"a rehearsal", testBalenaRehearsal},
		{"a removal that is refused", testBalenaStays},
		{"no key", testBalenaNoKey},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, dir := range []string{d.results(), d.registrations()} {
				if err := os.RemoveAll(dir); err != nil {
					t.Fatal(err)
				}
			}
			if d.sshd == nil {
				d.start()
			}
			c.test(t, b, d.in(t), newCloud(t))
		})
	}
}

func testBalenaBlocked(t *testing.T, b bench, d *device, c *cloud) {
	run := d.playbook(b, migrate, c.vars(t, map[string]any{"balena_migrate_skip_checks": []string{"api"}})...)
	want(t, d.report(t), schema.FateBlocked, "", "precheck:blocked")
	if all := c.Requests(""); len(all) != 0 || run.code != 2 {
		t.Errorf("%d requests for a device that can't be migrated, want none", len(all))
	}
}

func testBalenaCheck(t *testing.T, b bench, d *device, c *cloud) {
	p := b.play(t, d, "left", "")
	run := d.playbook(p, migrate, append(c.vars(t, nil), "--check")...)
	if r := run.task(t, "Register the device in balena"); r.State != "ok" || r.Result["changed"] != true || run.code != 0 {
		t.Errorf("%s, changed %v, exit code %d; want ok, true, 0:\n%s", r.State, r.Result["changed"], run.code, run.screen)
	}
	if _, err := os.Stat(d.registrations()); len(c.Requests("")) != 0 || err == nil {
		t.Errorf("%d requests in check mode, want none; the folder is there: %v", len(c.Requests("")), err == nil)
	}
	want(t, d.report(t), schema.FateReady, "can be migrated", "precheck:converged", "register:converged", "precheck:converged",
		"prepare-image:converged", "collect-wifi:converged", "backup:converged", "build-initramfs:converged", "arm-boot:converged", "reboot:converged")
}

// testBalenaOnce: without confirmation the device stays registered, and a rerun changes nothing.
func testBalenaOnce(t *testing.T, b bench, d *device, c *cloud) {
	p := b.play(t, d, "left", "")
	first := d.playbook(p, migrate, c.vars(t, nil)...)
	device := c.only(t)
	config := d.config()
	if config["uuid"] != device.UUID || config["deviceApiKey"] != device.Key || config["deviceId"] != float64(device.ID) || config["apiKey"] == nil {
		t.Errorf("config.json is for %v, device %v; want %s, %d", config["uuid"], config["deviceId"], device.UUID, device.ID)
	}
	r := d.report(t)
	want(t, r, schema.FateReady, "prepared as far as build-initramfs", "precheck:converged", "register:converged", "copy:converged", "precheck:converged",
		"prepare-image:converged", "collect-wifi:converged", "backup:converged", "build-initramfs:converged")
	if r.DeviceID != device.UUID || first.code != 0 {
		t.Errorf("device_id %q, exit code %d; want %s, 0", r.DeviceID, first.code, device.UUID)
	}
	again := d.playbook(p, migrate, c.vars(t, nil)...)
	if r := again.task(t, "Register the device in balena"); r.Result["changed"] != false || c.only(t).ID != device.ID || c.Keys(c.fleet.ID) != 1 {
		t.Errorf("the rerun changed %v, %d provisioning keys; want false, 1", r.Result["changed"], c.Keys(c.fleet.ID))
	}
	if copied := again.task(t, "Copy the device's own config.json"); copied.Result["changed"] != false {
		t.Error("the rerun copied config.json again")
	}
}

// testBalenaOnline goes all the way: the device leaves, and balena hears of it. Keys are shown nowhere, whatever is asked for.
func testBalenaOnline(t *testing.T, b bench, d *device, c *cloud) {
	p := b.play(t, d, "left", "")
	seen := watchArguments(t)
	go func() {
		for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
			if looks := c.Requests("GET /v7/device("); len(looks) > 0 {
				for _, device := range c.Devices() {
					c.arrive(device)
				}
				return
			}
		}
	}()
	vaulted := vault(t, d, userKey)
	args := append(c.vars(t, map[string]any{"balena_migrate_confirm": true, "balena_migrate_token_file": vaulted}), "--vault-password-file", filepath.Join(d.dir, "vault"), "-vvv", "--diff")
	run := d.playbook(p, migrate, args...)
	d.gone(t)
	device := c.only(t)
	r := d.report(t)
	want(t, r, schema.FateOnline, "device is online: heartbeat online, balenaOS 6.1.24", "precheck:converged", "register:converged", "copy:converged",
		"precheck:converged", "prepare-image:converged", "collect-wifi:converged", "backup:converged", "build-initramfs:converged", "arm-boot:converged",
		"reboot:converged", "wait:converged")
	if r.DeviceID != device.UUID || run.code != 0 {
		t.Errorf("device_id %q, exit code %d; want %s, 0\n%s", r.DeviceID, run.code, device.UUID, run.screen)
	}
	record, err := json.Marshal(run.results)
	if err != nil {
		t.Fatal(err)
	}
	report, err := os.ReadFile(filepath.Join(d.results(), "device.json"))
	if err != nil {
		t.Fatal(err)
	}
	for what, text := range map[string]string{"screen": run.screen, "results": string(record), "report": string(report), "arguments": seen()} {
		for name, key := range map[string]string{"the user's key": userKey, "the device's key": device.Key, "the fleet's key": d.fleetKey(t)} {
			if strings.Contains(text, key) {
				t.Errorf("%s is in the %s", name, what)
			}
		}
		if len(text) < 100 {
			t.Errorf("%d bytes of %s, in which a key could hardly be", len(text), what)
		}
	}
	testShown(t, b, d, device.UUID)
}

// testShown: an online device appears right in each form of the report.
func testShown(t *testing.T, b bench, d *device, uuid string) {
	tool := filepath.Join(b.binaries, "balena-migrate-linux-amd64")
	for option, texts := range map[string][]string{
		"--table": {"1 online", "device"}, "--json": {`"device_id": "` + uuid, `"online": 1`, `"fate": "online"`}, "--csv": {",online,", uuid},
		"--csv=migdb": {uuid, "DONE"}, "--html": {uuid, `"fate":"online"`}, "--junit": {`failures="0"`},
	} {
		out := command(t, "NO_COLOR=1", tool, "report", d.results(), option)
		for _, text := range texts {
			if !strings.Contains(out, text) {
				t.Errorf("report %s lacks %s:\n%.1500s", option, text, out)
			}
		}
	}
	command(t, "", tool, "report", d.results(), "--strict-exit")
}

// gone notes that the played reboot ended the device's sshd.
func (d *device) gone(t *testing.T) {
	t.Helper()
	if d.sshd == nil {
		return
	}
	d.stop()
}

// fleetKey is the provisioning key in the controller's folder.
func (d *device) fleetKey(t *testing.T) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(d.registrations(), "fleets/*/config.json"))
	if err != nil || len(found) != 1 {
		t.Fatalf("%v, %v; want one config.json of the fleet", found, err)
	}
	var c struct{ APIKey string }
	if err := json.Unmarshal([]byte(d.read(found[0])), &c); err != nil || c.APIKey == "" {
		t.Fatalf("the fleet's key: %v", err)
	}
	return c.APIKey
}

// vault encrypts a text as an operator does.
func vault(t *testing.T, d *device, text string) string {
	t.Helper()
	password := filepath.Join(d.dir, "vault")
	if err := os.WriteFile(password, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	path := source(t, text)
	command(t, "", "ansible-vault", "encrypt", "--vault-password-file", password, path)
	if strings.Contains(d.read(path), text) {
		t.Fatal("it is not encrypted")
	}
	return path
}

// watchArguments collects the arguments of all processes of the machine, until the function it returns is called.
func watchArguments(t *testing.T) func() string {
	t.Helper()
	stop, out := make(chan struct{}), make(chan string)
	go func() {
		seen := map[string]bool{}
		for {
			names, _ := filepath.Glob("/proc/[0-9]*/cmdline")
			for _, name := range names {
				if data, err := os.ReadFile(name); err == nil && bytes.Contains(data, []byte("balena-migrate")) {
					seen[string(data)] = true
				}
			}
			select {
			case <-stop:
				var all strings.Builder
				for text := range seen {
					all.WriteString(text)
				}
				out <- all.String()
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	return func() string {
		close(stop)
		text := <-out
		if !strings.Contains(text, "--state") {
			t.Error("device register was not seen among the processes")
		}
		return text
	}
}
