package lab

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/balena-community/balena-migrate/schema"
)

// TestKexecMigration: machines whose root no boot loader can start stage 2 from come back from a failure, with nothing on
// the disk changed but the reason, and then migrate: Debian on LVM, with the image in the initramfs, and on btrfs. On xfs
// GRUB does it.
func TestKexecMigration(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		layout  Layout
		method  string
		carried bool
	}{{LVM, "kexec", true}, {Btrfs, "kexec", false}, {XFS, "grub", false}} {
		t.Run(string(c.layout), func(t *testing.T) {
			t.Parallel()
			art, disk, err := BuildLayered(t.Context(), testLog{t}, c.layout)
			if err != nil {
				t.Fatal(err)
			}
			opt := Options{Dir: t.TempDir(), Disk: disk}
			in := inputs(t, art)
			vm := prepared(t, art, opt, in, buildFaults(t))
			before := run(t, vm, bootFiles)
			armLayered(t, vm, c.method, c.carried)
			run(t, vm, "balena-migrate disarm")
			if after := run(t, vm, bootFiles); after != before {
				t.Errorf("boot files before:\n%s\narmed and disarmed:\n%s", before, after)
			}
			if c.layout == XFS {
				vm = dieAtOnce(t, machine{t, art, opt}, vm)
			}
			failLayered(t, vm, c.method, c.carried, before)
			armLayered(t, vm, c.method, c.carried)
			migrateLayered(t, vm, art)
		})
	}
}

// bootFiles is every file of /boot but for what stage 2 leaves there and GRUB's modules, and what is loaded for kexec.
const bootFiles = `cd /boot && find . \( -path ./balena-migrate -o -path ./grub/i386-pc -o -path ./grub/x86_64-efi -o -path ./efi \) -prune -o -type f ` +
	`-printf '%p %m %U\n' -exec sha256sum {} + | sort; cat /sys/kernel/kexec_loaded`

// armLayered runs all steps but the reboot, twice: the second time nothing is left to be done.
func armLayered(t *testing.T, vm *VM, method string, carried bool) {
	t.Helper()
	for turn := 1; turn <= 2; turn++ {
		began := time.Now()
		res, err := vm.SSH(t.Context(), fmt.Sprintf("balena-migrate migrate --yes --json --input - <<'EOF'\n%s\nEOF\n", document(true)))
		if err != nil {
			t.Fatal(err)
		}
		var got schema.Result
		if err := json.Unmarshal([]byte(res.Stdout), &got); err != nil || got.Status != schema.Converged {
			t.Fatalf("migrate: %v\n%s%s", err, res.Stdout, res.Stderr)
		}
		b, i := got.Facts.Boot, got.Facts.Initramfs
		if b.Method != method || !b.Armed || (i.Carried > 0) != carried {
			t.Errorf("boot %+v, initramfs %+v, want %s, image carried %v", b, i, method, carried)
		}
		if turn == 2 && got.Changed {
			t.Errorf("the second run changed %+v", got.Changes)
		}
		t.Logf("run %d took %.1f s; %d warnings; memory %+v; initramfs %d MiB", turn, time.Since(began).Seconds(), len(got.Warnings), got.Facts.Host.Memory, i.Size>>20)
	}
	if s := status(t, vm); s.Stage != "armed" || !s.Armed {
		t.Errorf("status %+v, want it armed", s)
	}
}

