// Package flash writes a flashable image over a disk and proves that it is there.
//
// Workers take chunk after chunk: inflate, compare with the digest, write. Ranges of zeros are not inflated but zeroed
// by the disk itself where it can (BLKZEROOUT, which unlike discard promises zeros). Each chunk is tried again by itself
// when it fails. Memory is bounded by the number of workers, whatever the size of the image.
package flash

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/flashimage"
)

// Disk is what is written. Offsets, lengths and memory are aligned to its sectors, so that it can be open O_DIRECT.
type Disk interface {
	io.ReaderAt
	io.WriterAt
	// ZeroRange makes a range read as zeros.
	ZeroRange(off, length int64) error
	Size() int64
	SectorSize() int64
}

// Attempts is how often a chunk is tried.
const Attempts = 3

// zeroStep bounds one ZeroRange, so that progress is seen and an attempt is short, in bytes.
const zeroStep = 64 << 20

// Options for Write and Compare.
type Options struct {
	// Workers is how many chunks are in work at once.
	Workers int
	// Buffer allocates memory that suits the disk.
	Buffer func(size int) []byte
	// Progress is told how many raw bytes are done; it is called by several goroutines.
	Progress func(done int64)
	// Retried is told of every attempt that failed but was not the last.
	Retried func(err error)
}

// ErrDiffers is found in the error of Compare when the disk does not hold the image.
var ErrDiffers = errors.New("disk differs from the image")

// job is a range of the image: one chunk with data, or a run of zero chunks.
type job struct {
	off, length int64
	chunk       int // -1 for zeros
}

// Fits says whether the image fits the disk.
func Fits(d Disk, x *schema.ImageIndex) error {
	if x.RawSize > d.Size() {
		return fmt.Errorf("image of %d bytes: the disk has %d", x.RawSize, d.Size())
	}
	if x.ChunkSize%d.SectorSize() != 0 {
		return fmt.Errorf("image chunks of %d bytes: not a multiple of the disk's sectors of %d", x.ChunkSize, d.SectorSize())
	}
	if pad(x.RawSize, d.SectorSize()) > d.Size() {
		return fmt.Errorf("image of %d bytes: ends within the disk's last sector", x.RawSize)
	}
	return nil
}

// Write writes the image. Data is in the disk's hands when it returns, but not yet flushed.
func Write(ctx context.Context, d Disk, img *flashimage.Reader, o Options) error {
	if err := Fits(d, img.Index()); err != nil {
		return err
	}
	return each(ctx, img.Index(), d.SectorSize(), o, func(j job, bufs *buffers) error {
		if j.chunk < 0 {
			return d.ZeroRange(j.off, j.length)
		}
		data, err := img.Chunk(j.chunk, bufs.a)
		if err != nil {
			return err
		}
		clear(bufs.a[len(data):j.length])
		if _, err := d.WriteAt(bufs.a[:j.length], j.off); err != nil {
			return fmt.Errorf("write %d bytes at %d: %w", j.length, j.off, err)
		}
		return nil
	})
}

// Compare reads every byte of the image's range back. The caller has flushed the disk and dropped its cache.
func Compare(ctx context.Context, d Disk, x *schema.ImageIndex, o Options) error {
	return each(ctx, x, d.SectorSize(), o, func(j job, bufs *buffers) error {
		for off := j.off; off < j.off+j.length; off += x.ChunkSize {
			part := bufs.a[:min(x.ChunkSize, j.off+j.length-off)]
			if _, err := d.ReadAt(part, off); err != nil {
				return fmt.Errorf("read %d bytes at %d: %w", len(part), off, err)
			}
			if err := compare(x, j.chunk, part, bufs.b, off); err != nil {
				return err
			}
		}
		return nil
	})
}

func compare(x *schema.ImageIndex, chunk int, got, zeros []byte, off int64) error {
	if chunk < 0 {
		if !bytes.Equal(got, zeros[:len(got)]) {
			return fmt.Errorf("at %d: expected %d zeros: %w", off, len(got), ErrDiffers)
		}
		return nil
	}
	sum := sha256.Sum256(got[:x.ChunkLen(chunk)])
	if hex.EncodeToString(sum[:]) != x.Members[chunk].SHA256 {
		return fmt.Errorf("chunk %d at %d: SHA-256 %x, expected %s: %w", chunk, off, sum, x.Members[chunk].SHA256, ErrDiffers)
	}
	return nil
}

// Verify inflates every chunk that has data and compares it with its digest: the proof, before the first write, that
// all of the image can be had from memory.
func Verify(ctx context.Context, img *flashimage.Reader, o Options) error {
	return each(ctx, img.Index(), 1, o, func(j job, bufs *buffers) error {
		if j.chunk < 0 {
			return nil
		}
		_, err := img.Chunk(j.chunk, bufs.a)
		return err
	})
}

// buffers are one worker's: a is for data, b stays zero.
type buffers struct{ a, b []byte }

// each does the work on every job of the image with several workers and returns the first error.
func each(ctx context.Context, x *schema.ImageIndex, sector int64, o Options, work func(job, *buffers) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	jobs := make(chan job)
	var wg sync.WaitGroup
	var done atomic.Int64
	for range max(o.Workers, 1) {
		bufs := &buffers{a: o.Buffer(int(x.ChunkSize)), b: o.Buffer(int(x.ChunkSize))}
		wg.Go(func() {
			for j := range jobs {
				if err := attempt(ctx, j, bufs, o, work); err != nil {
					cancel(err)
					continue
				}
				o.Progress(done.Add(j.length))
			}
		})
	}
	feed(ctx, x, sector, jobs)
	wg.Wait()
	return context.Cause(ctx)
}

// attempt works on one job until it succeeds, at most Attempts times. A panic is an error of the attempt: in a goroutine
// it would end PID 1, and with it the kernel.
func attempt(ctx context.Context, j job, bufs *buffers, o Options, work func(job, *buffers) error) (err error) {
	for n := 1; ctx.Err() == nil; n++ {
		func() {
			defer func() {
				if p := recover(); p != nil {
					err = fmt.Errorf("panic at %d: %v", j.off, p)
				}
			}()
			err = work(j, bufs)
		}()
		if err == nil || n == Attempts {
			return err
		}
		o.Retried(err)
	}
	return context.Cause(ctx)
}

// feed hands out the image in order: each data chunk by itself, zeros in long runs.
func feed(ctx context.Context, x *schema.ImageIndex, sector int64, jobs chan<- job) {
	defer close(jobs)
	for i := 0; i < len(x.Members); {
		j := job{off: int64(i) * x.ChunkSize, length: int64(x.ChunkLen(i)), chunk: i}
		i++
		if x.Members[i-1].Zero {
			j.chunk = -1
			for ; i < len(x.Members) && x.Members[i].Zero && j.length < zeroStep; i++ {
				j.length += int64(x.ChunkLen(i))
			}
		}
		j.length = pad(j.length, sector)
		select {
		case jobs <- j:
		case <-ctx.Done():
			return
		}
	}
}

// pad rounds up to whole sectors: what follows the image's end in its last sector is zeroed.
func pad(n, sector int64) int64 { return (n + sector - 1) / sector * sector }
