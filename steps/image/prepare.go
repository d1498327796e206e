package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"runtime"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/flashimage"
	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/host"
)

// maxWorkers bounds the memory, about 4 MiB each, on machines with many processors.
const maxWorkers = 4

// prepare makes the flashable image, its index and, last, the stamp.
type prepare struct {
	job
	// inPlace says that image and index lie there already and are only verified.
	inPlace bool
	// unseen says that the file was not here when this was planned, so nobody has looked at it.
	unseen bool
	// flasher says that the image is in a flasher image.
	flasher bool
}

// Note implements steps.Change.
func (p prepare) Note() schema.ChangeNote {
	if p.inPlace {
		return schema.ChangeNote{Action: "verify image", Target: p.image}
	}
	return schema.ChangeNote{Action: "prepare image", Target: p.image}
}

// Apply implements steps.Change.
func (p prepare) Apply(ctx context.Context, t steps.Target) error {
	err := p.apply(ctx, t)
	var r *refusal
	if errors.As(err, &r) {
		return steps.WithHint(err, r.Remedy)
	}
	return err
}

func (p prepare) apply(ctx context.Context, t steps.Target) error {
	m := &making{prepare: p, h: t.Files, progress: t.Progress}
	if err := m.h.MkdirAll(p.dir, 0o700); err != nil {
		return err
	}
	var err error
	if m.file, err = steps.Look(m.h, p.source); err != nil {
		return err
	}
	f, size, err := p.open(m.h)
	if err != nil {
		return err
	}
	defer f.Close()
	if m.src, err = p.detect(m.h, f, size); err != nil {
		return err
	}
	if p.unseen {
		found, err := p.glance(ctx, m.src)
		if err != nil {
			return err
		}
		m.flasher = found.flasher
	}
	if m.flasher {
		err = m.unwrap(ctx)
	} else if s, ok := m.src.(prepared); ok {
		m.adopted = true
		err = m.adopt(s.reader.Index())
	}
	if err != nil {
		return err
	}
	facts, err := m.make(ctx)
	if err != nil {
		return err
	}
	return m.record(ctx, facts)
}

// making is the work on one image.
type making struct {
	prepare
	h        host.Host
	progress steps.Progress
	src      source
	file     schema.FileStamp // of the operator's file
	outside  outside          // of the flasher image, if it is one
	adopted  bool             // src is prepared, and this is what is wanted
}

// make writes image and index, and gives them their names once all is known to be good.
func (m *making) make(ctx context.Context) (*schema.ImageFacts, error) {
	if m.inPlace {
		return m.verify(ctx, m.image)
	}
	if index, ok := m.ready(); ok {
		return m.take(ctx, index)
	}
	out, err := m.h.Create(m.image, fileMode)
	if err != nil {
		return nil, err
	}
	defer out.Discard()
	dir, err := m.outDir(m.h)
	if err != nil {
		return nil, err
	}
	w, err := newBudget(out, m.h, dir, m.keepFree)
	if err != nil {
		return nil, err
	}
	index, err := m.pack(ctx, w)
	if err != nil {
		return nil, err
	}
	facts, err := m.facts(out, index)
	if err != nil {
		return nil, err
	}
	index.Flasher, index.Extras = m.flasher, m.indexExtras()
	text, err := schema.Encode(index)
	if err != nil {
		return nil, err
	}
	if err := out.Commit(); err != nil {
		return nil, fmt.Errorf("commit %s: %w", m.image, err)
	}
	return facts, m.h.WriteFile(m.index, text, fileMode)
}

// ready says whether the file was downloaded in the form that it is wanted in.
func (m *making) ready() (*schema.ImageIndex, bool) {
	if !m.adopted || m.origin == "" {
		return nil, false
	}
	return m.src.(prepared).reader.Index(), true
}

