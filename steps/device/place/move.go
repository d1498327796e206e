package place

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/blockdev"
	"github.com/balena-community/balena-migrate/steps/host"
)

// rounds is how often the file system is asked for its low space.
const rounds = 16

// tries is how often it is asked for a place for the file itself: what is low of one stays taken while the next is asked
// for.
const tries = 8

// blockSize is the largest of a file system, in bytes (mke2fs(8), -b).
const blockSize = 4096

// ballast takes up the space that the flash will write while a place beyond it is asked for. It is an unfinished file
// that never gets its name: what a killed run leaves of it is removed by the next one.
const ballast = ".ballast"

// ErrStays is found in the error of Move when the file system has no better place.
var ErrStays = errors.New("no better place")

// Leftover is what a run that was killed leaves of a move of a file, "" for nothing.
func Leftover(r host.Reader, name string) string {
	left := path.Join(path.Dir(name), "."+path.Base(name)+ballast+host.Unfinished)
	if _, err := r.Lstat(left); err != nil {
		return ""
	}
	return left
}

// Move is the work of giving a file another place.
type Move struct {
	File
	// SHA256 is the file's digest in hex, Mode what it gets.
	SHA256 string
	Mode   fs.FileMode
	// KeepFree is what has to stay free in the file system at any time, in bytes.
	KeepFree int64
	// Progress is told how many bytes of how many are copied.
	Progress func(done, total int64)
}

// Run copies the file to a better place if the file system has one, and gives the copy its name. Until then the file is
// as it was; nothing but a write that fails for other reasons than space is an error other than ErrStays.
func (m Move) Run(ctx context.Context, h host.Host) error {
	info, err := h.Stat(m.Name)
	if err != nil {
		return err
	}
	size := info.Size()
	now := m.Look(size)
	if now.Held < worth {
		return nil
	}
	space, err := h.Space(m.Name)
	if err != nil {
		return err
	}
	spare := space.Free - m.KeepFree - size
	if spare < 0 {
		return fmt.Errorf("%w: no room for a second copy", ErrStays)
	}
	out, low, err := m.reserve(h, size, spare)
	if err != nil {
		return err
	}
	defer out.Discard()
	if low >= now.Held {
		return fmt.Errorf("%w: %d bytes of a new copy would lie where the flash writes", ErrStays, low)
	}
	if err := m.copy(ctx, h, out); err != nil {
		return err
	}
	return out.Commit()
}

// Settle is Run for a step, which must not fail because a file system has no better place: it returns where the file lies
// in the end, with the reason why it stays.
func (m Move) Settle(ctx context.Context, h host.Host) (*schema.Placement, error) {
	stays := m.Run(ctx, h)
	if stays != nil && !errors.Is(stays, ErrStays) {
		return nil, stays
	}
	info, err := h.Stat(m.Name)
	if err != nil {
		return nil, err
	}
	p := m.Look(info.Size())
	if stays != nil && p.Held > 0 {
		p.Note += " (" + stays.Error() + ")"
	}
	return p, nil
}

// reserve takes space for the file, after all the low space that spare bytes can take is taken, and says how much of it
// is low all the same. When it returns, the rest is free again.
func (m Move) reserve(h host.Host, size, spare int64) (*host.Pending, int64, error) {
	b, err := h.Create(m.Name+ballast, 0o600)
	if err != nil {
		return nil, 0, err
	}
	defer b.Discard()
	if spare, err = m.fill(b, spare); err != nil {
		return nil, 0, err
	}
	for n := 1; ; n++ {
		out, err := h.Create(m.Name, m.Mode)
		if err != nil {
			return nil, 0, err
		}
		low, err := m.try(out, size)
		if err != nil {
			out.Discard()
			return nil, 0, err
		}
		if spare -= low; low == 0 || n == tries || spare < 0 {
			return out, low, nil
		}
		// What is low of this one stays taken while it is open; its name goes to the next.
		defer out.Close()
		if _, err := m.giveBack(out, 0); err != nil {
			out.Discard()
			return nil, 0, err
		}
	}
}

// try takes space for the file and says how much of it is low.
func (m Move) try(out *host.Pending, size int64) (int64, error) {
	if err := out.Reserve(0, size); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrStays, err)
	}
	return m.low(out, size)
}

// fill takes low space, up to spare bytes at once, and returns how many are left: each round takes a piece and gives back
// what of it lies beyond.
func (m Move) fill(b *host.Pending, spare int64) (left int64, err error) {
	const least = 1 << 20
	at := int64(0)
	for range rounds {
		piece := min(m.Written, spare) / least * least
		if piece < least {
			break
		}
		if err := b.Reserve(at, piece); err != nil {
			return 0, fmt.Errorf("%w: %w", ErrStays, err) // the file system can't, or somebody else took the space
		}
		low, err := m.giveBack(b, at)
		if err != nil || low == 0 {
			return spare, err
		}
		at, spare = at+piece, spare-low
	}
	return spare, nil
}

// giveBack releases what lies beyond the written area of the ballast from an offset on, and returns how much does not.
func (m Move) giveBack(b *host.Pending, from int64) (low int64, err error) {
	all, err := b.Extents()
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrStays, err)
	}
	start, err := m.start()
	if err != nil {
		return 0, err
	}
	for _, e := range all {
		if e.Logical+e.Length <= from {
			continue
		}
		cut := min(max(m.Written-start-e.Physical, 0), e.Length)
		cut = min((cut+blockSize-1)/blockSize*blockSize, e.Length)
		low += cut
		if cut == e.Length {
			continue
		}
		if err := b.Release(e.Logical+cut, e.Length-cut); err != nil {
			return 0, fmt.Errorf("%w: %w", ErrStays, err)
		}
	}
	return low, nil
}

// low is how much of a file that has its space, but not its content, would have to be held in memory.
func (m Move) low(out *host.Pending, size int64) (int64, error) {
	all, err := out.Extents()
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrStays, err)
	}
	start, err := m.start()
	if err != nil {
		return 0, err
	}
	beyond := int64(0)
	for _, e := range all {
		if e.Allocated() {
			n := min(e.Length, size-e.Logical)
			beyond += max(0, min(n, start+e.Physical+n-m.Written))
		}
	}
	return size - beyond, nil
}

// copy writes the file into the space that was reserved. What is read must have the digest that is known.
func (m Move) copy(ctx context.Context, h host.Host, out *host.Pending) error {
	in, err := h.Open(m.Name)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	sum, done := sha256.New(), int64(0)
	buf := make([]byte, 1<<20)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := in.Read(buf)
		sum.Write(buf[:n])
		if _, werr := out.Write(buf[:n]); werr != nil {
			return werr
		}
		done += int64(n)
		m.Progress(done, info.Size())
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != m.SHA256 {
		return fmt.Errorf("%s: SHA-256 %s, expected %s", m.Name, got, m.SHA256)
	}
	return nil
}

// start is where the file's partition begins on the disk, in bytes.
func (m Move) start() (int64, error) {
	partition, _, note := m.partition()
	if note != "" {
		return 0, errors.New(note)
	}
	return blockdev.Start(m.Site, partition)
}
