package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/flashimage"
	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/device/packed"
	"github.com/balena-community/balena-migrate/steps/host"
)

// source is an image file in one of the formats that are read.
type source interface {
	// format names the format as schema.ImageReport does.
	format() string
	// rawSize is the size of the raw image in bytes, -1 if only its end tells.
	rawSize() int64
	// packedSize is about how many bytes the image has compressed, 0 if nobody knows.
	packedSize() int64
	// view is the raw image for reading a little near its beginning.
	view(ctx context.Context) io.ReaderAt
	// pack writes the flashable image to p.w and returns its index. Every byte of the file has then been
	// written to p.tee, in order.
	pack(ctx context.Context, p packing) (*schema.ImageIndex, error)
}

// packing is what pack works with. A raw image of more than limit bytes ends with the error over.
type packing struct {
	w, tee  io.Writer
	limit   int64
	over    error
	options flashimage.Options
}

// stream is a format that is unpacked from its beginning to its end.
type stream interface {
	format() string
	rawSize() int64
	packedSize() int64
	// unpack starts at the beginning. Once the reader has returned io.EOF, every byte of the file has been written
	// to tee, in order.
	unpack(ctx context.Context, tee io.Writer) (io.Reader, error)
}

// streamed makes a stream a source.
type streamed struct{ stream }

func (s streamed) view(ctx context.Context) io.ReaderAt {
	return newWindow(func() (io.Reader, error) { return s.unpack(ctx, io.Discard) })
}

func (s streamed) pack(ctx context.Context, p packing) (*schema.ImageIndex, error) {
	r, err := s.unpack(ctx, p.tee)
	if err != nil {
		return nil, err
	}
	return flashimage.Encode(ctx, p.w, &limited{r: r, left: p.limit, over: p.over}, p.options)
}

// open opens the operator's file.
func (j job) open(r host.Reader) (host.File, int64, error) {
	info, err := r.Stat(j.source)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, 0, refuse(j.source+": no such file", "a balenaOS image", "mend "+j.given)
	case err != nil:
		return nil, 0, err
	case !info.Mode().IsRegular():
		return nil, 0, refuse(fmt.Sprintf("%s: %s", j.source, info.Mode().Type()), "a regular file", "mend "+j.given)
	case info.Size() == 0:
		return nil, 0, refuse(j.source+": an empty file", "a balenaOS image", "download it again")
	}
	f, err := r.Open(j.source)
	if err != nil {
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// detect finds the format by the first bytes.
func (j job) detect(r host.Reader, f host.File, size int64) (source, error) {
	magic := make([]byte, 8)
	n, err := f.ReadAt(magic, 0)
	if err != nil && err != io.EOF {
		return nil, fmt.Errorf("read %s: %w", j.source, err)
	}
	begins := string(magic[:n])
	in := input{name: j.source, f: f, size: size}
	switch {
	case strings.HasPrefix(begins, "\x1f\x8b"):
		return j.gzip(r, in)
	case strings.HasPrefix(begins, "PK\x03\x04"), strings.HasPrefix(begins, "PK\x05\x06"):
		return openZip(in)
	}
	if f, ok := packed.Detect(magic[:n]); ok {
		return openStream(in, f)
	}
	return rawFile{streamed{rawStream{in}}}, nil
}

// gzip tells an image that is prepared already from any other gzip file.
func (j job) gzip(r host.Reader, in input) (source, error) {
	if index := j.readIndex(r, in); index != nil {
		return newPrepared(in, index)
	}
	if j.want.Index != "" {
		return nil, refuse(fmt.Sprintf("%s and its index %s do not belong together", in.name, j.want.Index), "an image.gz and the index that was made with it",
			"mend config.image.url and config.image.index, or leave the index out")
	}
	if j.inPlace(r) {
		return nil, refuse(j.source+": the image lies where the result goes, and no index beside it", "it elsewhere", "move it, or bring its "+indexName+" as well")
	}
	return streamed{gzipStream{in}}, nil
}

// input is the operator's file.
type input struct {
	name string
	f    host.File
	size int64
}

// section reads n bytes from off, until ctx ends, and writes them to tee as well.
func (in input) section(ctx context.Context, off, n int64, tee io.Writer) io.Reader {
	return io.TeeReader(steps.Interruptible(ctx, io.NewSectionReader(in.f, off, n)), tee)
}

// rawFile is a raw image, which can be read anywhere.
type rawFile struct{ streamed }

func (f rawFile) view(context.Context) io.ReaderAt {
	return f.stream.(rawStream).f
}

type rawStream struct{ input }

func (s rawStream) format() string    { return "raw" }
func (s rawStream) rawSize() int64    { return s.size }
func (s rawStream) packedSize() int64 { return 0 }

func (s rawStream) unpack(ctx context.Context, tee io.Writer) (io.Reader, error) {
	return &exactly{r: s.section(ctx, 0, s.size, tee), name: s.name, want: s.size}, nil
}
