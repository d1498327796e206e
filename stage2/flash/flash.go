// Package flash writes a flashable image over a disk and proves that it is there.
//
// Chunks are inflated by several workers, compared with their digest, and go to the disk in its order: neighbours lie side
// by side in a ring of buffers, so that while the disk is busy they grow together into one large write. Ranges of zeros are
// neither read nor inflated nor written, but zeroed by the disk itself where it can; where it can't, zeros are written.
// The ring is all the memory there is, whatever the size of the image: who is ahead waits.
//
// Then every byte is read back past the page cache and compared. A chunk that differs or can't be read is written again
// by itself; after that all is read back once more, for a drive that put a write into a wrong place may do so again. So the
// engine ends with the exact image on the disk or with an error that names a place.
package flash

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/flashimage"
)

// Disk is what is written. Offsets, lengths and memory are aligned to its sectors, so that it can be open O_DIRECT.
type Disk interface {
	io.ReaderAt
	io.WriterAt
	// ZeroRange makes a range read as zeros. Where it fails, or says so and the range reads otherwise, zeros are written.
	ZeroRange(off, length int64) error
	// Flush makes what was written durable, in the drive too, and forgets what is cached of it.
	Flush() error
	Size() int64
	SectorSize() int64
}

// Attempts is how often a chunk is read, a write tried, and what differs is written again.
const Attempts = 3

const (
	// zeroStep bounds one ZeroRange, so that progress is seen on a drive that writes zeros like anything else, in bytes.
	zeroStep = 16 << 20
	// maxWrite bounds one write, in bytes: the erase blocks of SD cards are of this size, and drives gain nothing beyond.
	maxWrite = 8 << 20
	// blankSize is how many zeros are written at once where the disk can't zero by itself, in bytes.
	blankSize = 256 << 10
	// patience is how long nothing may move before it is reported.
	patience = 30 * time.Second
)

// Options for all that the engine does. Only Workers and Buffer have to be set.
type Options struct {
	// Workers is how many chunks are inflated at once.
	Workers int
	// Memory bounds the ring, in bytes; it has three chunks at least, which is also the default.
	Memory int64
	// Buffer allocates memory that suits the disk. It is asked once, for the same size by every phase of one image.
	Buffer func(size int) []byte
	// Progress is told how many of so many raw bytes are done, 0 where nobody knows; several goroutines call it.
	Progress func(what string, done, total int64)
	// Retried is told of every attempt that failed but was not the last.
	Retried func(err error)
	// Stalled is told, again and again, that not a byte has moved for some time, and what is being waited for.
	Stalled func(where string, idle time.Duration)
	// Patience is how long nothing moves before Stalled is called; default 30 s.
	Patience time.Duration
	// Limit is after which time without a byte an operation ends with [ErrStalled]; 0 is never. What hangs is left behind:
	// neither its buffers nor the disk may be used again.
	Limit time.Duration
}

func (o Options) withDefaults() Options {
	o.Workers = max(o.Workers, 1)
	if o.Progress == nil {
		o.Progress = func(string, int64, int64) {}
	}
	if o.Retried == nil {
		o.Retried = func(error) {}
	}
	if o.Stalled == nil {
		o.Stalled = func(string, time.Duration) {}
	}
	if o.Patience <= 0 {
		o.Patience = patience
	}
	return o
}

// leastSlots is one chunk being inflated, one waiting, one being written.
const leastSlots = 3

// slots is how many chunks the ring holds.
func (o Options) slots(chunk int64) int { return int(max(o.Memory/chunk, leastSlots)) }

// Report is what a flash did and how long it took.
type Report struct {
	// Write includes the flush; ReadBack is the last whole comparison.
	Write, ReadBack time.Duration
	// Mended counts chunks that read back wrong and were written again.
	Mended int
}

// Sized is what is known of a disk before it is opened.
type Sized interface {
	Size() int64
	SectorSize() int64
}

// Fits says whether the image fits the disk.
func Fits(d Sized, x *schema.ImageIndex) error {
	if x.RawSize > d.Size() {
		return fmt.Errorf("image of %d bytes: the disk has %d", x.RawSize, d.Size())
	}
	if err := suits(d, x.ChunkSize); err != nil {
		return err
	}
	if pad(x.RawSize, d.SectorSize()) > d.Size() {
		return fmt.Errorf("image of %d bytes: ends within the disk's last sector", x.RawSize)
	}
	return nil
}

func suits(d Sized, chunk int64) error {
	if chunk%d.SectorSize() != 0 {
		return fmt.Errorf("image chunks of %d bytes: not a multiple of the disk's sectors of %d", chunk, d.SectorSize())
	}
	return nil
}

// Flash writes the image, flushes it, reads it back, and mends what differs.
func Flash(ctx context.Context, d Disk, img *flashimage.Reader, o Options) (Report, error) {
	start := time.Now()
	if err := Write(ctx, d, img, o); err != nil {
		return Report{}, err
	}
	if err := d.Flush(); err != nil {
		return Report{}, err
	}
	rep := Report{Write: time.Since(start)}
	return rep, rep.prove(ctx, d, img.Index(), img, o)
}

// Stream writes an image whose bytes come one after the other, and returns the index of what was handed to the disk:
// sizes and digests, without the places in a gzip file. size is 0 where nobody knows it. A chunk of it that reads back
// wrong can't be had again, unless it is all zeros: that is an error.
func Stream(ctx context.Context, d Disk, r io.Reader, size int64, o Options) (*schema.ImageIndex, Report, error) {
	start := time.Now()
	if err := suits(d, flashimage.DefaultChunkSize); err != nil {
		return nil, Report{}, err
	}
	src := &streamed{r: r, size: size, index: schema.ImageIndex{Schema: schema.ImageIndexName, ChunkSize: flashimage.DefaultChunkSize}}
	if err := newEngine(d, src, src.index.ChunkSize, max(size, 0), o).run(ctx); err != nil {
		return nil, Report{}, err
	}
	if err := src.finish(); err != nil {
		return nil, Report{}, err
	}
	if err := d.Flush(); err != nil {
		return nil, Report{}, err
	}
	rep := Report{Write: time.Since(start)}
	return &src.index, rep, rep.prove(ctx, d, &src.index, nil, o)
}

// Write writes the image. Data is in the disk's hands when it returns, but not yet flushed.
func Write(ctx context.Context, d Disk, img *flashimage.Reader, o Options) error {
	x := img.Index()
	if err := Fits(d, x); err != nil {
		return err
	}
	return newEngine(d, &indexed{img: img}, x.ChunkSize, pad(x.RawSize, d.SectorSize()), o).run(ctx)
}

// Verify inflates every chunk that has data and compares it with its digest: the proof, before the first write, that
// all of the image can be had.
func Verify(ctx context.Context, img *flashimage.Reader, o Options) error {
	x := img.Index()
	e := &each{what: "verify", x: x, o: o.withDefaults()}
	e.goroutines = e.o.Workers
	e.work = func(i int, buf []byte) error {
		if x.Members[i].Zero {
			return nil
		}
		_, err := img.Chunk(i, buf)
		return err
	}
	return e.run(ctx)
}

// pad rounds up to whole sectors: what follows the image's end in its last sector is zeroed.
func pad(n, sector int64) int64 { return (n + sector - 1) / sector * sector }
