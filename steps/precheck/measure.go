package precheck

import (
	"context"
	"fmt"
	"path"
	"time"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/host"
)

// speedStamp keeps a measured write speed in the work dir: remove it to have it measured again.
const speedStamp = "write-speed.stamp.json"

const (
	// speedSize is what is written to measure, in bytes: more than the cache of an SD card takes at once.
	speedSize = 32 << 20
	// speedTime bounds it; at 3 MB/s all of it is written.
	speedTime = 10 * time.Second
)

// planMeasurement has the write speed measured where there is a limit to compare it with and the kernel has seen too
// little to tell. Looking alone can't answer that, so it is a change like any other: announced by --check, not made by it.
func (l *look) planMeasurement(plan *steps.Plan) {
	s := l.speed
	if l.Config.Disk.MinWriteKBs == 0 || l.skips("write-speed") || l.disks.target == nil || s.err != nil || s.kbs > 0 || !l.canMeasure() {
		return
	}
	facts := l.facts()
	plan.Add(measure{dir: l.WorkDir, recipe: l.speedRecipe(), facts: *facts})
}

// canMeasure says whether the work dir has the room, and is on the disk.
func (l *look) canMeasure() bool {
	return l.space.err == nil && l.space.workFree > speedSize+l.Config.Disk.MinFreeMB<<20
}

// speedRecipe is what a measurement holds for: this disk, until the next boot.
func (l *look) speedRecipe() string {
	if l.disks.target == nil {
		return ""
	}
	d := l.disks.target
	return fmt.Sprintf("write-speed/1 %q %d %s %s", d.Serial, d.Size, d.TableID, host.Line(l.Device, "/proc/sys/kernel/random/boot_id"))
}

// measure writes a file to the work dir and removes it again.
type measure struct {
	dir    string
	recipe string
	facts  schema.HostFacts
}

// Note implements steps.Change.
func (m measure) Note() schema.ChangeNote {
	return schema.ChangeNote{Action: "measure write speed", Target: m.dir}
}

// Apply implements steps.Change.
func (m measure) Apply(ctx context.Context, t steps.Target) error {
	if err := t.Files.MkdirAll(m.dir, 0o700); err != nil {
		return err
	}
	written, took, err := t.Files.MeasureWrite(ctx, m.dir, speedSize, speedTime)
	if err != nil {
		return fmt.Errorf("measure the write speed: %w", err)
	}
	m.facts.WriteKBs = max(written/max(took.Milliseconds(), 1), 1)
	return steps.SaveStamp(t.Files, path.Join(m.dir, speedStamp), &schema.Stamp{
		Recipe: m.recipe, Files: []schema.FileStamp{}, Facts: schema.Facts{Host: &m.facts},
	})
}
