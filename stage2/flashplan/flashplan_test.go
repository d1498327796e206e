package flashplan

import (
	"errors"
	"io/fs"
	"reflect"
	"strings"
	"testing"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps/host/hosttest"
)

func TestNeed(t *testing.T) {
	const image, backup = 300 << 20, 20 << 20
	cases := []struct {
		processors, workers int
		backup              *schema.FileRef
		want                int64
	}{
		{processors: 0, workers: 1, want: image + Program + BufferSize},
		{processors: 1, workers: 1, want: image + Program + BufferSize},
		{processors: 4, workers: 4, want: image + Program + 4*BufferSize},
		{processors: 64, workers: 4, want: image + Program + 4*BufferSize},
		{processors: 2, workers: 2, backup: &schema.FileRef{Size: backup}, want: image + backup + Program + 2*BufferSize},
	}
	for _, c := range cases {
		if got := Workers(c.processors); got != c.workers {
			t.Errorf("%d processors: %d workers, want %d", c.processors, got, c.workers)
		}
		plan := &schema.FlashPlan{Image: schema.FileRef{Size: image}, Backup: c.backup}
		if got := Need(plan, c.processors); got != c.want {
			t.Errorf("%d processors, backup %v: %d bytes, want %d", c.processors, c.backup, got, c.want)
		}
	}
}

// What is read in place is not held.
func TestHeld(t *testing.T) {
	f := &schema.FileRef{Size: 100 << 20, Extents: []schema.Extent{{Logical: 5, DiskOffset: 1 << 30, Length: 10 << 20}, {Logical: 50 << 20, DiskOffset: 2 << 30, Length: 50 << 20}}}
	if got := Held(f); got != 40<<20 {
		t.Errorf("%d bytes are held, want 40 MiB", got)
	}
	if got, want := Need(&schema.FlashPlan{Image: *f, Backup: f}, 1), int64(80<<20+Program+BufferSize); got != want {
		t.Errorf("need %d, want %d", got, want)
	}
}

// The host's initramfs comes along where there is room for it, to the byte.
func TestAlone(t *testing.T) {
	const need, keep, initrd = 70 << 20, 64 << 20, 30 << 20
	beside := Machine(need, keep, initrd)
	if beside-Machine(need, keep, 0) != 135<<20 {
		t.Errorf("an initramfs of 30 MiB takes %d bytes", beside-Machine(need, keep, 0))
	}
	for total, want := range map[int64]bool{beside: false, beside - 1: true, 0: true} {
		if got := Alone(total, need, keep, initrd); got != want {
			t.Errorf("%d bytes of memory: alone %v, want %v", total, got, want)
		}
	}
	if !Alone(beside, need, keep, 0) {
		t.Error("a host without an initramfs")
	}
}

// Everything in the archive but the executable is below a directory of ours.
func TestPathsAreOurOwn(t *testing.T) {
	for _, name := range []string{Plan, Index, ConfigJSON, Networks, Modules} {
		if !strings.HasPrefix(name, Dir+"/") {
			t.Errorf("%s is not below %s", name, Dir)
		}
	}
}

// A plan is taken whole or not at all: stage 2 must not begin with half of one.
func TestLoad(t *testing.T) {
	plan := &schema.FlashPlan{
		Schema: schema.FlashPlanName, WorkDir: "/var/lib/balena-migrate", Modules: []string{}, Networks: []schema.ArchiveFile{},
		Disk: schema.Disk{Name: "vda", Size: 64 << 20, SectorSize: 512, Table: "mbr", TableID: "1a2b3c4d"}, KernelRelease: "6.1",
		Root: schema.FileSystem{Device: "vda1", Type: "ext4", Mount: "/"}, WorkFS: schema.FileSystem{Device: "vda1", Type: "ext4", Mount: "/"},
		Image:      schema.FileRef{FSType: "ext4", Path: "/image.gz", Size: 1, SHA256: strings.Repeat("0", 64)},
		Index:      schema.ArchiveFile{Name: "index", Path: Index, Size: 1, SHA256: strings.Repeat("1", 64)},
		ConfigJSON: schema.ArchiveFile{Name: "config.json", Path: ConfigJSON, Size: 1, SHA256: strings.Repeat("2", 64)},
		Stage2:     schema.DefaultConfig().Stage2,
	}
	data, err := schema.Encode(plan)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Load(hosttest.New(t, map[string]string{Plan: string(data)}))
	if err != nil || !reflect.DeepEqual(got.Image, plan.Image) || got.Disk != plan.Disk {
		t.Errorf("%+v, %v; want what was written", got, err)
	}
	if _, err := Load(hosttest.New(t, nil)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no plan: %v, want %v", err, fs.ErrNotExist)
	}
	for what, bad := range map[string]string{
		"cut":             string(data[:len(data)/2]),
		"another version": strings.Replace(string(data), schema.FlashPlanName, "flash-plan/2", 1),
		"no disk":         strings.Replace(string(data), `"disk"`, `"dusk"`, 1),
		"twice":           string(data) + string(data),
	} {
		var invalid *schema.Invalid
		if p, err := Load(hosttest.New(t, map[string]string{Plan: bad})); !errors.As(err, &invalid) || p != nil {
			t.Errorf("%s: %+v, %v; want no plan", what, p, err)
		}
	}
}

// What travels in the initramfs is not held once more, but there twice while it is unpacked.
func TestCarriedMemory(t *testing.T) {
	p := &schema.FlashPlan{Image: schema.FileRef{FSType: Carried, Size: 300 << 20}, Backup: &schema.FileRef{FSType: "xfs", Size: 20 << 20}}
	if got := CarriedSize(p); got != 300<<20 {
		t.Errorf("%d bytes travel", got)
	}
	if got, want := Need(p, 1), int64(20<<20+Program+BufferSize); got != want {
		t.Errorf("need %d, want %d", got, want)
	}
	const keep = 64 << 20
	for archive, want := range map[int64]int64{20 << 20: kernelShare + 100<<20 + keep, 400 << 20: kernelShare + 800<<20} {
		if got := Kexec(100<<20, keep, archive); got != want {
			t.Errorf("archive of %d: %d, want %d", archive, got, want)
		}
	}
}
