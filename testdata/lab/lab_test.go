package lab

import (
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// build makes or finds the artefacts.
func build(t *testing.T, suites ...Suite) Artifacts {
	t.Helper()
	art, err := Build(t.Context(), testLog{t}, suites...)
	if err != nil {
		t.Fatal(err)
	}
	return art
}

// testLog is a writer into the test's log, where it is known whose line it is when tests run in parallel.
type testLog struct{ t *testing.T }

// Write implements io.Writer.
func (l testLog) Write(p []byte) (int, error) {
	l.t.Log(strings.TrimSuffix(string(p), "\n"))
	return len(p), nil
}

// start switches a machine on, until the test ends. It has one processor when others may run beside it: go test takes
// -parallel from the number of cores, so there is one for each.
func start(t *testing.T, art Artifacts, opt Options) *VM {
	t.Helper()
	if opt.CPUs == 0 && flag.Lookup("test.parallel").Value.String() != "1" {
		opt.CPUs = 1
	}
	vm, err := art.Start(context.Background(), opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(vm.Kill)
	return vm
}

// waitSSH is vm.WaitSSH for a test.
func waitSSH(t *testing.T, vm *VM) {
	t.Helper()
	began := time.Now()
	if err := vm.WaitSSH(t.Context(), BootTimeout); err != nil {
		t.Fatal(err)
	}
	t.Logf("ssh after %.1f s", time.Since(began).Seconds())
}

// run is vm.Run for a test.
func run(t *testing.T, vm *VM, command string) string {
	t.Helper()
	out, err := vm.Run(t.Context(), command)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestGuestBoots(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		suite Suite
		then  func(*testing.T, Artifacts, *VM) // what is tried beside, once and not with both
	}{{Bookworm, testPowerCycle}, {Trixie, testReboot}} {
		t.Run(string(c.suite), func(t *testing.T) {
			t.Parallel()
			art := build(t, c.suite)
			vm := start(t, art, Options{Dir: t.TempDir(), Disk: art.Disks[c.suite]})
			waitSSH(t, vm)
			testGuest(t, vm, c.suite)
			testPut(t, vm)
			c.then(t, art, vm)
		})
	}
}

// A machine is its folder: it keeps its disk over a power cycle, and takes other memory and another
// serial number.
func testPowerCycle(t *testing.T, art Artifacts, vm *VM) {
	run(t, vm, "echo still here > /root/mark")
	raw := filepath.Join(t.TempDir(), "raw")
	if err := vm.RawDisk(t.Context(), raw); !errors.Is(err, errRunning) {
		t.Errorf("disk of a running machine: got %v, want %v", err, errRunning)
	}
	if err := vm.Stop(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	testDiskTable(t, vm)
	from := vm.ConsoleSize()
	if _, err := vm.Run(t.Context(), "true"); !errors.Is(err, ErrDisconnected) {
		t.Errorf("ssh to a machine that is off: got %v, want %v", err, ErrDisconnected)
	}
	again := start(t, art, Options{Dir: vm.dir, MemMiB: 512, Serial: "OTHER"})
	waitSSH(t, again)
	want := "still here\nOTHER"
	if got := run(t, again, "cat /root/mark /sys/block/vda/serial"); got != want {
		t.Errorf("second start: got %q, want %q", got, want)
	}
	kib, err := strconv.Atoi(run(t, again, "sed -n 's/MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo"))
	if err != nil || kib > 512<<10 || kib < 400<<10 {
		t.Errorf("memory of the second start: got %d KiB, %v; want a little less than %d", kib, err, 512<<10)
	}
	if text, err := again.Console(from); err != nil || strings.Count(text, "login:") != 1 {
		t.Errorf("console from the second start on: %d logins, %v; want 1", strings.Count(text, "login:"), err)
	}
}

func testReboot(t *testing.T, _ Artifacts, vm *VM) {
	before, err := vm.BootID(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	from := vm.ConsoleSize()
	if err := vm.Reboot(t.Context(), BootTimeout); err != nil {
		t.Fatal(err)
	}
	after, err := vm.BootID(t.Context())
	if err != nil || after == before || len(after) != 36 {
		t.Errorf("boot id after the reboot: got %q, %v; before %q", after, err, before)
	}
	if _, err := vm.WaitConsole(t.Context(), regexp.MustCompile(`login:`), from, time.Minute); err != nil {
		t.Error(err)
	}
}

// testGuest holds the guest to what the migration is tried on. All in one command: a login takes
// seconds in an emulated guest.
func testGuest(t *testing.T, vm *VM, suite Suite) {
	t.Helper()
	checks := []struct{ what, command, want string }{
		{"suite", ". /etc/os-release; echo $VERSION_CODENAME", string(suite)},
		{"python", "command -v python3 python || echo none", "none"},
		{"grubenv", "grub-editenv /boot/grub/grubenv list; echo rc $?", "rc 0"},
		{"one-shot logic", `grep -q '"${next_entry}"' /boot/grub/grub.cfg && echo yes`, "yes"},
		{"custom.cfg logic", "grep -q 'source.*custom.cfg' /boot/grub/grub.cfg && echo yes", "yes"},
		{"boot mode", "test -d /sys/firmware/efi && echo efi || echo bios", "bios"},
		{"root", "findmnt -no SOURCE,FSTYPE / | tr -s ' '", "/dev/vda1 ext4"},
		{"disk serial", "cat /sys/block/vda/serial; echo", "LAB0001"},
		{"state", "systemctl is-system-running --wait", "running"},
		{"backup data", "cat /srv/app/current.json", `{"name": "app", "interval_s": 30}`},
		{"owners and sizes", "stat -c %U /srv/app; stat -c %s /srv/db/app.sqlite", "pi\n4194304"},
		{"modes", "stat -c %a /etc/wpa_supplicant/wpa_supplicant.conf /etc/NetworkManager/system-connections/*", "600\n600"},
		{"sudo of pi", "su pi -c 'id -u; sudo -n id -u'", "1000\n0"},
	}
	for _, word := range slices.Concat(Networks()[:1], Networks()[2:], Secrets()) {
		command := "grep -rqF " + word + " /etc/wpa_supplicant /etc/NetworkManager && echo yes"
		checks = append(checks, struct{ what, command, want string }{"network", command, "yes"})
	}
	script := ""
	for _, c := range checks {
		script += "(" + c.command + ")\necho ----\n"
	}
	answers := strings.Split(run(t, vm, script), "\n----")
	if len(answers) != len(checks)+1 {
		t.Fatalf("answers: got %d, want %d: %q", len(answers)-1, len(checks), answers)
	}
	for i, c := range checks {
		if got := strings.TrimSpace(answers[i]); got != c.want {
			t.Errorf("%s: got %q, want %q (%s)", c.what, got, c.want, c.command)
		}
	}
	result, err := vm.SSHAs(t.Context(), "pi", "sudo -n id -u")
	if err != nil || result.Stdout != "0\n" {
		t.Errorf("login of pi: got %+v, %v; want uid 0 through sudo", result, err)
	}
}

// testPut copies a file with an awkward name there and back.
func testPut(t *testing.T, vm *VM) {
	t.Helper()
	local := filepath.Join(t.TempDir(), "f")
	text := strings.Repeat("0123456789\x00\n", 100_000)
	if err := os.WriteFile(local, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := vm.Put(t.Context(), local, "/root/it's a file"); err != nil {
		t.Fatal(err)
	}
	result, err := vm.SSH(t.Context(), `cat "/root/it's a file"; stat -c %a "/root/it's a file" >&2; exit 3`)
	if err != nil || result.Stdout != text || result.Stderr != "640\n" || result.Code != 3 {
		t.Errorf("put: got %d bytes, stderr %q, code %d, %v", len(result.Stdout), result.Stderr, result.Code, err)
	}
}

// testDiskTable reads the disk of a machine that was switched off.
func testDiskTable(t *testing.T, vm *VM) {
	t.Helper()
	raw := filepath.Join(t.TempDir(), "raw")
	if err := vm.RawDisk(t.Context(), raw); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(raw)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	sector := make([]byte, 512)
	if _, err := file.ReadAt(sector, 0); err != nil {
		t.Fatal(err)
	}
	if sector[510] != 0x55 || sector[511] != 0xAA || sector[446+4] != 0x83 {
		t.Errorf("boot sector: signature % x, type %#x; want 55 aa, 0x83", sector[510:], sector[446+4])
	}
}

func TestNewOSBootsAlone(t *testing.T) {
	t.Parallel()
	art := build(t)
	vm := start(t, art, Options{Dir: t.TempDir(), Disk: art.Image})
	began := time.Now()
	report, err := vm.WaitNewOS(t.Context(), 0, BootTimeout)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("marker after %.1f s", time.Since(began).Seconds())
	if report.Boot != "vda1" || report.Data != "vda6" || len(report.Errors) != 0 {
		t.Errorf("disk: got %+v", report)
	}
	if report.Config.Present || report.Backup.Present || report.Log.Present || report.Outcome.Present {
		t.Errorf("files on an untouched image: got %+v", report)
	}
	sample := func(f FileState) bool { return f.Name == "resin-sample.ignore" && f.Present && len(f.SHA256) == 64 }
	if len(report.Connections) != 1 || !slices.ContainsFunc(report.Connections, sample) {
		t.Errorf("connections: got %+v, want the sample", report.Connections)
	}
	if err := vm.WaitExit(t.Context(), time.Minute); err != nil {
		t.Error(err)
	}
}

// Every way in which a wait can end, without a guest that would answer.
func TestWaitEnds(t *testing.T) {
	t.Parallel()
	art := build(t)
	vm := start(t, art, Options{Dir: t.TempDir(), Disk: art.Image})
	var failure *WaitError
	if err := vm.WaitSSH(t.Context(), time.Second); !errors.Is(err, ErrTimeout) || !errors.As(err, &failure) {
		t.Errorf("timeout: got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := vm.WaitExit(ctx, time.Minute); !errors.Is(err, context.Canceled) {
		t.Errorf("context: got %v, want %v", err, context.Canceled)
	}
	vm.Kill()
	if err := vm.WaitSSH(t.Context(), time.Minute); !errors.Is(err, ErrExited) {
		t.Errorf("killed: got %v, want %v", err, ErrExited)
	}
}