// failLayered lets stage 2 meet an image in which a bit is flipped: where the image is carried, before it is packed.
func failLayered(t *testing.T, vm *VM, method string, carried bool, before string) {
	t.Helper()
	const flip = "f=/var/lib/balena-migrate/image.gz; touch -r $f /root/t; s=$(($(stat -c %s $f)/2)); b=$(od -An -tu1 -j$s -N1 $f); " +
		`printf "\\$(printf %o $((b ^ 1)))" | dd of=$f bs=1 seek=$s conv=notrunc status=none; touch -r /root/t $f; sync`
	run(t, vm, flip)
	if carried {
		run(t, vm, "rm /var/lib/balena-migrate/stage2.cpio.gz")
	}
	armLayered(t, vm, method, carried)
	id, err := vm.BootID(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	began, from := time.Now(), vm.ConsoleSize()
	if res := result(t, vm, "balena-migrate step reboot", document(true)); res.Status != "converged" {
		t.Fatalf("reboot: %s", res.Msg)
	}
	if err := vm.WaitNewBoot(t.Context(), id, BootTimeout); err != nil {
		t.Fatalf("%v\n%s", err, tail(t, vm))
	}
	t.Logf("back after %.1f s", time.Since(began).Seconds())
	if text, err := vm.Console(from); err != nil || !strings.Contains(text, "giving up in \"verify\"") {
		t.Errorf("stage 2 did not run into it: %v\n%s", err, tail(t, vm))
	}
	if s := status(t, vm); s.Stage != "aborted" || !strings.Contains(s.Reason, "chunk") || s.Armed {
		t.Errorf("status %+v, want it aborted by a chunk of the image", s)
	}
	if after := run(t, vm, bootFiles); after != before {
		t.Errorf("boot files before:\n%s\nafter:\n%s", before, after)
	}
	if state := run(t, vm, "systemctl is-system-running --wait || true"); state != "running" {
		t.Errorf("the old system is %s: %s", state, run(t, vm, "systemctl --failed --no-legend"))
	}
	if line := run(t, vm, "cat /proc/cmdline"); strings.Contains(line, "rdinit") {
		t.Errorf("stage 2 was started again: %s", line)
	}
	run(t, vm, flip) // back
	if carried {
		run(t, vm, "rm /var/lib/balena-migrate/stage2.cpio.gz")
	}
}

// dieAtOnce shows that GRUB itself takes the one-shot entry back in such a file system: stage 2 dies before it can.
func dieAtOnce(t *testing.T, m machine, vm *VM) *VM {
	t.Helper()
	return comeBack(t, m, vm, failure{
		name: "stage 2 dies at once", stage: "crashed", reason: "left no word",
		sabotage: "sed -i 's,rdinit=,balena.fault=exit@modules rdinit=,' /boot/grub/custom.cfg",
	}, run(t, vm, bootState))
}

// TestKexecEFI: by kexec, asked for by name, a machine with EFI firmware rehearses, comes back, and migrates: the firmware's
// services survive, so the new system has its boot entry.
func TestKexecEFI(t *testing.T) {
	t.Parallel()
	art := build(t, BookwormEFI)
	vm := prepared(t, art, Options{Dir: t.TempDir(), Disk: art.Disks[BookwormEFI], EFI: true}, inputs(t, art), buildFaults(t))
	before := run(t, vm, bootFiles)
	byKexec := func(flash bool) string {
		return strings.Replace(document(flash), `"reboot":`, `"boot":{"method":"kexec"},"reboot":`, 1)
	}
	migrate := func(flash bool) {
		t.Helper()
		for _, command := range []string{"balena-migrate migrate --yes", "balena-migrate step reboot"} {
			if res := result(t, vm, command, byKexec(flash)); res.Status != "converged" {
				t.Fatalf("%s: %s", command, res.Msg)
			}
		}
	}
	id, err := vm.BootID(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	migrate(false)
	if err := vm.WaitNewBoot(t.Context(), id, BootTimeout); err != nil {
		t.Fatalf("%v\n%s", err, tail(t, vm))
	}
	if s := status(t, vm); s.Stage != "rehearsed" {
		t.Errorf("status %+v", s)
	}
	if after := run(t, vm, bootFiles); after != before {
		t.Errorf("boot files before:\n%s\nafter:\n%s", before, after)
	}
	from := vm.ConsoleSize()
	migrate(true)
	report, err := vm.WaitNewOS(t.Context(), from, BootTimeout)
	if err != nil {
		t.Fatalf("%v\n%s", err, tail(t, vm))
	}
	for _, what := range report.Missing("lab-bookworm", "") {
		t.Errorf("the new system lacks %s", what)
	}
	if report.Firmware.Current != "balenaOS" || strings.Contains(report.Outcome.Content, "warnings") {
		t.Errorf("firmware %+v, outcome %s", report.Firmware, report.Outcome.Content)
	}
	if err := vm.WaitExit(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	wantDisk(t, vm, art)
}

// migrateLayered is the good case.
func migrateLayered(t *testing.T, vm *VM, art Artifacts) {
	t.Helper()
	backup := run(t, vm, "sha256sum /var/lib/balena-migrate/backup.tgz | cut -c1-64")
	from, began := vm.ConsoleSize(), time.Now()
	if res := result(t, vm, "balena-migrate step reboot", document(true)); res.Status != "converged" {
		t.Fatalf("reboot: %s", res.Msg)
	}
	report, err := vm.WaitNewOS(t.Context(), from, BootTimeout)
	if err != nil {
		t.Fatalf("%v\n%s", err, tail(t, vm))
	}
	t.Logf("from the reboot to the new system %.1f s", time.Since(began).Seconds())
	for _, what := range report.Missing("lab-bookworm", backup) {
		t.Errorf("the new system lacks %s", what)
	}
	if err := vm.WaitExit(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	wantDisk(t, vm, art)
}
