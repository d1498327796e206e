package flash

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// slowDisk takes its time for a write and notes the order.
type slowDisk struct {
	*memoryDisk
	delay   time.Duration
	mu      sync.Mutex
	offsets []int64
	lengths []int
}

func (d *slowDisk) WriteAt(p []byte, off int64) (int, error) {
	d.mu.Lock()
	d.offsets, d.lengths = append(d.offsets, off), append(d.lengths, len(p))
	d.mu.Unlock()
	time.Sleep(d.delay)
	return d.memoryDisk.WriteAt(p, off)
}

// What the disk is slower than it gets in larger pieces, in its order: SD cards are fast only then.
func TestSlowDisksGetLargeWritesInOrder(t *testing.T) {
	const chunks, slots = 120, 12
	want := raw(strings.Repeat("x", chunks), 0)
	img, _ := encode(t, want, chunk)
	d := &slowDisk{memoryDisk: newDisk(int64(len(want)), 512), delay: 3 * time.Millisecond}
	var m meter
	o := m.options(2)
	o.Memory = slots * chunk
	if err := Write(context.Background(), d, img, o); err != nil {
		t.Fatal(err)
	}
	if n := len(d.offsets); n > chunks*2/3 {
		t.Errorf("%d writes of %d chunks: neighbours were not put together", n, chunks)
	}
	for i, off := range d.offsets {
		if d.lengths[i] > slots/2*chunk {
			t.Errorf("a write of %d bytes leaves nothing of a ring of %d to be filled", d.lengths[i], slots*chunk)
		}
		// Writers run side by side, so that neighbours may swap places, but no more than there are writers.
		if later := slices.IndexFunc(d.offsets[i:], func(o int64) bool { return o < off }); later >= writers(slots) {
			t.Errorf("write %d at %d came %d before one at a lower place", i, off, later)
		}
	}
}

// stuckDisk hangs in one write until it is let go.
type stuckDisk struct {
	*memoryDisk
	at  int64
	let chan struct{}
}

func (d *stuckDisk) WriteAt(p []byte, off int64) (int, error) {
	if off <= d.at && d.at < off+int64(len(p)) {
		<-d.let
	}
	return d.memoryDisk.WriteAt(p, off)
}

// When nothing moves, it is said where, again and again; it goes on when the disk does.
func TestStallIsReported(t *testing.T) {
	want := raw(strings.Repeat("x", 40), 0)
	img, _ := encode(t, want, chunk)
	d := &stuckDisk{memoryDisk: newDisk(int64(len(want)), 512), at: 10 * chunk, let: make(chan struct{})}
	var m meter
	o := m.options(2)
	said := 0
	o.Patience = 20 * time.Millisecond
	o.Stalled = func(where string, idle time.Duration) {
		if !strings.Contains(where, "the disk, to write") {
			return // a busy machine, which does not get to it for longer than that
		}
		if said++; said == 3 {
			close(d.let)
		}
		if idle < o.Patience {
			t.Errorf("reported after %s", idle)
		}
	}
	if err := Write(context.Background(), d, img, o); err != nil || !bytes.Equal(d.data, want) {
		t.Fatal(err)
	}
	if said < 3 {
		t.Errorf("said %d times", said)
	}
}

// Beyond the limit the operation ends, and what hangs stays behind.
func TestStallEnds(t *testing.T) {
	want := raw(strings.Repeat("x", 40), 0)
	img, _ := encode(t, want, chunk)
	d := &stuckDisk{memoryDisk: newDisk(int64(len(want)), 512), at: 10 * chunk, let: make(chan struct{})}
	defer close(d.let)
	var m meter
	o := m.options(2)
	o.Patience, o.Limit = 10*time.Millisecond, 50*time.Millisecond
	_, err := Flash(context.Background(), d, img, o)
	if !errors.Is(err, ErrStalled) || !strings.Contains(err.Error(), "the disk, to write") {
		t.Errorf("%v, want %v and where", err, ErrStalled)
	}
}