// take gives a prepared image that was downloaded its name: no copy is made of it.
func (m *making) take(ctx context.Context, index *schema.ImageIndex) (*schema.ImageFacts, error) {
	facts, err := m.verify(ctx, m.source)
	if err != nil {
		return nil, err
	}
	text, err := schema.Encode(index)
	if err != nil {
		return nil, err
	}
	if err := m.h.Rename(m.source, m.image); err != nil {
		return nil, err
	}
	return facts, m.h.WriteFile(m.index, text, fileMode)
}

// verify reads an image that is made already.
func (m *making) verify(ctx context.Context, name string) (*schema.ImageFacts, error) {
	index, err := m.pack(ctx, io.Discard)
	if err != nil {
		return nil, err
	}
	f, err := m.h.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return m.facts(f, index)
}

// pack runs the source. Afterwards the operator's file is known to be the one that was asked for, and to have stood
// still.
func (m *making) pack(ctx context.Context, w io.Writer) (*schema.ImageIndex, error) {
	sum, read := sha256.New(), &tally{}
	index, err := m.src.pack(ctx, packing{
		w: w, tee: io.MultiWriter(sum, read), limit: m.limit(), over: m.tooLarge(m.limit() + 1),
		options: flashimage.Options{
			Workers:  min(runtime.NumCPU(), maxWorkers),
			Progress: func(raw int64) { m.report(raw, read.n.Load()) },
		},
	})
	if err != nil {
		return nil, err
	}
	now, err := steps.Look(m.h, m.source)
	if err != nil {
		return nil, err
	}
	if now != m.file || read.n.Load() != m.file.Size {
		return nil, fmt.Errorf("%s changed while it was read", m.source)
	}
	m.file.SHA256 = hex.EncodeToString(sum.Sum(nil))
	return index, m.digest(m.file.SHA256)
}

// report goes by the raw image if its size is known, else by the bytes read of the file.
func (m *making) report(raw, read int64) {
	if total := m.src.rawSize(); total > 0 {
		m.progress(m.Note().Action, raw, total)
		return
	}
	m.progress(m.Note().Action, read, m.file.Size)
}

// facts looks at the image that was just made, all of it this time.
func (m *making) facts(r io.ReaderAt, index *schema.ImageIndex) (*schema.ImageFacts, error) {
	if err := m.rawSize(index.RawSize); err != nil {
		return nil, err
	}
	reader, err := flashimage.NewReader(r, index)
	if err != nil {
		return nil, err
	}
	look := survey{job: m.job, r: &watched{r: reader.View()}, size: index.RawSize, reach: index.RawSize, outer: m.outside.findings}
	found, err := look.look()
	if err != nil {
		return nil, err
	}
	if err := m.unwrapped(found); err != nil {
		return nil, err
	}
	f := &schema.ImageFacts{
		Path: m.image, Index: m.index, GzipSize: index.GzipSize, GzipSHA256: index.GzipSHA256,
		RawSize: index.RawSize, RawSHA256: index.RawSHA256, DataSize: index.DataSize(), SourceSHA256: m.file.SHA256,
		Table: found.table, DeviceType: found.deviceType, Arch: found.arch,
		Flasher: m.flasher, Extras: m.extraFacts(),
	}
	return f, look.truth(found, f)
}

// record leaves the stamp.
func (m *making) record(ctx context.Context, facts *schema.ImageFacts) error {
	image, err := steps.Look(m.h, m.image)
	if err != nil {
		return err
	}
	index, err := steps.Digest(ctx, m.h, m.index)
	if err != nil {
		return err
	}
	source := m.file
	source.SHA256, image.SHA256 = facts.SourceSHA256, facts.GzipSHA256
	extras, err := extraStamps(m.h, facts.Extras)
	if err != nil {
		return err
	}
	files := []schema.FileStamp{source, image, index}
	files = append(files[len(files)-len(m.stamped()):], extras...)
	return steps.SaveStamp(m.h, m.stamp, &schema.Stamp{
		Recipe: m.recipe(), Files: files, Facts: schema.Facts{Image: facts},
	})
}
