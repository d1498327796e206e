package image

import (
	"context"
	"fmt"
	"io/fs"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/inplace"
	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/device/boot"
	"github.com/balena-community/balena-migrate/steps/device/place"
	"github.com/balena-community/balena-migrate/steps/host"
)

// place says in the facts where the image lies on the disk, and plans to bring it beyond what the flash writes, where
// stage 2 can leave it (design, section 8).
func (j job) place(v steps.View, plan *steps.Plan) error {
	if left := place.Leftover(v.Files, j.image); left != "" {
		plan.Changes = append([]steps.Change{steps.Remove{Place: steps.InFiles, Path: left}}, plan.Changes...)
	}
	if j.disk == nil || v.Facts.Host == nil {
		return nil
	}
	site, err := boot.At(v.Device)
	if err != nil {
		return nil //nolint:nilerr // where nothing tells what is mounted, it is held in memory
	}
	m := move{job: j, file: place.File{Site: site, Files: v.Files, Disk: *j.disk, Name: j.image}}
	if plan.Facts.Image == nil { // it is made first
		if m.owned(v.Files) && m.file.Movable() {
			plan.Add(m)
		}
		return nil
	}
	image := *plan.Facts.Image
	m.file.Written = inplace.Written(image.RawSize)
	now, settled := m.file.Settled(image.GzipSize, image.Placement)
	if !settled && m.owned(v.Files) {
		plan.Add(m)
	}
	image.Placement = now
	plan.Facts.Image = &image
	return nil
}

// move gives image.gz another place.
type move struct {
	job
	file place.File
}

// owned says whether image.gz is this step's own file: the operator's, or one behind a link, stays where it was put.
func (m move) owned(r host.Reader) bool {
	if m.inPlace(r) && !m.want.Managed {
		return false
	}
	info, err := r.Lstat(m.image)
	return err != nil || info.Mode().Type()&fs.ModeSymlink == 0
}

// Note implements steps.Change.
func (m move) Note() schema.ChangeNote {
	return schema.ChangeNote{Action: "place image", Target: m.image}
}

// Apply implements steps.Change.
func (m move) Apply(ctx context.Context, t steps.Target) error {
	s := steps.LoadStamp(t.Files, m.stamp)
	if !m.fresh(t.Files, s) {
		return fmt.Errorf("%s: changed since it was prepared", m.image)
	}
	m.file.Written = inplace.Written(s.Facts.Image.RawSize)
	p, err := place.Move{
		File: m.file, SHA256: s.Facts.Image.GzipSHA256, Mode: fileMode, KeepFree: m.keepFree,
		Progress: func(done, total int64) { t.Progress(m.Note().Action, done, total) },
	}.Settle(ctx, t.Files)
	if err != nil {
		return err
	}
	s.Facts.Image.Placement = p
	return steps.SaveMoved(t.Files, m.stamp, s, m.image)
}
