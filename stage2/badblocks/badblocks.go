// Package badblocks reads a disk where it will be written, and counts what can't be read (S31, S130).
//
// It only reads. A test that writes and puts back what was there would put the old system at risk before anything is
// decided: a power cut in between loses a block of it, and on flash memory the write goes to other cells than the ones it
// was meant to try, and wears them. A block that can't be read is what a worn medium shows first, and the flash reads every
// byte back that it writes.
package badblocks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// BlockSize is what is counted, in bytes: the sector of today's drives, and the least that a flash medium loses.
const BlockSize = 4096

// step is how much is read at once, in bytes.
const step = 1 << 20

// Limit is how many bad blocks are allowed: so many, or so many in a hundred.
type Limit struct {
	n       int64
	percent bool
}

// ParseLimit reads disk.max_bad_blocks: "N" or "N%", up to 100%.
func ParseLimit(text string) (Limit, error) {
	number, percent := strings.CutSuffix(text, "%")
	n, err := strconv.ParseInt(number, 10, 63)
	if err != nil || n < 0 || percent && n > 100 {
		return Limit{}, fmt.Errorf("limit for bad blocks: found %q, expected a count, or 0%% to 100%%", text)
	}
	return Limit{n: n, percent: percent}, nil
}

// Of returns how many of so many blocks are allowed.
func (l Limit) Of(blocks int64) int64 {
	if l.percent {
		return blocks/100*l.n + blocks%100*l.n/100
	}
	return l.n
}

// ErrTooMany is found in the error of a medium that is over the limit.
var ErrTooMany = errors.New("more bad blocks than allowed")

// ErrTooSlow is found in the error of a test that did not end in its time: a bad block costs a drive many seconds.
var ErrTooSlow = errors.New("the test for bad blocks did not end in its time")

// Test is what is to be read. Buf is at least BlockSize long, a multiple of it; up to 1 MiB is used.
type Test struct {
	Disk  io.ReaderAt
	Size  int64
	Limit Limit
	// Time bounds all of it.
	Time     time.Duration
	Buf      []byte
	Progress func(what string, done, total int64)
	// Bad is told of every bad block, by its offset.
	Bad func(off int64, err error)
}

// Report is what was found.
type Report struct {
	Blocks, Bad int64
	// First is the offset of the first bad block, in bytes; -1 for none.
	First int64
}

// Run reads all of it, and ends at the first block over the limit or when its time is up.
func (t Test) Run(ctx context.Context) (Report, error) {
	r := Report{Blocks: (t.Size + BlockSize - 1) / BlockSize, First: -1}
	allowed, end := t.Limit.Of(r.Blocks), time.Now().Add(t.Time)
	buf := t.Buf[:min(len(t.Buf)/BlockSize*BlockSize, step)]
	if len(buf) == 0 {
		return r, fmt.Errorf("buffer of %d bytes, expected at least %d", len(t.Buf), BlockSize)
	}
	for off := int64(0); off < t.Size; off += int64(len(buf)) {
		n := min(int64(len(buf)), t.Size-off)
		if err := t.piece(ctx, buf[:n], off, allowed, end, &r); err != nil {
			return r, err
		}
		t.Progress("bad blocks", off+n, t.Size)
	}
	return r, nil
}

// piece reads a piece as a whole, and block by block if that fails.
func (t Test) piece(ctx context.Context, p []byte, off, allowed int64, end time.Time, r *Report) error {
	if err := inTime(ctx, end, off, t.Size); err != nil {
		return err
	}
	if readAt(t.Disk, p, off) == nil {
		return nil
	}
	for at := 0; at < len(p); at += BlockSize {
		if err := inTime(ctx, end, off+int64(at), t.Size); err != nil {
			return err
		}
		err := readAt(t.Disk, p[at:min(at+BlockSize, len(p))], off+int64(at))
		if err == nil {
			continue
		}
		if r.Bad++; r.First < 0 {
			r.First = off + int64(at)
		}
		t.Bad(off+int64(at), err)
		if r.Bad > allowed {
			return fmt.Errorf("%w: %d or more of %d can't be read, %d are allowed, the first is at %d (blocks of %d bytes)",
				ErrTooMany, r.Bad, r.Blocks, allowed, r.First, BlockSize)
		}
	}
	return nil
}

func inTime(ctx context.Context, end time.Time, off, size int64) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if time.Now().After(end) {
		return fmt.Errorf("%w: %d of %d MiB were read", ErrTooSlow, off>>20, size>>20)
	}
	return nil
}

// readAt wants all of p; a disk that ends too early is as bad as one that can't be read.
func readAt(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	return err
}
