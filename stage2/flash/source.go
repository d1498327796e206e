package flash

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/flashimage"
)

// source is where the bytes of an image come from.
type source interface {
	// next says what comes next on the disk, nil at the end. One goroutine asks, in order; e.take waits for a buffer.
	next(ctx context.Context, e *engine) (*job, error)
	// fill makes the buffer of a job hold its bytes; several goroutines do.
	fill(j *job) error
	// collect is told of every job in order, before it is written.
	collect(j *job)
}

// indexed is a flashable image: what is zero is known beforehand.
type indexed struct {
	img *flashimage.Reader
	at  int
}

func (s *indexed) next(ctx context.Context, e *engine) (*job, error) {
	x := s.img.Index()
	if s.at == len(x.Members) {
		return nil, nil
	}
	off := int64(s.at) * x.ChunkSize
	if !x.Members[s.at].Zero {
		j, err := e.take(ctx)
		if err != nil {
			return nil, err
		}
		j.chunk, j.off, j.length = s.at, off, int64(x.ChunkLen(s.at))
		s.at++
		return j, nil
	}
	j := &job{chunk: s.at, off: off, zero: true}
	for ; s.at < len(x.Members) && x.Members[s.at].Zero && j.length < zeroStep; s.at++ {
		j.length += int64(x.ChunkLen(s.at))
	}
	return j, nil
}

func (s *indexed) fill(j *job) error {
	_, err := s.img.Chunk(j.chunk, j.buf)
	return err
}

func (s *indexed) collect(*job) {}

// streamed is an image that is read once, from its beginning to its end.
type streamed struct {
	r     io.Reader
	size  int64
	read  int64
	ended bool
	index schema.ImageIndex
}

func (s *streamed) next(ctx context.Context, e *engine) (*job, error) {
	if s.ended {
		return nil, nil
	}
	j, err := e.take(ctx)
	if err != nil {
		return nil, err
	}
	done := e.track.begin(func() string { return fmt.Sprintf("the image, to be read at %d", s.read) })
	n, err := s.readFull(j.buf)
	done()
	if err != nil {
		return nil, fmt.Errorf("image at %d: %w", s.read+int64(n), err)
	}
	if n == 0 {
		j.release()
		return nil, nil
	}
	j.chunk, j.off, j.length = int(s.read/s.index.ChunkSize), s.read, int64(n)
	s.read += int64(n)
	if pad(s.read, e.disk.SectorSize()) > e.disk.Size() {
		return nil, fmt.Errorf("image of more than %d bytes: the disk has %d", j.off, e.disk.Size())
	}
	return j, nil
}

// readFull is not io.ReadFull, whose io.ErrUnexpectedEOF may also be that of a packed stream that was cut.
func (s *streamed) readFull(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		m, err := s.r.Read(p[n:])
		n += m
		if err == io.EOF { // itself; a wrapped one is a stream that broke inside
			s.ended = true
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

func (s *streamed) fill(j *job) error {
	if j.zero = isZero(j.buf[:j.length]); !j.zero {
		j.sum = sha256.Sum256(j.buf[:j.length])
	}
	return nil
}

func (s *streamed) collect(j *job) {
	m := schema.ImageMember{Zero: j.zero}
	if !j.zero {
		m.SHA256 = hex.EncodeToString(j.sum[:])
	}
	s.index.Members = append(s.index.Members, m)
}

// finish is for when all has been written.
func (s *streamed) finish() error {
	s.index.RawSize = s.read
	switch {
	case s.read == 0:
		return errors.New("image: found no bytes")
	case s.size > 0 && s.read != s.size:
		return fmt.Errorf("image: %d bytes, expected %d", s.read, s.size)
	}
	return nil
}

// isZero compares p with itself shifted by one byte, which runs at the speed of memcmp.
func isZero(p []byte) bool {
	return len(p) == 0 || p[0] == 0 && string(p[1:]) == string(p[:len(p)-1])
}
