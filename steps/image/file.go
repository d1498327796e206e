package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/fat"
	"github.com/balena-community/balena-migrate/stage2/fsprobe"
	"github.com/balena-community/balena-migrate/stage2/parttable"
	"github.com/balena-community/balena-migrate/steps/host"
)

// File is an image file of any format this program reads, opened to look into it. It takes no root rights.
type File struct {
	job  job
	f    host.File
	size int64
	src  source
}

// Open opens an image file. One that is not accepted is an error that [Blocker] knows.
func Open(r host.Reader, name string) (*File, error) {
	j := job{source: name, given: "the file name"}
	f, size, err := j.open(r)
	if err != nil {
		return nil, err
	}
	src, err := j.detect(r, f, size)
	if err != nil {
		_ = f.Close() // only read
		return nil, err
	}
	return &File{job: j, f: f, size: size, src: src}, nil
}

// Close closes the file.
func (f *File) Close() error { return f.f.Close() }

// Blocker returns what is wrong with an image that is not accepted, and what helps; false for any other error.
func Blocker(err error) (schema.Blocked, bool) {
	var r *refusal
	if errors.As(err, &r) {
		return schema.Blocked(*r), true
	}
	return schema.Blocked{}, false
}

// Inspect fills in what the file says of itself. A packed image is unpacked up to the last partition, so that each is
// named; nothing is verified, see [File.Verify].
func (f *File) Inspect(ctx context.Context, report *schema.ImageReport) error {
	f.head(report)
	return f.describe(&watched{r: f.view(ctx)}, report)
}

// head is what is known without unpacking.
func (f *File) head(report *schema.ImageReport) {
	report.Format, report.FileSize = f.src.format(), f.size
	if n := f.src.rawSize(); n >= 0 {
		report.RawSize = n
	}
	if p, ok := f.src.(prepared); ok {
		data := p.reader.Index().DataSize()
		report.DataSize = &data
	}
}

// describe reads the tables and every partition. The primary partitions come first: in a packed image the boot records
// of the logical ones lie behind them.
func (f *File) describe(r *watched, report *schema.ImageReport) error {
	size := f.src.rawSize()
	if size < 0 {
		size = math.MaxInt64
	}
	first, err := parttable.Read(primaryOnly{r}, size)
	if err != nil {
		return f.noTable(r, err)
	}
	known := map[int64]schema.ImagePartition{}
	if err := f.partitions(r, first.Partitions, known, report); err != nil {
		return err
	}
	table, err := parttable.Read(r, size)
	if err != nil {
		return f.noTable(r, err)
	}
	if err := f.partitions(r, table.Partitions, known, report); err != nil {
		return err
	}
	report.Table, report.TableID, report.SectorSize = table.Kind, table.ID, table.SectorSize
	for _, p := range table.Partitions {
		note := known[p.Start]
		note.Number, note.Type, note.Name, note.Start, note.Size = p.Number, p.Type, p.Name, p.Start, p.Size
		note.Bootable, note.Extended = p.Bootable, p.Extended
		report.Partitions = append(report.Partitions, note)
	}
	return nil
}

// noTable is the word for what is no disk image, or the error of the file.
func (f *File) noTable(r *watched, err error) error {
	if r.err != nil {
		return r.err
	}
	return survey{job: f.job, r: r, size: f.src.rawSize()}.noTable(err)
}

// partitions looks at those that are not known yet, in the order in which they lie.
func (f *File) partitions(r *watched, parts []parttable.Partition, known map[int64]schema.ImagePartition, report *schema.ImageReport) error {
	for _, p := range byStart(parts) {
		if _, done := known[p.Start]; done || p.Extended {
			continue
		}
		note, err := f.partition(r, p, report)
		if err != nil {
			return err
		}
		known[p.Start] = note
	}
	return nil
}

// partition looks at one file system. What can't be made out stays empty, unless the file could not be read.
func (f *File) partition(r *watched, p parttable.Partition, report *schema.ImageReport) (schema.ImagePartition, error) {
	section := io.NewSectionReader(r, p.Start, p.Size)
	info, err := fsprobe.Probe(struct{ io.ReaderAt }{section}) // without its size, for the end is far away
	if r.err != nil {
		return schema.ImagePartition{}, r.err
	}
	if err != nil {
		return schema.ImagePartition{}, nil //nolint:nilerr // beyond the end of a truncated image; verify says so
	}
	if info.Type == fsprobe.VFAT {
		f.boot(section, p, report)
	}
	return schema.ImagePartition{FSType: info.Type, Label: info.Label, UUID: info.UUID}, r.err
}

// boot reads what a boot partition says of the image.
func (f *File) boot(section *io.SectionReader, p parttable.Partition, report *schema.ImageReport) {
	files, err := fat.Open(section, p.Size)
	if err != nil {
		return
	}
	label, err := files.Label()
	if err != nil {
		return
	}
	flasher := isFlasher(p, label, files)
	if !flasher && !slices.Contains(bootNames(), label) && !slices.Contains(bootNames(), p.Name) {
		return
	}
	report.Flasher = report.Flasher || flasher
	var found findings
	if err := (survey{job: f.job}).deviceType(p, files, &found); err == nil {
		report.DeviceType, report.Arch = found.deviceType, found.arch
	}
}

// String names file and format.
func (f *File) String() string { return fmt.Sprintf("%s (%s)", f.job.source, f.src.format()) }
