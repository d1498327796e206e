package flashimage_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/balena-community/balena-migrate/stage2/fat"
	"github.com/balena-community/balena-migrate/stage2/flashimage"
	"github.com/balena-community/balena-migrate/stage2/fsprobe"
	"github.com/balena-community/balena-migrate/stage2/parttable"
)

// diskImage has a boot partition with device-type.json, and an ext4 behind it.
func diskImage(t *testing.T) string {
	t.Helper()
	disk := filepath.Join(t.TempDir(), "disk.img")
	json := filepath.Join(t.TempDir(), "device-type.json")
	run := func(stdin string, command ...string) {
		t.Helper()
		cmd := exec.Command(command[0], command[1:]...)
		cmd.Stdin = strings.NewReader(stdin)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", command, err, out)
		}
	}
	if err := os.WriteFile(json, []byte(`{"slug":"intel-nuc"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	run("", "truncate", "-s", "48M", disk)
	run("label: dos\n8192,32768,e,*\n40960,32768,83\n", "sfdisk", "-q", "--no-reread", "--no-tell-kernel", disk)
	run("", "mkfs.vfat", "-F16", "-n", "resin-boot", "--offset=8192", disk, "16384")
	run("", "mcopy", "-i", disk+"@@4M", json, "::/")
	run("", "mke2fs", "-q", "-t", "ext4", "-L", "resin-rootA", "-E", "offset=20971520", disk, "16M")
	return disk
}

// What stage 1 does with a prepared image: look into it, without unpacking it and without root.
func TestLookInside(t *testing.T) {
	raw, err := os.ReadFile(diskImage(t))
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	index, err := flashimage.Encode(context.Background(), &file, bytes.NewReader(raw), flashimage.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := flashimage.NewReader(bytes.NewReader(file.Bytes()), index)
	if err != nil {
		t.Fatal(err)
	}
	view := r.View()
	table, err := parttable.Read(view, view.Size())
	if err != nil || len(table.Partitions) != 2 || table.Fits(view.Size()) != nil {
		t.Fatalf("table %+v, error %v", table, err)
	}
	labels := []string{}
	for _, p := range table.Partitions {
		info, err := fsprobe.Probe(io.NewSectionReader(view, p.Start, p.Size))
		if err != nil {
			t.Fatal(err)
		}
		labels = append(labels, info.Type+" "+info.Label)
	}
	if got := strings.Join(labels, ", "); got != "vfat resin-boot, ext4 resin-rootA" {
		t.Errorf("partitions %s", got)
	}
	boot := table.Partitions[0]
	fsys, err := fat.Open(io.NewSectionReader(view, boot.Start, boot.Size), boot.Size)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := fsys.ReadFile("device-type.json"); string(got) != `{"slug":"intel-nuc"}` || err != nil {
		t.Errorf("device-type.json %q, error %v", got, err)
	}
	checkGzip(t, file.Bytes(), raw)
}

// checkGzip asks the gzip of the seed's stage 2.
func checkGzip(t *testing.T, file, raw []byte) {
	t.Helper()
	cmd := exec.Command("gzip", "-dc")
	cmd.Stdin = bytes.NewReader(file)
	if got, err := cmd.Output(); err != nil || !bytes.Equal(got, raw) {
		t.Errorf("gzip -dc: %d bytes, error %v", len(got), err)
	}
}
