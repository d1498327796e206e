package scale

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/goccy/go-json"

	"github.com/balena-community/balena-migrate/schema"
)

const migrate = "../../ansible/migrate.yml"

// few is how many devices the fleets have unless SCALE says how many.
const few = 60

func size(t *testing.T) int {
	t.Helper()
	said := os.Getenv("SCALE")
	if said == "" {
		return few
	}
	n, err := strconv.Atoi(said)
	if err != nil || n < 40 {
		t.Fatalf("SCALE is %q, want a number of devices, at least 40", said)
	}
	return n
}

// TestFleet: whatever is wrong with devices of a fleet, each has a report that says what the device's own journal says, and
// the operator's gate holds.
func TestFleet(t *testing.T) {
	c := newController(t)
	n := size(t)
	t.Run("a faulty first device", func(t *testing.T) { testCanary(t, c) })
	t.Run("ten percent faulty", func(t *testing.T) { testTenth(t, c, n) })
	if n >= 100 {
		t.Run("one percent faulty", func(t *testing.T) { testHundredth(t, c, n) })
	}
}

// testCanary: whichever fault the first device has, no other is touched.
func testCanary(t *testing.T, c *controller) {
	for _, fault := range []Fault{SmallDisk, Unreachable, CameBack} {
		f := c.devices(t, 10, func(i int) Fault { return map[int]Fault{0: fault}[i] })
		r := c.play(t, f, migrate, c.vars(t, nil)...)
		if touched := f.touched(); r.code == 0 || !slices.Equal(touched, []int{0}) {
			t.Errorf("%s: exit code %d, the devices %v were touched; want a failure on the first alone\n%s", fault, r.code, touched, r.screen)
		}
		c.compare(t, f, r)
	}
}

