package image_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/inplace"
	"github.com/balena-community/balena-migrate/steps/host/hosttest"
	"github.com/balena-community/balena-migrate/steps/image"
	"github.com/balena-community/balena-migrate/steps/steptest"
)

// onExt4 is a machine whose work dir is on a real ext4, and what prepare-image is given there.
func onExt4(t *testing.T, mib int) (*hosttest.Host, *schema.Migration) {
	t.Helper()
	h := hosttest.Debian(t)
	h.Ext4("/var/lib/balena-migrate", mib)
	h.Put("/in/balena.img", string(hosttest.Image(t)))
	in := schema.NewMigration()
	in.Config.Image.Path = "/in/balena.img"
	in.Facts.Host = &schema.HostFacts{
		Disk: &schema.Disk{Name: "vda", Size: int64(mib) << 20, Table: "mbr"}, Checks: []schema.Check{}, DeviceTypes: []string{},
	}
	return h, in
}

// The image goes beyond what the flash will write, as announced, and stays there.
func TestPlaced(t *testing.T) {
	h, in := onExt4(t, 96)
	res := steptest.Laws(t, image.Step{}, steptest.RunOn(h), in)
	f := res.Facts.Image
	p := f.Placement // but for what is not worth a copy
	if p == nil || p.Written != inplace.Written(hosttest.ImageSize) || p.Held >= 256<<10 || p.Held+p.InPlace != f.GzipSize {
		t.Errorf("placement %+v of %d bytes, want all beyond %d", p, f.GzipSize, hosttest.ImageSize)
	}
	// An image that is moved back by something else is placed again; one that is not, is not.
	name := filepath.Join(h.Root(), f.Path)
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	again := steptest.RunOn(h)
	if res, err := again.Converge(t.Context(), image.Step{}, in); err != nil || res.Changed {
		t.Errorf("%+v, %v", res, err)
	}
	if now, err := os.Stat(name); err != nil || !os.SameFile(now, info) {
		t.Errorf("another file: %v", err)
	}
}

// A disk on which nothing lies beyond does not make the step fail, nor try again and again.
func TestNoBetterPlace(t *testing.T) {
	h, in := onExt4(t, 24)
	in.Config.Disk.MinFreeMB = 1
	res := steptest.Laws(t, image.Step{}, steptest.RunOn(h), in)
	p := res.Facts.Image.Placement
	if p == nil || p.InPlace != 0 || p.Held != res.Facts.Image.GzipSize || p.Note == "" {
		t.Errorf("placement %+v", p)
	}
}

// The operator's own file stays where it is.
func TestOperatorsFileIsNotMoved(t *testing.T) {
	h, in := onExt4(t, 96)
	if _, err := steptest.RunOn(h).Converge(t.Context(), image.Step{}, in); err != nil {
		t.Fatal(err)
	}
	in.Config.Image.Path = "/var/lib/balena-migrate/image.gz"
	if err := h.Remove("/var/lib/balena-migrate/image.stamp.json"); err != nil {
		t.Fatal(err)
	}
	res, err := steptest.RunOn(h).Converge(t.Context(), image.Step{}, in)
	if err != nil || res.Facts.Image == nil || res.Facts.Image.Placement == nil {
		t.Fatalf("%+v, %v", res, err)
	}
	for _, c := range res.Changes {
		if c.Action == "place image" {
			t.Errorf("changes %+v", res.Changes)
		}
	}
}

// A file that the playbook put there for this migration is moved like one that was made there.
func TestManagedFileIsMoved(t *testing.T) {
	h, in := onExt4(t, 96)
	in.Config.Image.Path, in.Config.Image.Managed = "/var/lib/balena-migrate/image.gz", true
	elsewhere := hosttest.New(t, map[string]string{"/in/balena.img": string(hosttest.Image(t))})
	made := schema.NewMigration()
	made.Config.Image.Path = "/in/balena.img"
	if _, err := steptest.RunOn(elsewhere).Converge(t.Context(), image.Step{}, made); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"image.gz", "image.index.json"} {
		data, err := elsewhere.ReadFile("/var/lib/balena-migrate/" + name)
		if err != nil {
			t.Fatal(err)
		}
		h.Put("/var/lib/balena-migrate/"+name, string(data))
	}
	res := steptest.Laws(t, image.Step{}, steptest.RunOn(h), in)
	if p := res.Facts.Image.Placement; p == nil || p.Held >= 256<<10 {
		t.Errorf("placement %+v, want all beyond what is flashed", p)
	}
}
