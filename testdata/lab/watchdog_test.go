package lab

import (
	"strings"
	"testing"
	"time"
)

// TestWatchdogEndsAHang: stage 2 stands still as a whole, its watchdog too, and the hardware watchdog brings the old system
// back, with the boot configuration as it was. The migration after that is not disturbed by it.
func TestWatchdogEndsAHang(t *testing.T) {
	t.Parallel()
	art := build(t, Bookworm)
	in := inputs(t, art)
	opt := Options{
		Dir: t.TempDir(), Disk: art.Disks[Bookworm], CPUs: 1, Extra: []string{"-device", "i6300esb", "-action", "watchdog=reset"},
	}
	vm := prepared(t, art, opt, in, buildFaults(t))
	before := run(t, vm, bootState)
	facts := run(t, vm, "balena-migrate step precheck --json --input - <<'END' | tr -d ' \\n'\n"+document(true)+"\nEND")
	for _, want := range []string{`"device":"/dev/watchdog0"`, `"identity":"i6300ESBtimer"`, `"reboot_timeout_s":600`, `"i6300esb"]`} {
		if !strings.Contains(facts, want) {
			t.Errorf("precheck does not tell %s: %s", want, facts)
		}
	}
	from := vm.ConsoleSize()
	vm = comeBack(t, machine{t, art, opt}, vm, failure{
		name: "stage 2 hangs", stage: "crashed", reason: "did not report back", again: true,
		sabotage: "sed -i 's,rdinit=,balena.fault=hang@verify rdinit=,' /boot/grub/custom.cfg",
	}, before)
	text, err := vm.Console(from)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"watchdog0: watchdog did not stop!", // armed by step reboot, and left running by its end
		"feeding the hardware watchdog /dev/watchdog0, which waits for 1m0s",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("console lacks %q", want)
		}
	}
	if strings.Contains(text, "Kernel panic") {
		t.Error("the kernel panicked, where nothing was to run any more")
	}
	from = vm.ConsoleSize()
	if res := result(t, vm, "balena-migrate migrate --yes", document(true)); res.Status != "converged" {
		t.Fatalf("migrate: %s", res.Msg)
	}
	backup := run(t, vm, "sha256sum /var/lib/balena-migrate/backup.tgz | cut -c1-64")
	if res := result(t, vm, "balena-migrate step reboot", document(true)); res.Status != "converged" {
		t.Fatalf("reboot: %s", res.Msg)
	}
	report, err := vm.WaitNewOS(t.Context(), from, BootTimeout)
	if err != nil {
		t.Fatal(err)
	}
	for _, what := range report.Missing("lab-bookworm", backup) {
		t.Errorf("the new system lacks %s", what)
	}
	if err := vm.WaitExit(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	wantDisk(t, vm, art)
}
