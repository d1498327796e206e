package backup

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/inplace"
	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/host/hosttest"
	"github.com/balena-community/balena-migrate/steps/steptest"
)

// The archive goes beyond what the flash of the image will write, as announced; another image may mean another place.
func TestPlaced(t *testing.T) {
	h := hosttest.Debian(t)
	h.Ext4(workDir, 64)
	h.Put(defFile, "- volume: data\n  items:\n  - source: /srv/app\n")
	noise := make([]byte, 4<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise) // never fails
	h.Put("/srv/app/db", canary+string(noise))
	in := define()
	in.Config.Disk.MinFreeMB = 1
	in.Facts.Host = &schema.HostFacts{
		Disk: &schema.Disk{Name: "vda", Size: 64 << 20, Table: "mbr"}, Checks: []schema.Check{}, DeviceTypes: []string{},
	}
	sum := "0000000000000000000000000000000000000000000000000000000000000000"
	in.Facts.Image = &schema.ImageFacts{RawSize: 30 << 20, GzipSHA256: sum, RawSHA256: sum, SourceSHA256: sum, Table: "mbr"}
	res := steptest.Laws(t, Step{}, steptest.RunOn(h), in, canary)
	f := res.Facts.Backup
	if p := f.Placement; p == nil || p.Written != inplace.Written(30<<20) || p.Held >= 256<<10 || p.Held+p.InPlace != f.Size {
		t.Errorf("placement %+v of %d bytes, want all beyond 30 MiB", p, f.Size)
	}
	in.Facts.Image.RawSize = 64 << 20
	again, err := steptest.RunOn(h).Converge(t.Context(), Step{}, in)
	if err != nil || again.Facts.Backup.Placement.Held != f.Size || again.Facts.Backup.Placement.Note == "" {
		t.Fatalf("a larger image: %+v, %v", again, err)
	}
	if third, err := steptest.RunOn(h).Converge(t.Context(), Step{}, in); err != nil || third.Changed {
		t.Errorf("tried again in vain: %+v, %v", third, err)
	}
	if sha, err := steps.Digest(t.Context(), h, f.Path); err != nil || sha.SHA256 != f.SHA256 {
		t.Error(errors.Join(errors.New("the archive is not what it was"), err))
	}
}
