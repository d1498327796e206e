package lab

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// start builds what is missing and switches a new machine on.
func start(t *testing.T, disk func(Artifacts) string, suites ...Suite) *VM {
	t.Helper()
	art, err := Build(t.Context(), os.Stderr, suites...)
	if err != nil {
		t.Fatal(err)
	}
	vm, err := art.Start(context.Background(), Options{Dir: t.TempDir(), Disk: disk(art)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(vm.Kill)
	return vm
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
	for _, suite := range []Suite{Bookworm, Trixie} {
		t.Run(string(suite), func(t *testing.T) {
			vm := start(t, func(a Artifacts) string { return a.Disks[suite] }, suite)
			began := time.Now()
			if err := vm.WaitSSH(t.Context(), BootTimeout); err != nil {
				t.Fatal(err)
			}
			t.Logf("ssh after %.1f s", time.Since(began).Seconds())
			testGuest(t, vm, suite)
			began = time.Now()
			if err := vm.Stop(t.Context(), time.Minute); err != nil {
				t.Fatal(err)
			}
			t.Logf("off after %.1f s", time.Since(began).Seconds())
			testDiskTable(t, vm)
		})
	}
}

// testGuest holds the guest to what the migration is tried on.
func testGuest(t *testing.T, vm *VM, suite Suite) {
	t.Helper()
	for _, c := range []struct{ what, command, want string }{
		{"suite", ". /etc/os-release; echo $VERSION_CODENAME", string(suite)},
		{"python", "command -v python3 python || echo none", "none"},
		{"grubenv", "grub-editenv /boot/grub/grubenv list; echo rc $?", "rc 0"},
		{"one-shot logic", "grep -c '\"${next_entry}\"' /boot/grub/grub.cfg | grep -qv '^0$' && echo yes", "yes"},
		{"custom.cfg logic", "grep -q 'source.*custom.cfg' /boot/grub/grub.cfg && echo yes", "yes"},
		{"boot mode", "test -d /sys/firmware/efi && echo efi || echo bios", "bios"},
		{"root", "findmnt -no SOURCE,FSTYPE / | tr -s ' '", "/dev/vda1 ext4"},
		{"disk serial", "cat /sys/block/vda/serial", "LAB0001"},
		{"state", "systemctl is-system-running --wait", "running"},
		{"backup data", "cat '/srv/app/current.json'; stat -c %U /srv/app; stat -c %s /srv/db/app.sqlite",
			"{\"name\": \"app\", \"interval_s\": 30}\npi\n4194304"},
		{"modes", "stat -c %a /etc/wpa_supplicant/wpa_supplicant.conf /etc/NetworkManager/system-connections/*", "600\n600"},
	} {
		if got := run(t, vm, c.command); got != c.want {
			t.Errorf("%s: got %q, want %q (%s)", c.what, got, c.want, c.command)
		}
	}
	for _, secret := range Secrets() {
		run(t, vm, "grep -rqF "+secret+" /etc/wpa_supplicant /etc/NetworkManager")
	}
	result, err := vm.SSHAs(t.Context(), "pi", "id -u; sudo -n id -u")
	if err != nil || result.Stdout != "1000\n0\n" {
		t.Errorf("sudo of pi: got %+v, %v; want uids 1000 and 0", result, err)
	}
	testPut(t, vm)
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

// A machine keeps its disk over a power cycle, and takes other memory and another serial.
func TestMachineIsItsDir(t *testing.T) {
	art, err := Build(t.Context(), os.Stderr, Bookworm)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	first, err := art.Start(context.Background(), Options{Dir: dir, Disk: art.Disks[Bookworm]})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(first.Kill)
	if err := first.WaitSSH(t.Context(), BootTimeout); err != nil {
		t.Fatal(err)
	}
	run(t, first, "echo still here > /root/mark; sync")
	if err := first.RawDisk(t.Context(), filepath.Join(dir, "raw")); !errors.Is(err, errRunning) {
		t.Errorf("disk of a running machine: got %v, want %v", err, errRunning)
	}
	if err := first.Reboot(t.Context(), BootTimeout); err != nil {
		t.Fatal(err)
	}
	first.Kill()
	from := first.ConsoleSize()
	if _, err := first.Run(t.Context(), "true"); !errors.Is(err, ErrDisconnected) {
		t.Errorf("ssh to a machine that is off: got %v, want %v", err, ErrDisconnected)
	}
	second, err := art.Start(context.Background(), Options{Dir: dir, MemMiB: 512, Serial: "OTHER"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(second.Kill)
	if err := second.WaitSSH(t.Context(), BootTimeout); err != nil {
		t.Fatal(err)
	}
	if got := run(t, second, "cat /root/mark /sys/block/vda/serial"); got != "still here\nOTHER" {
		t.Errorf("second start: got %q", got)
	}
	if second.ConsoleSize() <= from {
		t.Error("console of the second start is not after the first")
	}
}

func TestNewOSBootsAlone(t *testing.T) {
	vm := start(t, func(a Artifacts) string { return a.Image })
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
	vm := start(t, func(a Artifacts) string { return a.Image })
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
