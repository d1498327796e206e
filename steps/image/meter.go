package image

import (
	"fmt"
	"io"
	"sync/atomic"
	"syscall"

	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/host"
)

// counter counts what was read and remembers the error that ended it.
type counter struct {
	r   io.Reader
	n   int64
	err error
}

// Read implements io.Reader.
func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	c.err = err
	return n, err
}

// exactly is an error when r ends early: a file that shrinks while it is read.
type exactly struct {
	r    io.Reader
	name string
	n    int64
	want int64
}

// Read implements io.Reader.
func (e *exactly) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	e.n += int64(n)
	if err == io.EOF && e.n != e.want {
		return n, fmt.Errorf("read %s: it ends at offset %d, had %d bytes: %w", e.name, e.n, e.want, io.ErrUnexpectedEOF)
	}
	return n, err
}

// limited ends with the error over when r goes on beyond the limit: a decompression bomb, or an image larger than the
// disk.
type limited struct {
	r    io.Reader
	left int64
	over error
}

// Read implements io.Reader.
func (l *limited) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	if l.left -= int64(n); l.left < 0 {
		return n, l.over
	}
	return n, err
}

// tally counts what was written; it may be read while it is written.
type tally struct{ n atomic.Int64 }

// Write implements io.Writer.
func (t *tally) Write(p []byte) (int, error) {
	t.n.Add(int64(len(p)))
	return len(p), nil
}

// budget stops writing before the file system is full: the system in it still runs.
type budget struct {
	w    io.Writer
	host host.Reader
	dir  string
	keep int64
	// left is what may be written in all, and until the free space is looked at again.
	left, unchecked int64
}

// lookAgain is how much is written between two looks, in bytes: others write as well.
const lookAgain = 64 << 20

func newBudget(w io.Writer, h host.Reader, dir string, keep int64) (*budget, error) {
	space, err := h.Space(dir)
	if err != nil {
		return nil, err
	}
	return &budget{w: w, host: h, dir: dir, keep: keep, left: space.Free - keep, unchecked: lookAgain}, nil
}

// Write implements io.Writer.
func (b *budget) Write(p []byte) (int, error) {
	n := int64(len(p))
	if b.unchecked -= n; b.unchecked < 0 {
		space, err := b.host.Space(b.dir)
		if err != nil {
			return 0, err
		}
		b.left, b.unchecked = min(b.left, space.Free-b.keep), lookAgain
	}
	if b.left -= n; b.left < 0 {
		return 0, b.full()
	}
	return b.w.Write(p)
}

func (b *budget) full() error {
	err := fmt.Errorf("%s: the image does not fit: %d MiB must stay free: %w", b.dir, b.keep>>20, syscall.ENOSPC)
	return steps.WithHint(err, "make room in this file system, choose another with --work-dir, or lower disk.min_free_mb")
}