// testTenth: one device in ten is faulty, the operator allows five in a hundred. The second batch is not gone through with,
// nothing behind it is touched. Then the operator lets the rest of the fleet go its way.
func testTenth(t *testing.T, c *controller, n int) {
	f := c.devices(t, n, Spread(n, n/10))
	gate := c.play(t, f, migrate, c.vars(t, map[string]any{"balena_migrate_max_fail_percentage": 5})...)
	touched := f.touched()
	if gate.code == 0 || len(touched) != 1+n/10 || touched[len(touched)-1] != n/10 {
		t.Errorf("exit code %d, %d devices were touched up to number %d; want a failure, the first device and a tenth\n%s",
			gate.code, len(touched), touched[len(touched)-1], gate.screen)
	}
	c.compare(t, f, gate)
	gate.log(t, "ten percent faulty, five allowed: stopped in the second batch", len(touched))
	limit := filepath.Join(f.Dir, "rest")
	if err := os.WriteFile(limit, []byte(strings.Join(f.unfinished(), "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	rest := c.play(t, f, migrate, append(c.vars(t, map[string]any{"balena_migrate_max_fail_percentage": 100}), "--limit", "@"+limit)...)
	if touched := f.touched(); len(touched) != n {
		t.Errorf("%d devices were touched, want all %d\n%s", len(touched), n, rest.screen)
	}
	c.compare(t, f, rest)
	f.wantSound(t)
	rest.log(t, "ten percent faulty, the rest of the fleet", len(f.unfinished())+n-len(touched))
}

// testHundredth: one device in a hundred is faulty, the operator allows five. The run goes on to the end.
func testHundredth(t *testing.T, c *controller, n int) {
	f := c.devices(t, n, Spread(n, n/100))
	r := c.play(t, f, migrate, c.vars(t, map[string]any{"balena_migrate_max_fail_percentage": 5})...)
	if touched := f.touched(); len(touched) != n {
		t.Errorf("%d devices were touched, want all %d\n%s", len(touched), n, r.screen)
	}
	c.compare(t, f, r)
	f.wantSound(t)
	r.log(t, "one percent faulty, five allowed: to the end", n)
}

// vars writes the operator's variables and returns the option that names them.
func (c *controller) vars(t *testing.T, more map[string]any) []string {
	t.Helper()
	vars := map[string]any{
		"balena_migrate_image": filepath.Join(c.files, "image.gz"), "balena_migrate_config_json": filepath.Join(c.files, "config.json"),
		"balena_migrate_skip_checks": []string{"api", "vpn", "disk-health", "write-speed"}, "balena_migrate_require_network": false,
		"balena_migrate_confirm": true, "balena_migrate_reboot_delay": 1, "balena_migrate_wait_interval": 1,
		"balena_migrate_wait_timeout": 20 + size(t)/10,
	}
	for k, v := range more {
		vars[k] = v
	}
	data, err := json.Marshal(vars)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "vars.json")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{"-e", "@" + path}
}

// touched are the numbers of the devices that anybody tried to reach.
func (f *Fleet) touched() []int {
	var out []int
	for i, d := range f.Devices {
		if d.Touched() {
			out = append(out, i)
		}
	}
	return out
}

// unfinished are the names of the devices that did not leave their old system.
func (f *Fleet) unfinished() []string {
	var out []string
	for _, d := range f.Devices {
		if fate, _ := d.Truth(); fate != schema.FateMigrated {
			out = append(out, d.Name)
		}
	}
	return out
}

// wantSound: what is not faulty left its old system, and each fault came to what it must.
func (f *Fleet) wantSound(t *testing.T) {
	t.Helper()
	ends := map[Fault]schema.Fate{
		Sound: schema.FateMigrated, Unreachable: schema.FateLost, AuthRefused: schema.FateLost, SmallDisk: schema.FateBlocked,
		DamagedImage: schema.FateFailed, WrongArch: schema.FateFailed, Dropped: schema.FateLost, Killed: schema.FateFailed,
		CameBack: schema.FateBack, Crashed: schema.FateBack, Lost: schema.FateMigrated,
	}
	for _, d := range f.Devices {
		if fate, _ := d.Truth(); fate != ends[d.Fault] {
			t.Errorf("%s (%s) ended as %s, want %s: %s", d.Name, d.Fault, fate, ends[d.Fault], d.story())
		}
	}
}

// compare holds the report of every device to what became of it, and the counts of balena-migrate report to all of them.
func (c *controller) compare(t *testing.T, f *Fleet, r run) {
	t.Helper()
	counts := map[string]int{}
	wrong := 0
	for _, d := range f.Devices {
		fate, known := d.Truth()
		report, err := d.report()
		switch {
		case !known && os.IsNotExist(err):
			continue
		case !known || err != nil || report.Fate != fate || report.Address != d.Address:
			wrong++
			t.Errorf("%s (%s): %s %q at %s (%v); want %s: %s", d.Name, d.Fault, report.Fate, report.Reason, report.Address, err, fate, d.story())
		}
		counts[string(fate)]++
	}
	said := c.counts(t, f)
	if said != fmt.Sprint(counts) {
		t.Errorf("balena-migrate report counts %s, want %v", said, counts)
	}
	if wrong > 0 {
		t.Logf("%d reports are wrong; the end of the run:\n%s", wrong, r.screen[max(0, len(r.screen)-20000):])
	}
	if strings.Contains(r.screen, "canary-key") {
		t.Error("a key is on the screen")
	}
}

// report reads the device's file in the results directory.
func (d *Device) report() (*schema.DeviceReport, error) {
	report := &schema.DeviceReport{}
	name := filepath.Join(d.fleet.Dir, "results", d.Name+".json")
	data, err := os.ReadFile(name)
	if err != nil {
		return report, err
	}
	return report, schema.Decode(data, name, "device-report", report)
}

// counts is what balena-migrate report makes of the results directory, without the states that nobody is in.
func (c *controller) counts(t *testing.T, f *Fleet) string {
	t.Helper()
	out, err := exec.Command(filepath.Join(c.binaries, "balena-migrate-linux-amd64"), "report", filepath.Join(f.Dir, "results"), "--json").Output()
	if err != nil {
		t.Fatal(err)
	}
	var fleet struct {
		Counts map[string]int `json:"counts"`
	}
	if err := json.Unmarshal(out, &fleet); err != nil {
		t.Fatal(err)
	}
	for state, n := range fleet.Counts {
		if n == 0 {
			delete(fleet.Counts, state)
		}
	}
	return fmt.Sprint(fleet.Counts)
}

// steps are the role's steps of a device, with copying and waiting.
const steps = 9

// log tells what a run took.
func (r run) log(t *testing.T, what string, devices int) {
	t.Helper()
	each := float64(devices * steps)
	t.Logf("%s\n  %d devices: %.0f s, %.0f s of processor time; per device and step %.3f s, %.3f s of processor time\n"+
		"  the first process alone, which waits for the others: %.0f s of processor time\n"+
		"  memory: %d MiB for ansible-playbook with 50 workers and their ssh (%d MiB its first process), %d MiB for %d connections",
		what, devices, r.wall.Seconds(), r.cpu.Seconds(), r.wall.Seconds()/each, r.cpu.Seconds()/each, r.usage.spin.Seconds(),
		r.usage.ansible>>20, r.usage.parent>>20, r.usage.masters>>20, r.usage.count)
}
