package flash

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/flashimage"
)

const chunk = schema.MinChunkSize

// memoryDisk is a disk that insists on whole sectors, as one that is open O_DIRECT does, and notes what is done to it.
type memoryDisk struct {
	sector int64
	mu     sync.Mutex
	data   []byte
	writes map[int64]int // length by offset
	zeroed map[int64]int64
	// before is called first in every operation, for each chunk of its range; its error is the operation's.
	before func(op string, off int64) error
}

// newDisk makes a disk full of old data.
func newDisk(size, sector int64) *memoryDisk {
	return &memoryDisk{
		sector: sector, data: bytes.Repeat([]byte{0xee}, int(size)), writes: map[int64]int{}, zeroed: map[int64]int64{},
		before: func(string, int64) error { return nil },
	}
}

func (d *memoryDisk) Size() int64       { return int64(len(d.data)) }
func (d *memoryDisk) SectorSize() int64 { return d.sector }

func (d *memoryDisk) check(op string, off, length int64) error {
	if off%d.sector != 0 || length%d.sector != 0 || off < 0 || length <= 0 || off+length > d.Size() {
		return fmt.Errorf("%s of %d bytes at %d: not whole sectors of %d on a disk of %d", op, length, off, d.sector, d.Size())
	}
	for at := off; at < off+length; at += chunk {
		if err := d.before(op, at); err != nil {
			return err
		}
	}
	return nil
}

func (d *memoryDisk) ReadAt(p []byte, off int64) (int, error) {
	if err := d.check("read", off, int64(len(p))); err != nil {
		return 0, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return copy(p, d.data[off:]), nil
}

func (d *memoryDisk) WriteAt(p []byte, off int64) (int, error) {
	if err := d.check("write", off, int64(len(p))); err != nil {
		return 0, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.writes[off] = len(p)
	return copy(d.data[off:], p), nil
}

func (d *memoryDisk) ZeroRange(off, length int64) error {
	if err := d.check("zero", off, length); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.zeroed[off] = length
	clear(d.data[off : off+length])
	return nil
}

// end is how far the disk was written.
func (d *memoryDisk) end() int64 {
	var end int64
	for off, n := range d.writes {
		end = max(end, off+int64(n))
	}
	return end
}

func (d *memoryDisk) Flush() error { return d.before("flush", 0) }

// raw makes an image out of a word: a data chunk for each "x", a chunk of zeros for each "0", and extra bytes behind.
func raw(word string, extra int) []byte {
	rng := rand.New(rand.NewPCG(1, 2))
	var out []byte
	for _, c := range word {
		part := make([]byte, chunk)
		for i := range part {
			if c == 'x' {
				part[i] = byte(rng.Uint32()) | 1
			}
		}
		out = append(out, part...)
	}
	for range extra {
		out = append(out, 0x77)
	}
	return out
}

func encode(t testing.TB, raw []byte, chunkSize int) (*flashimage.Reader, []byte) {
	t.Helper()
	var gz bytes.Buffer
	index, err := flashimage.Encode(context.Background(), &gz, bytes.NewReader(raw), flashimage.Options{ChunkSize: chunkSize})
	if err != nil {
		t.Fatal(err)
	}
	img, err := flashimage.NewReader(bytes.NewReader(gz.Bytes()), index)
	if err != nil {
		t.Fatal(err)
	}
	return img, gz.Bytes()
}

// meter counts what the options report.
type meter struct {
	allocated, buffers, done, largest, retried atomic.Int64
}

func (m *meter) options(workers int) Options {
	return Options{
		Workers: workers,
		Buffer: func(n int) []byte {
			m.buffers.Add(1)
			m.allocated.Add(int64(n))
			return make([]byte, n)
		},
		Progress: func(_ string, done, _ int64) {
			m.done.Add(1)
			for old := m.largest.Load(); done > old && !m.largest.CompareAndSwap(old, done); old = m.largest.Load() {
			}
		},
		Retried: func(error) { m.retried.Add(1) },
	}
}
