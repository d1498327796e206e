package image

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/device/packed"
)

// codecStream is a file in xz, zstd or bzip2; raw is -1 if only its end tells.
type codecStream struct {
	input
	codec packed.Format
	raw   int64
}

func openStream(in input, f packed.Format) (source, error) {
	s := codecStream{input: in, codec: f}
	var err error
	if s.raw, err = f.RawSize(in.f, in.size); err != nil {
		return nil, s.trouble(err, in.size)
	}
	return streamed{s}, nil
}

// trouble tells a file that is damaged from one that only asks for too much.
func (s codecStream) trouble(err error, at int64) error {
	if errors.Is(err, packed.ErrUnsupported) {
		return refuse(fmt.Sprintf("%s: %v", s.name, err), fmt.Sprintf("%s as it is by default: dictionaries up to %d MiB", s.codec.Name, packed.MaxDict>>20),
			fmt.Sprintf("pack it again, e.g. %s -dc %s | gzip >image.gz, and give that", s.codec.Name, s.name))
	}
	return steps.WithHint(fmt.Errorf("%s: %s data near offset %d of %d: %w", s.name, s.codec.Name, at, s.size, err), damaged)
}

func (s codecStream) format() string    { return s.codec.Name }
func (s codecStream) rawSize() int64    { return s.raw }
func (s codecStream) packedSize() int64 { return s.size }

func (s codecStream) unpack(ctx context.Context, tee io.Writer) (io.Reader, error) {
	seen := &counter{r: s.section(ctx, 0, s.size, tee)}
	return &decoded{of: s, seen: seen, buf: bufio.NewReaderSize(seen, 256<<10)}, nil
}

// decoded unpacks a stream and says where it is not what it should be.
type decoded struct {
	of   codecStream
	seen *counter
	buf  *bufio.Reader
	r    io.Reader
	n    int64
}

// Read implements io.Reader.
func (d *decoded) Read(p []byte) (int, error) {
	if d.r == nil {
		r, err := d.of.codec.Reader(d.buf)
		if err != nil {
			return 0, d.explain(noEOF(err))
		}
		d.r = r
	}
	n, err := d.r.Read(p)
	d.n += int64(n)
	if err == nil {
		return n, nil
	}
	if err == io.EOF {
		return n, d.finish()
	}
	return n, d.explain(err)
}

var (
	errBehind   = errors.New("something else follows")
	errCodecEnd = errors.New("the size is not the one in the index")
)

// finish is io.EOF if the whole file was unpacked, and into what it says itself.
func (d *decoded) finish() error {
	if _, err := d.buf.Peek(1); err == nil {
		return d.explain(errBehind)
	}
	if d.seen.n != d.of.size {
		return d.explain(io.ErrUnexpectedEOF)
	}
	if d.of.raw >= 0 && d.n != d.of.raw {
		return d.explain(errCodecEnd)
	}
	return io.EOF
}

func (d *decoded) explain(err error) error {
	if d.seen.err != nil && d.seen.err != io.EOF {
		return d.seen.err // the file could not be read
	}
	return d.of.trouble(err, d.seen.n-int64(d.buf.Buffered()))
}
