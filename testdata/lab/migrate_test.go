package lab

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// play runs the playbook and returns what it printed.
func play(t *testing.T, vm *VM, in Inputs, vars map[string]any, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	began := time.Now()
	err := vm.Playbook(t.Context(), &out, in, vars, args...)
	t.Logf("playbook %v took %.1f s", args, time.Since(began).Seconds())
	wantNoSecret(t, out.String())
	return out.String(), err
}

// wantNoSecret looks at what a playbook printed.
func wantNoSecret(t *testing.T, out string) {
	t.Helper()
	for _, secret := range append(Secrets(), Canary, apiToken) {
		if strings.Contains(out, secret) {
			t.Errorf("the playbook's output holds the secret %q", secret)
		}
	}
}

func changed(t *testing.T, out string) string {
	t.Helper()
	c, found := recaps(out)["lab"]
	if !found {
		t.Fatalf("no recap in\n%s", out)
	}
	return c.changed
}

// treeDigest sums up the old system's disk: every name, mode, owner and content, but for logs and what a running system
// writes by itself, and the tool itself, which check mode installs too.
const treeDigest = `cd / && find . -xdev \( -path ./var/log -o -path ./var/lib/systemd -o -path ./tmp -o -path ./var/tmp -o -path ./run ` +
	`-o -path ./home/pi/.ansible -o -path ./var/lib/balena-migrate/bin \) -prune -o -not -path ./var/lib/balena-migrate ` +
	`\( -type f -printf '%p %m %U %s %T@\n' -o -not -type f -not -path ./var/lib -not -path ./home/pi -printf '%p %m %U %l\n' \) | sort | sha256sum`

func TestMigration(t *testing.T) {
	t.Parallel()
	for _, suite := range []Suite{Bookworm, Trixie} {
		t.Run(string(suite), func(t *testing.T) {
			t.Parallel()
			migrate(t, suite)
		})
	}
}

