package image

import (
	"bufio"
	"context"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"

	"github.com/balena-community/balena-migrate/steps"
)

const damaged = "the file is truncated or damaged: download it again"

// gzipStream is a gzip file of one member or several.
type gzipStream struct{ input }

func (s gzipStream) format() string    { return "gzip" }
func (s gzipStream) rawSize() int64    { return -1 }
func (s gzipStream) packedSize() int64 { return s.size }

func (s gzipStream) unpack(ctx context.Context, tee io.Writer) (io.Reader, error) {
	seen := &counter{r: s.section(ctx, 0, s.size, tee)}
	return &members{in: s.input, seen: seen, buf: bufio.NewReaderSize(seen, 256<<10)}, nil
}

// members unpacks the members one after the other. It does so itself because klauspost's readers (compress v1.20.3,
// pgzip v1.3.0) take a file that is cut in the name field of a later member for a whole one.
type members struct {
	in   input
	seen *counter
	buf  *bufio.Reader
	gz   *gzip.Reader
	err  error
}

// Read implements io.Reader.
func (m *members) Read(p []byte) (int, error) {
	for m.err == nil {
		if m.gz == nil {
			m.err = m.begin()
			continue
		}
		n, err := m.gz.Read(p)
		if err == io.EOF {
			err = m.next()
		}
		if err != nil {
			m.err = m.explain(err)
		}
		if n > 0 {
			return n, nil
		}
	}
	return 0, m.err
}

func (m *members) begin() (err error) {
	if m.gz, err = gzip.NewReader(m.buf); err != nil {
		return m.explain(noEOF(err))
	}
	m.gz.Multistream(false)
	return nil
}

// next goes to the next member; io.EOF is the end of the file behind a whole member.
func (m *members) next() error {
	if _, err := m.buf.Peek(1); err != nil {
		return err
	}
	if err := m.gz.Reset(m.buf); err != nil {
		return noEOF(err)
	}
	m.gz.Multistream(false)
	return nil
}

// explain says where the file is not gzip.
func (m *members) explain(err error) error {
	if err == io.EOF || m.seen.err != nil && m.seen.err != io.EOF {
		return err
	}
	return steps.WithHint(fmt.Errorf("%s: gzip data near offset %d of %d: %w", m.in.name, m.seen.n-int64(m.buf.Buffered()), m.in.size, err), damaged)
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
