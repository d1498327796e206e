package backup

import (
	"context"
	"fmt"
	"path"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/inplace"
	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/device/boot"
	"github.com/balena-community/balena-migrate/steps/device/place"
)

// placed says in the facts where the archive lies on the disk, and plans to bring it beyond what the flash of the image
// writes, where stage 2 can leave it (design, section 8). Without an image there is nothing yet that would matter.
func placed(v steps.View, plan *steps.Plan) error {
	file := path.Join(v.WorkDir, archiveName)
	if left := place.Leftover(v.Files, file); left != "" {
		plan.Changes = append([]steps.Change{steps.Remove{Place: steps.InFiles, Path: left, Secret: true}}, plan.Changes...)
	}
	made := plan.Facts.Backup
	if v.Facts.Image == nil || v.Facts.Host == nil || v.Facts.Host.Disk == nil || made != nil && made.Path == "" {
		return nil
	}
	site, err := boot.At(v.Device)
	if err != nil {
		return nil //nolint:nilerr // where nothing tells what is mounted, it is held in memory
	}
	m := move{
		file:  place.File{Site: site, Files: v.Files, Disk: *v.Facts.Host.Disk, Name: file, Written: inplace.Written(v.Facts.Image.RawSize)},
		stamp: path.Join(v.WorkDir, stampName), keepFree: v.Config.Disk.MinFreeMB << 20,
	}
	if made == nil { // it is made first
		if c := v.Config.Backup; (c.Script != "" || c.Definition != "") && m.file.Movable() {
			plan.Add(m)
		}
		return nil
	}
	facts := *made
	now, settled := m.file.Settled(facts.Size, facts.Placement)
	if !settled {
		plan.Add(m)
	}
	facts.Placement = now
	plan.Facts.Backup = &facts
	return nil
}

// move gives the archive another place.
type move struct {
	file     place.File
	stamp    string
	keepFree int64
}

// Note implements steps.Change.
func (m move) Note() schema.ChangeNote {
	return schema.ChangeNote{Action: "place backup", Target: m.file.Name}
}

// Apply implements steps.Change.
func (m move) Apply(ctx context.Context, t steps.Target) error {
	s := steps.LoadStamp(t.Files, m.stamp)
	if s == nil || s.Facts.Backup == nil {
		return fmt.Errorf("%s: found none, expected the one of %s", m.stamp, m.file.Name)
	}
	p, err := place.Move{
		File: m.file, SHA256: s.Facts.Backup.SHA256, Mode: archiveMode, KeepFree: m.keepFree,
		Progress: func(done, total int64) { t.Progress(archiveName, done, total) },
	}.Settle(ctx, t.Files)
	if err != nil {
		return err
	}
	s.Facts.Backup.Placement = p
	return steps.SaveMoved(t.Files, m.stamp, s, m.file.Name)
}
