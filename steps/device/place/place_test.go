package place

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/disarm"
	"github.com/balena-community/balena-migrate/stage2/inplace"
	"github.com/balena-community/balena-migrate/steps/device/boot"
	"github.com/balena-community/balena-migrate/steps/host/hosttest"
)

// disk is a machine whose one disk is a file with a real ext4 in its partition, mounted below /data.
type disk struct {
	*hosttest.Host
	t     *testing.T
	image string // the whole disk
	size  int64
}

// newDisk needs root, for the loop device and the mount.
func newDisk(t *testing.T, mib int, mke2fs ...string) disk {
	t.Helper()
	h := hosttest.Debian(t)
	return disk{Host: h, t: t, image: h.Ext4("/data", mib, mke2fs...), size: int64(mib) << 20}
}

// file describes a file below /data for a flash of so many MiB.
func (d disk) file(name string, written int64) File {
	d.t.Helper()
	site, err := boot.At(d.Host)
	if err != nil {
		d.t.Fatal(err)
	}
	return File{Site: site, Files: d.Host, Disk: schema.Disk{Name: "vda", Size: d.size}, Name: name, Written: written << 20}
}

// put makes a file of noise.
func (d disk) put(name string, n int) []byte {
	d.t.Helper()
	data := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(n)}).Read(data) // never fails
	d.Put(name, string(data))
	return data
}

// wantOnDisk reads a file by its extents from the disk, past the file system, and the rest through it.
func (d disk) wantOnDisk(f File, want []byte) []schema.Extent {
	d.t.Helper()
	list, _ := f.InPlace(int64(len(want)))
	raw, err := os.Open(d.image)
	if err != nil {
		d.t.Fatal(err)
	}
	defer raw.Close()
	var held []byte
	for _, g := range inplace.Gaps(list, int64(len(want))) {
		held = append(held, want[g.Off:g.Off+g.Length]...)
	}
	r, err := inplace.New(int64(len(want)), list, held, inplace.NewDisk(raw, d.size, make([]byte, 64<<10)))
	if err != nil {
		d.t.Fatal(err)
	}
	got, err := io.ReadAll(io.NewSectionReader(r, 0, r.Size()))
	if err != nil || !bytes.Equal(got, want) {
		d.t.Errorf("%s on the disk is not the file: %v", f.Name, err)
	}
	return list
}

func TestExtentsAreWhatLiesOnTheDisk(t *testing.T) {
	d := newDisk(t, 128)
	data := d.put("/data/whole", 20<<20+12345)
	f := d.file("/data/whole", 0)
	if p := f.Look(int64(len(data))); p.Held != 0 || p.Note != "" {
		t.Errorf("placement %+v", p)
	}
	d.wantOnDisk(f, data)

	// Two files that grow in turns are in pieces.
	for i := range 8 {
		for _, name := range []string{"a", "b"} {
			out, err := os.OpenFile(filepath.Join(d.Root(), "data", name), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := out.Write(data[i<<20 : (i+1)<<20]); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(out.Sync(), out.Close()); err != nil {
				t.Fatal(err)
			}
		}
	}
	list := d.wantOnDisk(d.file("/data/a", 0), data[:8<<20])
	t.Logf("a file in %d extents", len(list))
}

// Holes and unwritten extents have no bytes on the disk: what lies there must not be taken for them.
func TestHolesAndUnwrittenAreHeld(t *testing.T) {
	d := newDisk(t, 64)
	d.put("/data/junk", 30<<20) // so that free blocks hold something else than zeros
	if err := d.Remove("/data/junk"); err != nil {
		t.Fatal(err)
	}
	d.Exec("sync")
	name := filepath.Join(d.Root(), "data", "sparse")
	d.Exec("truncate", "-s", "12M", name)
	d.Exec("fallocate", "-o", "4M", "-l", "4M", name)
	data := make([]byte, 12<<20)
	copy(data[9<<20:], bytes.Repeat([]byte("x"), 1<<20))
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(data[9<<20:10<<20], 9<<20); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	file := d.file("/data/sparse", 0)
	list := d.wantOnDisk(file, data)
	if n := inplace.Total(list); n != 1<<20 {
		t.Errorf("%d bytes in place, want the MiB that was written: %+v", n, list)
	}
	if p := file.Look(12 << 20); p.Held != 11<<20 || !strings.Contains(p.Note, "unwritten") {
		t.Errorf("placement %+v", p)
	}
}

func (d disk) move(f File, data []byte, keepFree int64) error {
	return Move{
		File: f, SHA256: disarm.Sum(data), Mode: 0o600, KeepFree: keepFree, Progress: func(int64, int64) {},
	}.Run(context.Background(), d.Host)
}

func TestMoveBeyondTheWrittenArea(t *testing.T) {
	d := newDisk(t, 512, "-G", "1", "-g", "8192", "-b", "4096")
	d.put("/data/system", 10<<20)
	data := d.put("/data/image.gz", 30<<20+5)
	f := d.file("/data/image.gz", 200)
	before := f.Look(int64(len(data)))
	if before.Held == 0 {
		t.Fatalf("the file lies beyond already: %+v", before)
	}
	if err := d.move(f, data, 10<<20); err != nil {
		t.Fatal(err)
	}
	if p := f.Look(int64(len(data))); p.Held >= worth {
		t.Errorf("before %+v, after %+v", before, p)
	}
	d.wantOnDisk(f, data)
	if got, err := d.ReadFile("/data/image.gz"); err != nil || !bytes.Equal(got, data) {
		t.Error("the file is not what it was")
	}
	d.wantNothingLeft("image.gz", "lost+found", "system")
	if err := d.move(f, data, 10<<20); err != nil {
		t.Errorf("again: %v", err)
	}
}

func (d disk) wantNothingLeft(want ...string) {
	d.t.Helper()
	entries, err := d.ReadDir("/data")
	if err != nil {
		d.t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		d.t.Errorf("files %v, want %v", got, want)
	}
}

// A nearly full file system: not a byte of what has to stay free is taken, and the file is left as it is, or part of it
// gets away.
func TestMoveOnANearlyFullDisk(t *testing.T) {
	for _, c := range []struct {
		name  string
		other int   // MiB of other files
		keep  int64 // MiB
		want  string
	}{
		{"no room for a copy", 80, 10, "no room for a second copy"},
		{"room for a copy, but not with what has to stay free", 60, 25, "no room for a second copy"},
		{"room, but not beyond", 60, 5, "no better place"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDisk(t, 128)
			data := d.put("/data/image.gz", 20<<20)
			d.Exec("fallocate", "-l", fmt.Sprint(c.other<<20), filepath.Join(d.Root(), "data", "other"))
			f := d.file("/data/image.gz", 128)
			before := f.Look(int64(len(data)))
			if err := d.move(f, data, c.keep<<20); !errors.Is(err, ErrStays) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if after := f.Look(int64(len(data))); *after != *before || after.Held != int64(len(data)) {
				t.Errorf("%+v, was %+v", after, before)
			}
			d.wantNothingLeft("image.gz", "lost+found", "other")
			if got, err := d.ReadFile("/data/image.gz"); err != nil || !bytes.Equal(got, data) {
				t.Error("the file is not what it was")
			}
		})
	}
}

