package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/fat"
	"github.com/balena-community/balena-migrate/stage2/parttable"
	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/host"
)

// Extraction is what to take out of an image file, and where to.
type Extraction struct {
	// What is "" for the whole raw image, "inner" for the image in a flasher image (E24), a partition by number, label or name, or a file on a FAT partition in the
	// form of "resin-boot:grub.cfg" (S68–S75).
	What string
	// To is the file to be written, by its absolute path. Force replaces one that is there already.
	To    string
	Force bool
}

// Extract writes what x names, at once or not at all. Zeros become holes. The file is read to its end, so that the
// checksums of its format have vouched for what was taken, but for a single file of a partition.
func (f *File) Extract(ctx context.Context, h host.Host, x Extraction, progress steps.Progress, report *schema.ImageReport) error {
	f.head(report)
	if err := f.acceptOutput(h, x); err != nil {
		return err
	}
	content, err := f.content(ctx, x.What)
	if err != nil {
		return err
	}
	out, err := h.Create(x.To, 0o644)
	if err != nil {
		return err
	}
	defer out.Discard()
	w := &sparseFile{f: out}
	sum := sha256.New()
	watch := progressWriter(func() { progress("extract", w.size, 0) })
	if _, err := io.CopyBuffer(io.MultiWriter(w, sum, watch), content, make([]byte, 1<<20)); err != nil {
		return err
	}
	if err := out.Truncate(w.size); err != nil {
		return err
	}
	if err := out.Commit(); err != nil {
		return fmt.Errorf("commit %s: %w", x.To, err)
	}
	report.Changed, report.Output, report.OutputSize, report.OutputSHA256 = true, x.To, w.size, hex.EncodeToString(sum.Sum(nil))
	return nil
}

// acceptOutput refuses to write over what is there, and never writes to anything but a regular file: renaming over a
// device would replace its node.
func (f *File) acceptOutput(h host.Reader, x Extraction) error {
	info, err := h.Stat(x.To)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return refuse(fmt.Sprintf("%s: %s", x.To, info.Mode().Type()), "the name of a file", "name a file; to write to a disk there is image write")
	case !x.Force:
		return refuse(x.To+": it exists", "a new file", "choose another name, or add --force")
	}
	in, errIn := h.RealPath(f.job.source)
	out, errOut := h.RealPath(x.To)
	if errIn == nil && errOut == nil && in == out {
		return refuse(x.To+": the image file itself", "another file", "choose another name")
	}
	return nil
}

// content is the reader of what is asked for.
func (f *File) content(ctx context.Context, what string) (io.Reader, error) {
	if what == "" {
		return f.unpack(ctx, io.Discard)
	}
	if what == innerImage {
		return f.inside(ctx)
	}
	name, file, isFile := strings.Cut(what, ":")
	p, err := f.find(ctx, name)
	if err != nil {
		return nil, err
	}
	if isFile {
		return f.bootFile(ctx, p, file)
	}
	r, err := f.unpack(ctx, io.Discard)
	if err != nil {
		return nil, err
	}
	return &cutout{r: r, skip: p.Start, left: p.Size, what: fmt.Sprintf("%s: partition %d", f.job.source, p.Number)}, nil
}

// find returns the partition of this number, label or name.
func (f *File) find(ctx context.Context, name string) (schema.ImagePartition, error) {
	var report schema.ImageReport
	var err error
	if n, notNumber := strconv.Atoi(name); notNumber == nil {
		err = f.numbered(ctx, &report)
		for _, p := range report.Partitions {
			if p.Number == n {
				return p, nil
			}
		}
	} else {
		err = f.Inspect(ctx, &report)
		for _, p := range report.Partitions {
			if p.Label == name || p.Name == name {
				return p, nil
			}
		}
	}
	if err != nil {
		return schema.ImagePartition{}, err
	}
	var known []string
	for _, p := range report.Partitions {
		known = append(known, strings.TrimSpace(fmt.Sprintf("%d %s %s", p.Number, p.Label, p.Name)))
	}
	return schema.ImagePartition{}, refuse(fmt.Sprintf("%s: no partition %q", f.job.source, name), "one of: "+strings.Join(known, ", "), "name it by number, label or name")
}

// numbered fills in the partitions without looking into them.
func (f *File) numbered(ctx context.Context, report *schema.ImageReport) error {
	size := f.src.rawSize()
	if size < 0 {
		size = 1<<63 - 1
	}
	r := &watched{r: f.view(ctx)}
	table, err := parttable.Read(r, size)
	if err != nil {
		return f.noTable(r, err)
	}
	for _, p := range table.Partitions {
		report.Partitions = append(report.Partitions, schema.ImagePartition{Number: p.Number, Type: p.Type, Name: p.Name, Start: p.Start, Size: p.Size})
	}
	return nil
}

// bootFile opens a file on a FAT partition.
func (f *File) bootFile(ctx context.Context, p schema.ImagePartition, name string) (io.Reader, error) {
	files, err := fat.Open(io.NewSectionReader(f.view(ctx), p.Start, p.Size), p.Size)
	if errors.Is(err, fat.ErrFormat) {
		return nil, refuse(fmt.Sprintf("%s: partition %d: %v", f.job.source, p.Number, err), "a FAT partition to take a file from", "extract the partition, and the file from there")
	}
	if err != nil {
		return nil, err
	}
	file, err := files.Open(strings.TrimPrefix(path.Clean("/"+name), "/"))
	if err == nil {
		var info fs.FileInfo
		if info, err = file.Stat(); err == nil && info.IsDir() {
			err = fs.ErrInvalid
		}
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) {
		return nil, refuse(fmt.Sprintf("%s: no file %s on partition %d", f.job.source, name, p.Number), "a file that is there", "mend its name")
	}
	return file, err
}

// cutout is a piece of a stream, which is read to its end for the checksums behind the piece.
type cutout struct {
	r          io.Reader
	skip, left int64
	what       string
}

// Read implements io.Reader.
func (c *cutout) Read(p []byte) (int, error) {
	if c.skip > 0 {
		n, err := io.CopyN(io.Discard, c.r, c.skip)
		if c.skip -= n; err != nil {
			return 0, c.short(err)
		}
	}
	if c.left == 0 {
		if _, err := io.Copy(io.Discard, c.r); err != nil {
			return 0, err
		}
		return 0, io.EOF
	}
	n, err := c.r.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	if err == io.EOF && c.left == 0 {
		err = nil
	}
	return n, c.short(err)
}

func (c *cutout) short(err error) error {
	if err == io.EOF {
		return refuse(c.what+": the image ends before it does", "a whole image", "it is truncated: download it again")
	}
	return err
}

// sparseFile leaves holes where there are zeros.
type sparseFile struct {
	f    io.WriterAt
	size int64
}

// holeSize is the piece that becomes a hole, in bytes: a few blocks of any file system.
const holeSize = 64 << 10

// Write implements io.Writer.
func (s *sparseFile) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		piece := p[:min(len(p), holeSize)]
		if !zero(piece) {
			if _, err := s.f.WriteAt(piece, s.size); err != nil {
				return 0, err
			}
		}
		s.size += int64(len(piece))
		p = p[len(piece):]
	}
	return n, nil
}
