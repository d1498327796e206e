package faults

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-json"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps/host/hosttest"
)

// shell runs a command that must succeed.
func shell(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(context.Background(), name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// onDisk lays a device into a real ext4, with its partition where the device's /sys has it, and returns the file.
func onDisk(t *testing.T, d device) string {
	t.Helper()
	d.Put("/sys/devices/pci0000:00/0000:00:03.0/virtio1/block/vda/vda1/start", "2048\n")
	shell(t, "mkdir", "-p", filepath.Join(d.Root(), work))                                                                                          // where precheck leaves its facts
	shell(t, "sed", "-i", `s/"memory"/"memory","space"/; s/"config":{/"config":{"disk":{"min_free_mb":1},/`, filepath.Join(d.Root(), "/in/m.json")) // the disk is small
	disk := filepath.Join(t.TempDir(), "disk")
	shell(t, "mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-m", "0", "-N", "2048", disk, fmt.Sprint((hosttest.DiskSize-1<<20)>>10, "K"))
	point := mounted(t, disk)
	low, high := pieces(t, point, "first")
	remove(t, high[:24]) // room for the device's own files
	shell(t, "cp", "-a", "--sparse=always", d.Root()+"/.", point)
	pieces(t, point, "second")
	// The image goes first where room is in one piece, and has to leave: what remains there is smaller than the pieces beyond.
	remove(t, low[len(low)-4:])
	for i := 24; i < len(high); i += 2 {
		remove(t, high[i:i+1])
	}
	shell(t, "umount", point)
	return disk
}

// pieces fills the file system with files of 1 MiB, and returns those that the flash writes over and those beyond, in the order
// of the disk. Where a file system puts a file is its own affair; what it finds free is not.
func pieces(t *testing.T, point, name string) (low, high []string) {
	t.Helper()
	h, at := hosttest.Existing(t, point), map[string]int64{}
	for i := 0; ; i++ {
		piece := fmt.Sprint("/", name, i)
		if exec.CommandContext(t.Context(), "fallocate", "-l", "1M", filepath.Join(point, piece)).Run() != nil {
			break // full
		}
		list, err := h.Extents(piece)
		if err != nil {
			t.Fatal(err)
		}
		if at[piece] = list[0].Physical; list[0].Physical+1<<20 < hosttest.ImageSize {
			low = append(low, filepath.Join(point, piece))
		} else {
			high = append(high, filepath.Join(point, piece))
		}
	}
	for _, list := range [][]string{low, high} {
		slices.SortFunc(list, func(a, b string) int {
			return cmp.Compare(at["/"+filepath.Base(a)], at["/"+filepath.Base(b)])
		})
	}
	return low, high
}

func remove(t *testing.T, files []string) {
	t.Helper()
	for _, name := range files {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
}

// mounted mounts such a file until the test ends.
func mounted(t *testing.T, disk string) string {
	t.Helper()
	point := t.TempDir()
	shell(t, "mount", "-o", "loop", disk, point)
	t.Cleanup(func() { _ = exec.CommandContext(context.Background(), "umount", point).Run() })
	return point
}

// fresh is a machine on a copy of the disk, on which precheck has said which disk it is.
func fresh(t *testing.T, disk string) (device, func()) {
	t.Helper()
	copied := filepath.Join(t.TempDir(), "disk")
	shell(t, "cp", "--sparse=always", disk, copied)
	point := mounted(t, copied)
	d := device{Host: hosttest.Existing(t, point), t: t}
	d.run("precheck", 0)
	return d, func() { shell(t, "umount", point); shell(t, "e2fsck", "-fn", copied) }
}

// countOnDisk counts the operations of prepare-image, in a file that takes no room on the disk.
func countOnDisk(t *testing.T, disk string) int {
	t.Helper()
	d, done := fresh(t, disk)
	counts := filepath.Join(t.TempDir(), "points")
	shell(t, "touch", counts, filepath.Join(d.Root(), "points"))
	shell(t, "mount", "--bind", counts, filepath.Join(d.Root(), "points"))
	defer done()
	defer shell(t, "umount", filepath.Join(d.Root(), "points"))
	return d.points("prepare-image")
}

// imageFacts is what prepare-image says of the image.
func (d device) imageFacts() *schema.ImageFacts {
	d.t.Helper()
	data, err := d.ReadFile(work + "/image.stamp.json")
	if err != nil {
		d.t.Fatal(err)
	}
	var s schema.Stamp
	if err := json.Unmarshal(data, &s); err != nil {
		d.t.Fatal(err)
	}
	return s.Facts.Image
}

// away says whether the image lies beyond what the flash writes, but for what is not worth a copy.
func away(f *schema.ImageFacts) bool {
	return f.Placement != nil && f.Placement.Held < 256<<10 && f.Placement.Held+f.Placement.InPlace == f.GzipSize
}

// names is the content of the work dir, and how much of the disk is free, in MiB.
func (d device) names() string {
	d.t.Helper()
	entries, err := d.ReadDir(work)
	if err != nil {
		return err.Error()
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	space, err := d.Rooted.Space(work)
	if err != nil {
		d.t.Fatal(err)
	}
	return fmt.Sprint(strings.Join(out, " "), ", ", space.Free>>20)
}

// TestKilledWhilePlacing: on a real ext4, where prepare-image gives the image another place, every kill leaves the image
// whole or none, and the next run ends where an undisturbed one does: in place, and with nothing left over.
func TestKilledWhilePlacing(t *testing.T) {
	b := brought{program: build(t), image: hosttest.Image(t)}
	disk := onDisk(t, newDevice(t, b))
	clean, done := fresh(t, disk)
	clean.run("prepare-image", 0)
	want, names := clean.imageFacts(), clean.names()
	if !away(want) {
		t.Fatalf("placement %+v; want all in place", want.Placement)
	}
	done()
	total := countOnDisk(t, disk)
	killed, low := 0, 0
	for at := 1; at <= total; at++ {
		if at < total-25 && at%max(total/8, 1) != 0 { // the move comes last
			continue
		}
		d, done := fresh(t, disk)
		if !d.run("prepare-image", at) { // where a file system looks for room is not the same each time
			done()
			break
		}
		killed++
		if data, err := d.ReadFile(work + "/image.gz"); err == nil && fmt.Sprintf("%x", sha256.Sum256(data)) != want.GzipSHA256 {
			t.Errorf("killed at %d: image.gz is not whole", at)
		}
		if list, err := d.Extents(work + "/image.gz"); err == nil && list[0].Physical+1<<20 < hosttest.ImageSize {
			low++
		}
		d.run("prepare-image", 0)
		got := d.imageFacts()
		if !away(got) || got.GzipSHA256 != want.GzipSHA256 || d.names() != names {
			t.Errorf("killed at %d: the next run leaves %+v, %s; want %+v, %s", at, got.Placement, d.names(), want.Placement, names)
		}
		done()
	}
	t.Logf("killed at %d of %d points, at %d of them before the image was moved", killed, total, low)
	if low == 0 || killed < 20 {
		t.Error("want 20 kills, and some while the image lay where the flash writes")
	}
}
