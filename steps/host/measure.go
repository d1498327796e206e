package host

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path"
	"time"

	"golang.org/x/sys/unix"
)

// measurePiece is how much is written at once, in bytes.
const measurePiece = 1 << 20

// MeasureWrite implements Host. The bytes are random, for some drives pack what they get, and go past the page cache; the
// flush at the end counts.
func (r *Rooted) MeasureWrite(ctx context.Context, dir string, size int64, limit time.Duration) (written int64, took time.Duration, err error) {
	p, err := r.find(path.Join(dir, ".write-speed"+Unfinished))
	if err != nil {
		return 0, 0, err
	}
	killPoint()
	const flags = os.O_WRONLY | os.O_CREATE | os.O_TRUNC | unix.O_NOFOLLOW
	f, err := os.OpenFile(p, flags|unix.O_DIRECT, 0o600)
	if errors.Is(err, unix.EINVAL) { // a file system without direct I/O; the flush is what counts then
		f, err = os.OpenFile(p, flags, 0o600)
	}
	if err != nil {
		return 0, 0, named(err, dir)
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(p)) }()
	piece, err := Linux{}.Memory(measurePiece)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, unix.Munmap(piece)) }()
	if _, err := rand.Read(piece); err != nil {
		return 0, 0, err
	}
	start := time.Now()
	for ctx.Err() == nil && written < size && time.Since(start) < limit {
		n, err := f.Write(piece)
		written += int64(n)
		if err != nil {
			return written, time.Since(start), named(err, dir)
		}
	}
	if err := unix.Fdatasync(int(f.Fd())); err != nil {
		return written, time.Since(start), named(err, dir)
	}
	return written, time.Since(start), ctx.Err()
}
