package lab

import (
	"bytes"
	"encoding/json"
	"maps"
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
	opt     Options
	damaged bool // its image rots between the last step and the reboot
	vm      *VM
	before  string // boot configuration
	from    int64  // where its console was before it was migrated
}

func fleetMembers() map[string]*member {
	return map[string]*member{
		"kiosk-1": {suite: Bookworm},
		"kiosk-2": {suite: Bookworm},
		"gate-1":  {suite: BookwormEFI, opt: Options{EFI: true}},
		"kiosk-3": {suite: Bookworm, damaged: true},
	}
}

// flipImage turns one bit of a compressed byte in the middle; size and times stay, so stage 1 can't see it.
const flipImage = `image=/var/lib/balena-migrate/image.gz; touch -r $image /root/t; s=$(($(stat -c %s $image)/2)); ` +
	`b=$(od -An -tu1 -j$s -N1 $image); printf "\\$(printf %o $((b ^ 1)))" | dd of=$image bs=1 seek=$s conv=notrunc status=none; ` +
	`touch -r /root/t $image; sync`

// TestMigrationOfAFleet: machines of two kinds are migrated at once by one run of the playbook. One whose image is damaged
// comes back to its old system and is reported so; another run leaves those that are through alone.
func TestMigrationOfAFleet(t *testing.T) {
	art := build(t, Bookworm, BookwormEFI)
	in := inputs(t, art)
	fleet := fleetMembers()
	machines := map[string]*VM{}
	for name, m := range fleet {
		m.opt.Dir, m.opt.Disk, m.opt.CPUs = t.TempDir(), art.Disks[m.suite], 1
		m.vm = start(t, art, m.opt)
		machines[name] = m.vm
	}
	for _, m := range fleet {
		waitSSH(t, m.vm)
		m.before = run(t, m.vm, bootState)
	}
	vars := in.Vars()
	vars["balena_migrate_serial"] = []any{"100%"}
	out, err := playAll(t, in.Dir, machines, vars)
	if err != nil {
		t.Fatalf("without confirmation: %v\n%s", err, out)
	}
	wantFates(t, in.Dir, map[string]string{"kiosk-1": "ready", "kiosk-2": "ready", "gate-1": "ready", "kiosk-3": "ready"})
	for _, m := range fleet {
		if m.damaged {
			run(t, m.vm, flipImage)
		}
		m.from = m.vm.ConsoleSize()
	}
	vars["balena_migrate_confirm"], vars["balena_migrate_wait_timeout"] = true, 120
	out, err = playAll(t, in.Dir, machines, vars)
	if err == nil || !strings.Contains(out, "Back on the old system") {
		t.Errorf("the playbook did not fail for the one that came back: %v\n%s", err, out)
	}
	fates := map[string]string{"kiosk-1": "migrated", "kiosk-2": "migrated", "gate-1": "migrated", "kiosk-3": "back"}
	for _, d := range wantFates(t, in.Dir, fates) {
		if d.Host == "kiosk-3" && !strings.Contains(d.Reason, "chunk") {
			t.Errorf("why it came back: %q, want the damaged chunk", d.Reason)
		}
	}
	for name, m := range fleet {
		if m.damaged {
			if after := run(t, m.vm, bootState); after != m.before {
				t.Errorf("%s: boot configuration before:\n%s\nafter:\n%s", name, m.before, after)
			}
			continue
		}
		report, err := m.vm.WaitNewOS(t.Context(), m.from, BootTimeout)
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
		for _, what := range report.Missing("lab-"+m.suite.Release(), "") {
			t.Errorf("%s: the new system lacks %s", name, what)
		}
	}
	began := time.Now()
	out, err = playAll(t, in.Dir, machines, vars, "--limit", "kiosk-1,kiosk-2,gate-1")
	if err != nil {
		t.Errorf("again, on those that are through: %v\n%s", err, out)
	}
	for name, c := range recaps(out) {
		if c.changed != "0" || c.failed != "0" || c.unreachable != "0" {
			t.Errorf("again on %s: %+v", name, c)
		}
	}
	t.Logf("the run that has nothing to do took %.1f s", time.Since(began).Seconds())
}

// playAll runs the playbook on all machines and returns what it printed.
func playAll(t *testing.T, dir string, machines map[string]*VM, vars map[string]any, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	began := time.Now()
	err := RunPlaybook(t.Context(), &out, dir, machines, vars, args...)
	t.Logf("playbook on %v %v took %.1f s", slices.Sorted(maps.Keys(machines)), args, time.Since(began).Seconds())
	for _, secret := range append(Secrets(), Canary) {
		if strings.Contains(out.String(), secret) {
			t.Errorf("the playbook's output holds the secret %q", secret)
		}
	}
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
func wantFates(t *testing.T, dir string, want map[string]string) []schema.DeviceReport {
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
	got := map[string]string{}
	for _, d := range report.Devices {
		got[d.Host] = string(d.Fate)
	}
	if !maps.Equal(got, want) {
		t.Errorf("fates %v, want %v", got, want)
	}
	return report.Devices
}