// Where there is not room for all of it beyond, the part that fits goes there, and only the rest is held.
func TestMoveInPart(t *testing.T) {
	d := newDisk(t, 128, "-m", "0", "-O", "^has_journal")
	data := d.put("/data/image.gz", 30<<20)
	f := d.file("/data/image.gz", 112)
	if err := d.move(f, data, 1<<20); err != nil {
		t.Fatal(err)
	}
	p := f.Look(int64(len(data)))
	if p.InPlace < 8<<20 || p.Held == 0 || p.InPlace+p.Held != int64(len(data)) || p.Note == "" {
		t.Errorf("placement %+v", p)
	}
	t.Logf("%+v", p)
	d.wantOnDisk(f, data)
	if _, settled := f.Settled(int64(len(data)), p); !settled {
		t.Error("it would be moved again and again")
	}
	if _, settled := f.Settled(int64(len(data)), &schema.Placement{Written: p.Written, InPlace: p.InPlace + 1, Held: p.Held - 1}); settled {
		t.Error("it lies worse than it did, and is not moved")
	}
}

// The limit holds at any moment, not only at the end.
func TestMoveKeepsSpaceFree(t *testing.T) {
	d := newDisk(t, 256, "-m", "0")
	data := d.put("/data/image.gz", 20<<20)
	f := d.file("/data/image.gz", 100)
	space, err := d.Space("/data")
	if err != nil {
		t.Fatal(err)
	}
	const keep = 50 << 20
	out, err := d.Create("/data/probe", 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Discard()
	b, err := d.Create("/data/probe.ballast", 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Discard()
	m := Move{File: f, KeepFree: keep}
	spare := space.Free - keep - int64(len(data))
	if _, err := m.fill(b, spare); err != nil {
		t.Fatal(err)
	}
	if now, err := d.Space("/data"); err != nil || now.Free < keep+int64(len(data)) {
		t.Errorf("%d bytes are free with the ballast, want %d and the copy's", now.Free, keep)
	}
	all, err := b.Extents()
	if err != nil || len(all) == 0 {
		t.Fatalf("ballast %v, %v", all, err)
	}
	for _, e := range all {
		if hosttest.PartStart+e.Physical >= f.Written {
			t.Errorf("ballast beyond: %+v", e)
		}
	}
}

func TestWhatIsNotTheFileIsNotCopied(t *testing.T) {
	d := newDisk(t, 512, "-G", "1", "-g", "8192", "-b", "4096")
	data := d.put("/data/image.gz", 8<<20)
	if err := d.move(d.file("/data/image.gz", 200), data[1:], 0); err == nil || !strings.Contains(err.Error(), "SHA-256") {
		t.Errorf("got %v", err)
	}
	d.wantNothingLeft("image.gz", "lost+found")
}

func TestElsewhere(t *testing.T) {
	d := newDisk(t, 64)
	d.put("/data/f", 1<<20)
	f := d.file("/data/f", 0)
	if !f.Movable() {
		t.Error("not movable")
	}
	f.Disk.Name = "vdb"
	if p := f.Look(1 << 20); f.Movable() || p.Held != 1<<20 || !strings.Contains(p.Note, "another disk, vda") {
		t.Errorf("placement %+v", p)
	}
	f = d.file("/data/f", 0)
	f.Disk.Size = 2 << 20
	if p := f.Look(1 << 20); p.Held != 1<<20 || !strings.Contains(p.Note, "the disk ends") {
		t.Errorf("placement %+v", p)
	}
	d.Put("/proc/self/mountinfo", "22 1 254:1 / / rw - btrfs /dev/vda1 rw\n")
	f = d.file("/data/f", 0)
	if p := f.Look(1 << 20); f.Movable() || p.Held != 1<<20 || !strings.Contains(p.Note, "btrfs") {
		t.Errorf("placement %+v", p)
	}
}
