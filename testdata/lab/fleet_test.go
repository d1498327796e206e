package lab

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/balena-community/balena-migrate/schema"
)

// member is a machine of the fleet.
type member struct {
	suite   Suite
	damaged bool // its image rots after the last step
	vm      *VM
	before  string // boot configuration
	from    int64  // where its console was before it was migrated
}

// newFleet starts machines of two kinds.
func newFleet(t *testing.T, art Artifacts) map[string]*member {
	t.Helper()
	fleet := map[string]*member{
		"kiosk-1": {suite: Bookworm}, "kiosk-2": {suite: Bookworm}, "gate-1": {suite: BookwormEFI}, "kiosk-3": {suite: Bookworm, damaged: true},
	}
	for _, m := range fleet {
		m.vm = start(t, art, Options{Dir: t.TempDir(), Disk: art.Disks[m.suite], CPUs: 1, EFI: m.suite == BookwormEFI})
	}
	for _, m := range fleet {
		waitSSH(t, m.vm)
		m.before, m.from = run(t, m.vm, bootState), m.vm.ConsoleSize()
		if m.damaged {
			run(t, m.vm, "echo '"+rot+"' >/run/systemd/system/rot.service; cat >/run/rot <<'EOF'\n"+flipImage+"; sync\nEOF\nsystemctl start rot")
		}
	}
	return fleet
}

// rot is a service that damages the image as the machine goes down: any sooner, and the playbook would copy it anew.
const rot = `[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/true
ExecStop=/bin/sh /run/rot
`

// TestFleet: machines of two kinds are registered in balena and migrated at once by one run of the playbook,
// until balena hears of them. One whose image is damaged comes back to its old system, is reported so, and leaves no
// registration; another run leaves those that are through alone.
func TestFleet(t *testing.T) {
	art := build(t, Bookworm, BookwormEFI)
	in, cloud := inputs(t, art), startAPI(t)
	fleet := newFleet(t, art)
	vars := in.Vars()
	delete(vars, "balena_migrate_config_json")
	maps.Copy(vars, map[string]any{
		"balena_migrate_fleet": cloud.fleet.Slug, "balena_migrate_api_url": cloud.url,
		"balena_migrate_token_file": filepath.Join(cloud.dir, "token"), "balena_migrate_ca_file": filepath.Join(cloud.dir, "ca.pem"),
		"balena_migrate_os_version": "6.1.24", "balena_migrate_confirm": true,
		"balena_migrate_wait_timeout": 1800, // all the way; who is online or back ends it
	})
	out, err := playAll(t, in.Dir, fleet, vars)
	if err == nil || !strings.Contains(out, "Back on the old system") {
		t.Errorf("the playbook did not fail for the one that came back: %v\n%s", err, out)
	}
	reports := wantFates(t, in.Dir, map[string]string{"kiosk-1": "online", "kiosk-2": "online", "gate-1": "online", "kiosk-3": "back"})
	if t.Failed() {
		t.Fatalf("%s", out)
	}
	for name, m := range fleet {
		if m.damaged {
			wantBack(t, m, reports[name])
		} else {
			wantArrived(t, m, filepath.Join(in.Dir, "registrations/devices", name, "config.json"))
		}
	}
	if devices := cloud.Devices(); len(devices) != 3 {
		t.Errorf("%d devices are registered in balena, want the three that migrated", len(devices))
	}
	wantLeftAlone(t, in.Dir, fleet, vars)
}

func wantBack(t *testing.T, m *member, report schema.DeviceReport) {
	t.Helper()
	if !strings.Contains(report.Reason, "chunk") {
		t.Errorf("why %s came back: %q, want the damaged chunk", report.Host, report.Reason)
	}
	if after := run(t, m.vm, bootState); after != m.before {
		t.Errorf("%s: boot configuration before:\n%s\nafter:\n%s", report.Host, m.before, after)
	}
}

// wantArrived looks whether the new system has the config.json of its registration, and all else.
func wantArrived(t *testing.T, m *member, config string) {
	t.Helper()
	registered, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	report, err := m.vm.WaitNewOS(t.Context(), m.from, BootTimeout)
	if err != nil {
		t.Fatal(err)
	}
	for _, what := range report.Missing(registered, "lab-"+m.suite.Release(), "") {
		t.Errorf("%s: the new system lacks %s", config, what)
	}
}

// wantLeftAlone runs the playbook once more on those that are through.
func wantLeftAlone(t *testing.T, dir string, fleet map[string]*member, vars map[string]any) {
	t.Helper()
	out, err := playAll(t, dir, fleet, vars, "--limit", "kiosk-1,kiosk-2,gate-1")
	if err != nil {
		t.Errorf("again, on those that are through: %v\n%s", err, out)
	}
	all := recaps(out)
	for name, c := range all {
		if c.changed != "0" || c.failed != "0" || c.unreachable != "0" {
			t.Errorf("again on %s: %+v", name, c)
		}
	}
	if len(all) != 3 {
		t.Errorf("the recap is of %d machines, want 3:\n%s", len(all), out)
	}
}

// playAll runs the playbook on all machines at once and returns what it printed.
func playAll(t *testing.T, dir string, fleet map[string]*member, vars map[string]any, args ...string) (string, error) {
	t.Helper()
	args = append(args, "-e", `{"balena_migrate_serial": ["100%"]}`)
	machines := map[string]*VM{}
	for name, m := range fleet {
		machines[name] = m.vm
	}
	var out bytes.Buffer
	began := time.Now()
	err := RunPlaybook(t.Context(), &out, dir, machines, vars, args...)
	t.Logf("playbook on %v %v took %.1f s", slices.Sorted(maps.Keys(machines)), args, time.Since(began).Seconds())
	wantNoSecret(t, out.String())
	return out.String(), err
}

type counts struct{ changed, unreachable, failed string }

var recapLine = regexp.MustCompile(`(?m)^(\S+) +: ok=\d+ +changed=(\d+) +unreachable=(\d+) +failed=(\d+)`)

// recaps reads the last lines of a playbook's output.
func recaps(out string) map[string]counts {
	found := map[string]counts{}
	for _, m := range recapLine.FindAllStringSubmatch(out, -1) {
		found[m[1]] = counts{m[2], m[3], m[4]}
	}
	return found
}

// wantFates asks the report what became of each machine.
func wantFates(t *testing.T, dir string, want map[string]string) map[string]schema.DeviceReport {
	t.Helper()
	project, err := Project()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(filepath.Join(project, "dist", "balena-migrate-linux-amd64"), "report", "--json", filepath.Join(dir, "results")).Output()
	if err != nil {
		t.Fatal(err)
	}
	var report schema.FleetReport
	if err := json.Unmarshal(out, &report); err != nil {
		t.Fatal(err)
	}
	got, devices := map[string]string{}, map[string]schema.DeviceReport{}
	for _, d := range report.Devices {
		got[d.Host], devices[d.Host] = string(d.Fate), d
	}
	if !maps.Equal(got, want) {
		t.Errorf("fates %v, want %v", got, want)
	}
	return devices
}
