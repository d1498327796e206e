package flash

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/flashimage"
)

// ErrDiffers is found in the error of a comparison when the disk does not hold the image.
var ErrDiffers = errors.New("disk differs from the image")

// Compare reads every byte of the image's range back. The caller has flushed the disk and dropped its cache.
func Compare(ctx context.Context, d Disk, x *schema.ImageIndex, o Options) error {
	bad, err := compare(ctx, d, x, o.withDefaults())
	if err != nil {
		return err
	}
	return bad.err()
}

// badChunk is one that is not on the disk as it should be.
type badChunk struct {
	chunk int
	err   error
}

type badChunks []badChunk

// err names the first place.
func (b badChunks) err() error {
	switch len(b) {
	case 0:
		return nil
	case 1:
		return b[0].err
	}
	return fmt.Errorf("%w (and %d more chunks)", b[0].err, len(b)-1)
}

// compare lists the chunks that differ or can't be read.
func compare(ctx context.Context, d Disk, x *schema.ImageIndex, o Options) (badChunks, error) {
	var mu sync.Mutex
	var bad badChunks
	e := &each{what: "read back", x: x, o: o}
	// More than there are processors, so that the disk reads while the processors compare.
	e.goroutines = o.slots(x.ChunkSize)
	e.work = func(i int, buf []byte) error {
		off := int64(i) * x.ChunkSize
		part := buf[:pad(int64(x.ChunkLen(i)), d.SectorSize())]
		if n, err := d.ReadAt(part, off); err != nil || n != len(part) {
			return fmt.Errorf("read %d bytes at %d: %d came: %w", len(part), off, n, orShort(err))
		}
		return same(x, i, part[:x.ChunkLen(i)])
	}
	e.failed = func(i int, err error) {
		mu.Lock()
		defer mu.Unlock()
		bad = append(bad, badChunk{i, err})
	}
	err := e.run(ctx)
	slices.SortFunc(bad, func(a, b badChunk) int { return a.chunk - b.chunk })
	return bad, err
}

func orShort(err error) error {
	if err == nil {
		return errors.New("too few")
	}
	return err
}

func same(x *schema.ImageIndex, i int, got []byte) error {
	off := int64(i) * x.ChunkSize
	if x.Members[i].Zero {
		if !isZero(got) {
			return fmt.Errorf("chunk %d at %d: expected %d zeros: %w", i, off, len(got), ErrDiffers)
		}
		return nil
	}
	sum := sha256.Sum256(got)
	if hex.EncodeToString(sum[:]) != x.Members[i].SHA256 {
		return fmt.Errorf("chunk %d at %d: SHA-256 %x, expected %s: %w", i, off, sum, x.Members[i].SHA256, ErrDiffers)
	}
	return nil
}

// prove reads all back, writes again what is wrong, and reads all back again, until nothing is wrong.
func (rep *Report) prove(ctx context.Context, d Disk, x *schema.ImageIndex, img *flashimage.Reader, o Options) error {
	o = o.withDefaults()
	for n := 1; ; n++ {
		start := time.Now()
		bad, err := compare(ctx, d, x, o)
		if err != nil {
			return err
		}
		rep.ReadBack = time.Since(start)
		if len(bad) == 0 {
			return nil
		}
		if n == Attempts {
			return bad.err()
		}
		o.Retried(bad.err())
		if err := mend(ctx, d, x, img, bad, o); err != nil {
			return err
		}
		rep.Mended += len(bad)
	}
}

// mend writes chunks again, zeros too: this disk has shown that it is not to be trusted with zeroing.
func mend(ctx context.Context, d Disk, x *schema.ImageIndex, img *flashimage.Reader, bad badChunks, o Options) error {
	e := &each{what: "write again", x: x, o: o, goroutines: 1}
	for _, b := range bad {
		if img == nil && !x.Members[b.chunk].Zero {
			return b.err
		}
		e.only = append(e.only, b.chunk)
	}
	e.work = func(i int, buf []byte) error {
		n := int64(x.ChunkLen(i))
		if x.Members[i].Zero {
			clear(buf)
		} else if _, err := img.Chunk(i, buf); err != nil {
			return err
		}
		clear(buf[n:])
		return writeWhole(d, buf[:pad(n, d.SectorSize())], int64(i)*x.ChunkSize)
	}
	if err := e.run(ctx); err != nil {
		return err
	}
	return d.Flush()
}

// each does something with every chunk, or only with some, several at once.
type each struct {
	what       string
	x          *schema.ImageIndex
	o          Options
	goroutines int
	only       []int // nil for all
	work       func(chunk int, buf []byte) error
	// failed is told what failed for good; without it the first failure ends all.
	failed func(chunk int, err error)

	taken atomic.Int64
	done  atomic.Int64
	track *tracker
}

func (e *each) run(parent context.Context) error {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	e.track = newTracker(e.o)
	ring, _ := e.o.ring(e.x.ChunkSize)
	var wg sync.WaitGroup
	for n := range min(int64(e.goroutines), int64(e.o.slots(e.x.ChunkSize))) {
		buf := ring[n*e.x.ChunkSize : (n+1)*e.x.ChunkSize]
		wg.Go(func() {
			for i, more := e.take(); more && ctx.Err() == nil; i, more = e.take() {
				if err := e.one(ctx, i, buf); err != nil {
					cancel(err)
				}
			}
		})
	}
	return e.track.wait(ctx, &wg)
}

// take returns the next chunk.
func (e *each) take() (int, bool) {
	n := int(e.taken.Add(1) - 1)
	if e.only == nil {
		return n, n < len(e.x.Members)
	}
	if n >= len(e.only) {
		return 0, false
	}
	return e.only[n], true
}

func (e *each) one(ctx context.Context, i int, buf []byte) error {
	err := attempt(ctx, e.o, func() error {
		defer e.track.begin(func() string { return fmt.Sprintf("chunk %d at %d (%s)", i, int64(i)*e.x.ChunkSize, e.what) })()
		return guard(func() error { return e.work(i, buf) })
	})
	if err != nil && (e.failed == nil || ctx.Err() != nil) {
		return err
	}
	if err != nil {
		e.failed(i, err)
	}
	e.o.Progress(e.what, e.done.Add(int64(e.x.ChunkLen(i))), e.total())
	return nil
}

func (e *each) total() int64 {
	if e.only == nil {
		return e.x.RawSize
	}
	return int64(len(e.only)) * e.x.ChunkSize
}
