package image

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"runtime"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/flashimage"
	"github.com/balena-community/balena-migrate/stage2/parttable"
	"github.com/balena-community/balena-migrate/steps"
)

// Verify reads all of the file: every checksum of its format, index and members of a flashable image, the digest if one
// is given (of the file, lower-case hex), and that the partitions lie within the image. Damage is named with its offset.
// The report is filled as by [File.Inspect], and with digests and the size of what is not zero.
func (f *File) Verify(ctx context.Context, want string, progress steps.Progress, report *schema.ImageReport) error {
	f.head(report)
	fileSum := sha256.New()
	seen := &tally{}
	r, err := f.unpack(ctx, io.MultiWriter(fileSum, seen))
	if err != nil {
		return err
	}
	raw := &rawTally{chunk: make([]byte, 0, flashimage.DefaultChunkSize)}
	rawSum := sha256.New()
	watch := progressWriter(func() { progress("verify image", seen.n.Load(), f.size) })
	if _, err := io.CopyBuffer(io.MultiWriter(rawSum, raw, watch), r, make([]byte, flashimage.DefaultChunkSize)); err != nil {
		return err
	}
	raw.flush()
	report.FileSHA256, report.RawSHA256 = hex.EncodeToString(fileSum.Sum(nil)), hex.EncodeToString(rawSum.Sum(nil))
	report.RawSize, report.DataSize = raw.size, &raw.data
	if err := f.whole(ctx, raw.size, report); err != nil {
		return err
	}
	j := f.job
	j.want.SHA256 = want
	if err := j.digest(report.FileSHA256); err != nil {
		var r *refusal
		if errors.As(err, &r) {
			r.Remedy = "download it again, or mend the digest"
		}
		return err
	}
	return nil
}

// whole looks at the table and whether the image, of so many bytes, has all that is in it.
func (f *File) whole(ctx context.Context, raw int64, report *schema.ImageReport) error {
	if err := f.job.rawSize(raw); err != nil {
		return err
	}
	if err := f.Inspect(ctx, report); err != nil {
		return err
	}
	report.RawSize = raw
	for _, p := range report.Partitions {
		if end := p.Start + p.Size; end > raw {
			return refuse(fmt.Sprintf("%s: partition %d ends at byte %d, the image at %d", f.job.source, p.Number, end, raw), "a whole image", "it is truncated: download it again")
		}
	}
	if report.Table != parttable.GPT {
		return nil
	}
	table, err := parttable.Read(f.view(ctx), raw) // with the size known, its backup at the end too
	if err != nil {
		return err
	}
	return f.job.whole(table, raw)
}

// view is the raw image, read anywhere.
func (f *File) view(ctx context.Context) io.ReaderAt {
	view := f.src.view(ctx)
	if w, packed := view.(*window); packed {
		w.reach = maxRaw
	}
	return view
}

// unpack reads the raw image from its beginning. At its end every byte of the file has gone to tee, and every checksum
// was right.
func (f *File) unpack(ctx context.Context, tee io.Writer) (io.Reader, error) {
	switch s := f.src.(type) {
	case rawFile:
		return s.unpack(ctx, tee)
	case streamed:
		r, err := s.unpack(ctx, tee)
		return &limited{r: r, left: maxRaw, over: f.job.tooLarge(maxRaw + 1)}, err
	case prepared:
		return s.unpack(ctx, tee), nil
	}
	return nil, fmt.Errorf("%s: a source that can't be unpacked: %T", f.job.source, f.src)
}

// unpack gives the verified chunks one after the other, and at the end the verified whole.
func (s prepared) unpack(ctx context.Context, tee io.Writer) io.Reader {
	r, w := io.Pipe()
	go func() {
		err := s.reader.UnpackAll(ctx, w, min(runtime.NumCPU(), maxWorkers))
		if err == nil {
			_, err = io.Copy(tee, io.NewSectionReader(s.f, 0, s.size))
		}
		if err != nil {
			err = steps.WithHint(fmt.Errorf("%s: %w", s.name, err), "copy the image and its index again, or remove the index to read it as any gzip file")
		}
		_ = w.CloseWithError(err) // never fails
	}()
	return r
}

// rawTally counts the bytes, and those in chunks that are not all zero.
type rawTally struct {
	size, data int64
	chunk      []byte
}

// Write implements io.Writer.
func (t *rawTally) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		m := min(len(p), cap(t.chunk)-len(t.chunk))
		t.chunk, p = append(t.chunk, p[:m]...), p[m:]
		if len(t.chunk) == cap(t.chunk) {
			t.flush()
		}
	}
	return n, nil
}

func (t *rawTally) flush() {
	t.size += int64(len(t.chunk))
	if !zero(t.chunk) {
		t.data += int64(len(t.chunk))
	}
	t.chunk = t.chunk[:0]
}

// zero compares p with itself shifted by one byte, which runs at the speed of memcmp.
func zero(p []byte) bool {
	return len(p) == 0 || p[0] == 0 && bytes.Equal(p[1:], p[:len(p)-1])
}

type progressWriter func()

// Write implements io.Writer.
func (w progressWriter) Write(p []byte) (int, error) {
	w()
	return len(p), nil
}
