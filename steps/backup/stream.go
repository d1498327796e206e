package backup

import (
	"bytes"
	"io"
	"runtime"
	"time"

	"github.com/klauspost/pgzip"
)

// Compression works on as many blocks at once as there are processors; 256 KiB keep that small on a board with
// 512 MB, and cost 0.1 % of the size.
const blockSize = 256 << 10

// zeroUnit is the length of the zeros that are compressed once and for all; a run of less than minRun of these units
// does not end the member before it, which costs more than it saves.
const (
	zeroUnit = 1 << 20
	minRun   = 4
)

// stream compresses. What it writes are gzip members one after another, which every gzip reads as one file (RFC 1952,
// section 2.2), that of BusyBox too. So long runs of zeros, which is what a hole in a file becomes, are a member that is
// compressed once and written again and again: a disk image of 10 GB costs as much as the data in it.
//
// The same bytes in writes of the same lengths give the same archive.
type stream struct {
	out io.Writer
	gz  *pgzip.Writer
	// open says that a member is at work.
	open bool
	// zero is one block of zeros, unit the member that holds zeroUnit of them; held is the run of zeros that was written
	// last and is not compressed yet, always whole blocks.
	zero, unit []byte
	held       int64
}

// newStream starts a stream on out.
func newStream(out io.Writer) (*stream, error) {
	var unit bytes.Buffer
	s := &stream{out: &unit, gz: pgzip.NewWriter(&unit), zero: make([]byte, blockSize)}
	for range zeroUnit / blockSize {
		if _, err := s.plain(s.zero); err != nil {
			return nil, err
		}
	}
	if err := s.end(); err != nil {
		return nil, err
	}
	s.out, s.unit = out, unit.Bytes()
	return s, nil
}

// begin starts a gzip member. One writer makes them all, for it keeps its compressors, of a megabyte each. A member tells
// no time: the archive is to depend on what is in it alone.
func (s *stream) begin() error {
	s.gz.Reset(s.out)
	s.gz.ModTime = time.Unix(0, 0)
	s.open = true
	return s.gz.SetConcurrency(blockSize, runtime.GOMAXPROCS(0))
}

// Write implements io.Writer.
func (s *stream) Write(p []byte) (int, error) {
	if len(p) == blockSize && bytes.Equal(p, s.zero) {
		s.held += blockSize
		return len(p), nil
	}
	if err := s.release(); err != nil {
		return 0, err
	}
	return s.plain(p)
}

// plain compresses p.
func (s *stream) plain(p []byte) (int, error) {
	if !s.open {
		if err := s.begin(); err != nil {
			return 0, err
		}
	}
	return s.gz.Write(p)
}

// release writes the zeros that were held back.
func (s *stream) release() error {
	if s.held >= minRun*zeroUnit {
		if err := s.end(); err != nil {
			return err
		}
		for ; s.held >= zeroUnit; s.held -= zeroUnit {
			if _, err := s.out.Write(s.unit); err != nil {
				return err
			}
		}
	}
	for ; s.held > 0; s.held -= blockSize {
		if _, err := s.plain(s.zero); err != nil {
			return err
		}
	}
	return nil
}

// end completes the member at work.
func (s *stream) end() error {
	if !s.open {
		return nil
	}
	s.open = false
	return s.gz.Close()
}

// Close completes the stream; it leaves the writer below open.
func (s *stream) Close() error {
	if err := s.release(); err != nil {
		_ = s.end() // only to end its goroutines
		return err
	}
	return s.end()
}
