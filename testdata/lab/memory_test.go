package lab

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/balena-community/balena-migrate/schema"
)

// little is the memory of the smallest machine that Debian 12 starts on, in MiB; with noise MiB in it that don't compress
// the image's gzip is larger.
const little, noise = 256, 224

// TestMigrationWithLittleMemory: a machine migrates with an image whose gzip is larger than all of its memory. The image
// is read in place beyond the area that is written, and stage 2 starts without the old system's initramfs.
func TestMigrationWithLittleMemory(t *testing.T) {
	t.Parallel()
	art := build(t, Bookworm)
	var err error
	if art.Image, err = BuildLarge(t.Context(), testLog{t}, noise); err != nil {
		t.Fatal(err)
	}
	in := inputs(t, art)
	if info, err := os.Stat(in.Image); err != nil || info.Size() <= little<<20 {
		t.Fatalf("gzip of the image: %v, %v; want more than %d MiB", info.Size(), err, little)
	}
	began := time.Now()
	vm := start(t, art, Options{Dir: t.TempDir(), Disk: art.Disks[Bookworm], MemMiB: little, CPUs: 1, Extra: inputDisk(t, in)})
	waitSSH(t, vm)
	putBinary(t, vm, "balena-migrate-linux-amd64")
	run(t, vm, "mkdir -p /var/lib/balena-migrate/input && mount -o ro /dev/disk/by-label/inputs /var/lib/balena-migrate/input")
	t.Logf("ready after %.0f s", time.Since(began).Seconds())
	wantInPlace(t, vm)
	backup := run(t, vm, "sha256sum /var/lib/balena-migrate/backup.tgz | cut -c1-64")
	from := vm.ConsoleSize()
	if res := result(t, vm, "balena-migrate step reboot", document(true)); res.Status != "converged" {
		t.Fatalf("reboot: %s", res.Msg)
	}
	report, err := vm.WaitNewOS(t.Context(), from, 2*BootTimeout)
	if err != nil {
		t.Fatalf("%v\n%s", err, tail(t, vm))
	}
	for _, what := range report.Missing(Config(), "lab-"+string(Bookworm), backup) {
		t.Errorf("the new system lacks %s", what)
	}
	wantLog(t, vm, from)
	if err := vm.WaitExit(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	t.Logf("migrated after %.0f s", time.Since(began).Seconds())
	wantDisk(t, vm, art)
}

// inputDisk puts the operator's files on a disk of their own: the guest is too slow for ssh to bring them.
func inputDisk(t *testing.T, in Inputs) []string {
	t.Helper()
	disk := filepath.Join(t.TempDir(), "inputs.img")
	if out, err := exec.Command("mke2fs", "-q", "-t", "ext4", "-L", "inputs", "-d", in.Dir, disk, "512M").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return []string{
		"-drive", "if=none,id=inputs,format=raw,readonly=on,file=" + disk, "-device", "virtio-blk-pci,drive=inputs,serial=INPUTS",
	}
}

// wantInPlace runs every step and looks at what became of the image.
func wantInPlace(t *testing.T, vm *VM) {
	t.Helper()
	began := time.Now()
	res, err := vm.SSH(t.Context(), fmt.Sprintf("balena-migrate migrate --yes --json --input - <<'EOF'\n%s\nEOF\n", document(true)))
	if err != nil {
		t.Fatal(err)
	}
	var got schema.Result
	if err := json.Unmarshal([]byte(res.Stdout), &got); err != nil || got.Status != schema.Converged {
		t.Fatalf("migrate: %v\n%s%s", err, res.Stdout, res.Stderr)
	}
	t.Logf("all steps took %.0f s", time.Since(began).Seconds())
	image, archive, memory := got.Facts.Image, got.Facts.Initramfs, got.Facts.Host.Memory
	if p := image.Placement; p == nil || p.Held >= 1<<20 || image.GzipSize <= little<<20 {
		t.Errorf("image %+v, placement %+v: want all of it in place", image, p)
	}
	if p := got.Facts.Backup.Placement; p == nil || p.Held >= 1<<20 {
		t.Errorf("backup %+v: want all of it in place", p)
	}
	if !archive.Alone || archive.Held >= 2<<20 || archive.Held+archive.InPlace != image.GzipSize+got.Facts.Backup.Size {
		t.Errorf("initramfs %+v", archive)
	}
	t.Logf("memory before prepare-image: %+v; stage 2 with its archive: %d MiB", memory, archive.MemoryNeed>>20)
}

// wantLog looks at what stage 2 said on the console.
func wantLog(t *testing.T, vm *VM, from int64) {
	t.Helper()
	text, err := vm.Console(from)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`memory: \d+ MiB available of \d+.*`, `image: \d+ MiB stay in place on the disk, 0 MiB are held.*`, `memory: \d+ MiB are still.*`, `written: .*`, `read back and [^$]*still available`} {
		if line := regexp.MustCompile(want).FindString(text); line == "" {
			t.Errorf("stage 2 did not say %q", want)
		} else {
			t.Log(line)
		}
	}
}