// migrate is the good case: from a clean guest to the new system, by the playbook.
func migrate(t *testing.T, suite Suite) {
	art := build(t, suite)
	in := inputs(t, art)
	vm := start(t, art, Options{Dir: t.TempDir(), Disk: art.Disks[suite]})
	waitSSH(t, vm)
	before := run(t, vm, treeDigest)
	out, err := play(t, vm, in, nil, "--check", "--diff")
	if err != nil {
		t.Fatalf("check mode: %v\n%s", err, out)
	}
	if after := run(t, vm, treeDigest); after != before {
		t.Errorf("check mode wrote to the disk")
	}
	watchArguments(t, vm)
	if out, err = play(t, vm, in, nil); err != nil || !strings.Contains(out, "balena_migrate_confirm") {
		t.Fatalf("without confirmation: %v\n%s", err, out)
	}
	if out, err = play(t, vm, in, nil); err != nil || changed(t, out) != "0" {
		t.Fatalf("the second run changed something: %v\n%s", err, out)
	}
	secondRuns(t, vm)
	wantSecretsKept(t, vm)
	from := vm.ConsoleSize()
	backup := run(t, vm, "sha256sum /var/lib/balena-migrate/backup.tgz | cut -c1-64")
	// The play waits to the end of its timeout: the address of the machine falls silent. It need not outlast the flash.
	if out, err = play(t, vm, in, map[string]any{"balena_migrate_confirm": true, "balena_migrate_wait_timeout": 90}); err != nil {
		t.Fatalf("migration: %v\n%s\n%s", err, out, tail(t, vm))
	}
	report, err := vm.WaitNewOS(t.Context(), from, BootTimeout)
	if err != nil {
		t.Fatal(err)
	}
	for _, what := range report.Missing(Config(), "lab-"+suite.Release(), backup) {
		t.Errorf("the new system lacks %s", what)
	}
	if err := vm.WaitExit(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	wantDisk(t, vm, art)
}

// intoNewOS reboots an armed Debian 12, and holds what arrives on its disk to what was sent there.
func intoNewOS(t *testing.T, vm *VM, art Artifacts, doc string) NewOSReport {
	t.Helper()
	backup := run(t, vm, "sha256sum /var/lib/balena-migrate/backup.tgz | cut -c1-64")
	from, began := vm.ConsoleSize(), time.Now()
	if res := result(t, vm, "balena-migrate step reboot", doc); res.Status != "converged" {
		t.Fatalf("reboot: %s", res.Msg)
	}
	report, err := vm.WaitNewOS(t.Context(), from, BootTimeout)
	if err != nil {
		t.Fatalf("%v\n%s", err, tail(t, vm))
	}
	t.Logf("from the reboot to the new system %.1f s; firmware: %+v", time.Since(began).Seconds(), report.Firmware)
	for _, what := range report.Missing(Config(), "lab-"+string(Bookworm), backup) {
		t.Errorf("the new system lacks %s", what)
	}
	if err := vm.WaitExit(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	wantDisk(t, vm, art)
	return report
}

func inputs(t *testing.T, art Artifacts) Inputs {
	t.Helper()
	in, err := art.WriteInputs(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func tail(t *testing.T, vm *VM) string {
	t.Helper()
	text, err := vm.Console(0)
	if err != nil {
		t.Fatal(err)
	}
	return text[max(0, len(text)-6000):]
}

// wantDisk reads the disk back: what nothing was to be added to is the image, byte for byte.
func wantDisk(t *testing.T, vm *VM, art Artifacts) {
	t.Helper()
	raw := filepath.Join(t.TempDir(), "disk.raw")
	if err := vm.RawDisk(t.Context(), raw); err != nil {
		t.Fatal(err)
	}
	table := func(name string) []struct{ Start, Size int64 } {
		out, err := exec.Command("sfdisk", "-J", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		var doc struct {
			Partitiontable struct {
				Partitions []struct{ Start, Size int64 }
			}
		}
		if err := json.Unmarshal(out, &doc); err != nil {
			t.Fatal(err)
		}
		return doc.Partitiontable.Partitions
	}
	want, got := table(art.Image), table(raw)
	if fmt.Sprint(want) != fmt.Sprint(got) || len(want) != 6 {
		t.Fatalf("partitions %v, want %v", got, want)
	}
	for _, i := range []int{1, 2, 4} { // rootA, rootB, state
		if a, b := digest(t, art.Image, want[i]), digest(t, raw, want[i]); a != b {
			t.Errorf("partition %d differs from the image", i+1)
		}
	}
	for i, name := range map[int]string{0: "fsck.vfat", 5: "e2fsck"} {
		fsck(t, name, raw, want[i])
	}
}

func digest(t *testing.T, name string, p struct{ Start, Size int64 }) string {
	t.Helper()
	sum := sha256.New()
	if err := part(name, p, func(b []byte) error { _, err := sum.Write(b); return err }); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// part reads a partition of a disk image.
func part(name string, p struct{ Start, Size int64 }, use func([]byte) error) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	buf := make([]byte, 1<<20)
	for off := int64(0); off < p.Size*512; {
		n := min(int64(len(buf)), p.Size*512-off)
		if _, err := f.ReadAt(buf[:n], p.Start*512+off); err != nil {
			return err
		}
		if err := use(buf[:n]); err != nil {
			return err
		}
		off += n
	}
	return nil
}

func fsck(t *testing.T, program, disk string, p struct{ Start, Size int64 }) {
	t.Helper()
	copied, err := os.Create(filepath.Join(t.TempDir(), "part"))
	if err != nil {
		t.Fatal(err)
	}
	defer copied.Close()
	if err := part(disk, p, func(b []byte) error { _, err := copied.Write(b); return err }); err != nil {
		t.Fatal(err)
	}
	args := []string{"-n", copied.Name()}
	if program == "e2fsck" {
		args = append([]string{"-f"}, args...)
	}
	if out, err := exec.Command(program, args...).CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", program, err, out)
	}
}
