package lab

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestI386Migration: a Debian of 32 bits comes back from a failure. Then the image is one without boot code, as those in old
// flashers are: it is refused as it is, and with GRUB's boot.img, core.img and a grub.cfg beside it the machine migrates,
// and its BIOS starts the new system by them.
func TestI386Migration(t *testing.T) {
	t.Parallel()
	art, err := BuildI386(t.Context(), testLog{t})
	if err != nil {
		t.Fatal(err)
	}
	opt := Options{Dir: t.TempDir(), Disk: art.Disks[BookwormI386], CPUs: 1}
	vm := prepared(t, art, opt, inputs(t, art), buildFor(t, "386"))
	before := run(t, vm, bootState)
	if got := run(t, vm, "uname -m; getconf LONG_BIT; grep -cw lm /proc/cpuinfo"); got != "i686\n32\n1" {
		t.Errorf("the guest is %q", got)
	}
	vm = comeBack(t, machine{t, art, opt}, vm, failure{
		name: "image file deleted", stage: "aborted", reason: "no such file", sabotage: "rm /var/lib/balena-migrate/image.gz",
	}, before)
	bare := withoutBootCode(t, art)
	in := inputs(t, bare)
	if err := vm.Put(t.Context(), in.Image, "/var/lib/balena-migrate/input/balena.img.gz"); err != nil {
		t.Fatal(err)
	}
	if res := result(t, vm, "balena-migrate migrate --yes", document(true)); res.Status != "blocked" || !strings.Contains(res.Msg, "without boot code") {
		t.Errorf("an image without boot code: %s %s", res.Status, res.Msg)
	}
	grub := grubFiles(t, vm, art)
	doc := strings.Replace(document(true), `"checks":`, `"boot":{"grub":{"install":"files","boot_img":"/root/boot.img","core_img":"/root/core.img","cfg":"/root/grub.cfg"}},"checks":`, 1)
	if res := result(t, vm, "balena-migrate migrate --yes", doc); res.Status != "converged" {
		t.Fatalf("migrate: %s", res.Msg)
	}
	backup := run(t, vm, "sha256sum /var/lib/balena-migrate/backup.tgz | cut -c1-64")
	from, began := vm.ConsoleSize(), time.Now()
	if res := result(t, vm, "balena-migrate step reboot", doc); res.Status != "converged" {
		t.Fatalf("reboot: %s", res.Msg)
	}
	report, err := vm.WaitNewOS(t.Context(), from, BootTimeout)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("from the reboot to the new system %.1f s", time.Since(began).Seconds())
	for _, what := range report.Missing("lab-bookworm", backup) {
		t.Errorf("the new system lacks %s", what)
	}
	if err := vm.WaitExit(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	wantDisk(t, vm, bare)
	wantGrub(t, vm, bare, grub)
}

// buildFor makes the tool for another architecture.
func buildFor(t *testing.T, goarch string) string {
	t.Helper()
	project, err := Project()
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "balena-migrate")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", out, "./cmd/balena-migrate")
	cmd.Dir, cmd.Env = project, append(os.Environ(), "CGO_ENABLED=0", "GOARCH="+goarch)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return out
}

// bootAt is where the boot partition of the new system begins (newos-image.sh), in bytes.
const bootAt = 4 << 20

// withoutBootCode is the new system with nothing that a BIOS could start, and without a grub.cfg for it.
func withoutBootCode(t *testing.T, art Artifacts) Artifacts {
	t.Helper()
	bare := filepath.Join(t.TempDir(), "bare.img")
	if out, err := exec.Command("cp", "--sparse=always", art.Image, bare).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	f, err := os.OpenFile(bare, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for off, n := range map[int64]int64{0: 440, 512: bootAt - 512} {
		if _, err := f.WriteAt(make([]byte, n), off); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("mdel", "-i", fmt.Sprintf("%s@@%d", bare, bootAt), "::/grub/grub.cfg").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	art.Image = bare
	return art
}

// grub is what is to start the new system.
type grub struct{ boot, core, cfg []byte }

// grubFiles makes them as an operator would, and puts them on the guest.
func grubFiles(t *testing.T, vm *VM, art Artifacts) grub {
	t.Helper()
	scripts, err := scriptDir()
	if err != nil {
		t.Fatal(err)
	}
	from, core := filepath.Join(filepath.Dir(filepath.Dir(art.Kernel)), "usr/lib/grub/i386-pc"), filepath.Join(t.TempDir(), "core.img")
	out, err := exec.Command("grub-mkimage", "--directory", from, "--format=i386-pc", "--prefix=(hd0,msdos1)/grub", "--output", core,
		"biosdisk", "part_msdos", "fat", "ext2", "search", "search_label", "normal", "configfile", "linux", "serial", "terminal", "echo", "boot").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cfg := filepath.Join(filepath.Dir(core), "grub.cfg")
	text, err := os.ReadFile(filepath.Join(scripts, "newos-boot/grub.cfg"))
	if err == nil {
		err = os.WriteFile(cfg, append([]byte("# of the operator\n"), text...), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	read := func(name string) []byte {
		data, err := os.ReadFile(name)
		if err == nil {
			err = vm.Put(t.Context(), name, "/root/"+filepath.Base(name))
		}
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	return grub{boot: read(filepath.Join(from, "boot.img")), core: read(core), cfg: read(cfg)}
}

// wantGrub reads the disk: GRUB in its places, the table and the disk signature the image's, the gap behind core.img too.
func wantGrub(t *testing.T, vm *VM, bare Artifacts, want grub) {
	t.Helper()
	raw := filepath.Join(t.TempDir(), "grub.raw")
	if err := vm.RawDisk(t.Context(), raw); err != nil {
		t.Fatal(err)
	}
	head := func(name string) []byte {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		data := make([]byte, bootAt)
		if _, err := io.ReadFull(f, data); err != nil {
			t.Fatal(err)
		}
		return data
	}
	got, image := head(raw), head(bare.Image)
	if !bytes.Equal(got[:440], want.boot[:440]) || !bytes.Equal(got[440:512], image[440:512]) {
		t.Errorf("first sector % x", got[:512])
	}
	end := 512 + len(want.core)
	if !bytes.Equal(got[512:end], want.core) || !bytes.Equal(got[end:], image[end:]) {
		t.Error("core.img is not in its place, or more than it is")
	}
	cfg, err := exec.Command("mtype", "-i", fmt.Sprintf("%s@@%d", raw, bootAt), "::/grub/grub.cfg").Output()
	if err != nil || !bytes.Equal(cfg, want.cfg) {
		t.Errorf("grub.cfg is %q, %v", cfg, err)
	}
}
