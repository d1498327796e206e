package initramfs_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/flashplan"
	"github.com/balena-community/balena-migrate/steps/host"
	"github.com/balena-community/balena-migrate/steps/host/hosttest"
	"github.com/balena-community/balena-migrate/steps/initramfs"
	"github.com/balena-community/balena-migrate/steps/steptest"
)

// planOf reads the plan out of the archive.
func planOf(t *testing.T, h *hosttest.Host, f *schema.InitramfsFacts) *schema.FlashPlan {
	t.Helper()
	plan, _ := planAndFiles(t, h, f)
	return plan
}

// planAndFiles reads the archive: the plan, and every file by its path.
func planAndFiles(t *testing.T, h *hosttest.Host, f *schema.InitramfsFacts) (*schema.FlashPlan, map[string]string) {
	t.Helper()
	data, err := h.ReadFile(f.Path)
	if err != nil {
		t.Fatal(err)
	}
	files, _ := unpack(t, data)
	plan := &schema.FlashPlan{}
	if err := schema.Decode([]byte(files[flashplan.Plan]), "plan", "flash-plan", plan); err != nil {
		t.Fatal(err)
	}
	return plan, files
}

// The plan has the extents of now, whatever was recorded: what lies beyond the flash is read in place, the rest is held.
// When the file system has moved a file, the archive is made anew.
func TestExtentsInThePlan(t *testing.T) {
	h, in := ready(t) // the image has 1 MiB
	h.Put("/sys/devices/pci0000:00/0000:00:03.0/virtio1/block/vda/vda1/start", "2048\n")
	h.Placed = map[string][]host.Extent{
		work + "/image.gz":   {{Logical: 0, Physical: 40 << 20, Length: 4096}},
		work + "/backup.tgz": {{Logical: 0, Physical: -4096, Length: 4096}},
	}
	in.Facts.Image.Placement = &schema.Placement{Held: 5, Note: "out of date"}
	res := steptest.Laws(t, initramfs.Step{}, steptest.RunOn(h), in, canary)
	plan := planOf(t, h, res.Facts.Initramfs)
	if want := []schema.Extent{{Logical: 0, DiskOffset: 41 << 20, Length: 5}}; !reflect.DeepEqual(plan.Image.Extents, want) || plan.Backup.Extents != nil {
		t.Errorf("image at %+v, want %+v; backup at %+v, want none", plan.Image.Extents, want, plan.Backup.Extents)
	}
	if f := res.Facts.Initramfs; f.InPlace != 5 || f.Held != 6 {
		t.Errorf("facts %+v", f)
	}
	h.Placed[work+"/image.gz"] = []host.Extent{{Logical: 0, Physical: 50 << 20, Length: 4096}}
	again, err := steptest.RunOn(h).Converge(context.Background(), initramfs.Step{}, in)
	if err != nil || !again.Changed {
		t.Fatalf("moved, and not made anew: %v", err)
	}
	if at := planOf(t, h, again.Facts.Initramfs).Image.Extents[0].DiskOffset; at != 51<<20 {
		t.Errorf("image at %d", at)
	}
}

// A file in thousands of pieces is not worth its map.
func TestManyPiecesAreHeld(t *testing.T) {
	h, in := ready(t)
	h.Put("/sys/devices/pci0000:00/0000:00:03.0/virtio1/block/vda/vda1/start", "2048\n")
	in.Facts.Image.GzipSize = 5000
	h.Placed = map[string][]host.Extent{}
	for i := range int64(5000) {
		h.Placed[work+"/image.gz"] = append(h.Placed[work+"/image.gz"], host.Extent{Logical: i, Physical: 30<<20 + 8192*(i%1000), Length: 1})
	}
	res, err := steptest.RunOn(h).Converge(context.Background(), initramfs.Step{}, in)
	if err != nil || res.Facts.Initramfs.Held < 5000 || len(planOf(t, h, res.Facts.Initramfs).Image.Extents) != 0 {
		t.Errorf("%v: %+v", err, res.Facts.Initramfs)
	}
}

// Short memory leaves the old system's initramfs out, and only short memory.
func TestAlone(t *testing.T) {
	for mib, alone := range map[int]bool{1024: false, 400: false, 250: true} {
		h, in := ready(t)
		h.Put("/sys/devices/system/cpu/online", "0-1\n")
		h.Put("/proc/meminfo", fmt.Sprintf("MemTotal: %d kB\nMemAvailable: 1000 kB\n", mib<<10))
		if err := os.Truncate(filepath.Join(h.Root(), "/boot/initrd.img-"+hosttest.Release), 30<<20); err != nil {
			t.Fatal(err)
		}
		res := steptest.Laws(t, initramfs.Step{}, steptest.RunOn(h), in, canary)
		if f := res.Facts.Initramfs; f.Alone != alone || planOf(t, h, f).Alone != alone {
			t.Errorf("%d MiB: %+v, want alone %v", mib, f, alone)
		}
	}
}
