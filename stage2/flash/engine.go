package flash

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync"
	"sync/atomic"
)

// job is a range of the image: one chunk in a buffer of the ring, or a run of zeros without one.
type job struct {
	chunk       int
	off, length int64 // length without the rest of the last sector
	zero        bool
	sum         [sha256.Size]byte
	slot        int
	buf         []byte // of the chunk size; nil for zeros that were known to be
	ready       chan struct{}
	release     func()
}

// op is what the disk is asked to do at once: neighbours on the disk and in memory, or a range of zeros.
type op struct {
	jobs   []*job
	off    int64
	length int64
	buf    []byte // nil for zeros
}

func (o *op) release() {
	for _, j := range o.jobs {
		if j.release != nil {
			j.release()
		}
	}
}

// engine moves jobs from a source to a disk: one goroutine feeds, several fill, one puts neighbours together, several
// write.
type engine struct {
	disk  Disk
	src   source
	o     Options
	chunk int64
	total int64
	slots int
	ring  []byte
	blank []byte // zeros
	free  []chan struct{}
	taken int
	todo  chan *job
	order chan *job
	ops   chan *op
	track *tracker
	done  atomic.Int64
	// cannotZero is set by the first range that the disk would not zero.
	cannotZero atomic.Bool
}

// writers is how many writes are on their way at once: a fast drive wants several, a slow one is kept busy by two, and
// each takes its part of the ring from those that grow.
func writers(slots int) int { return min(max(slots/3, 1), 4) }

func newEngine(d Disk, src source, chunk, total int64, o Options) *engine {
	e := &engine{disk: d, src: src, o: o.withDefaults(), chunk: chunk, total: total}
	e.slots = e.o.slots(chunk)
	e.ring, e.blank = e.o.ring(chunk)
	for range e.slots {
		c := make(chan struct{}, 1)
		c <- struct{}{}
		e.free = append(e.free, c)
	}
	e.todo, e.order, e.ops = make(chan *job, e.slots), make(chan *job, e.slots), make(chan *op)
	e.track = newTracker(e.o)
	return e
}

// ring takes the memory, and the zeros behind it. Buffers are used again, and may hold anything.
func (o Options) ring(chunk int64) (ring, blank []byte) {
	size := int(chunk) * o.slots(chunk)
	mem := o.Buffer(size + blankSize)
	clear(mem[size:])
	return mem[:size], mem[size:]
}

func (e *engine) run(parent context.Context) error {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	var wg sync.WaitGroup
	start := func(f func(context.Context) error) {
		wg.Go(func() {
			if err := guard(func() error { return f(ctx) }); err != nil {
				cancel(err)
			}
		})
	}
	start(e.feed)
	for range e.o.Workers {
		start(e.work)
	}
	start(e.join)
	for range writers(e.slots) {
		start(e.write)
	}
	return e.track.wait(ctx, &wg)
}

// feed asks the source for one job after the other.
func (e *engine) feed(ctx context.Context) error {
	defer close(e.todo)
	defer close(e.order)
	for {
		j, err := e.src.next(ctx, e)
		if err != nil || j == nil {
			return err
		}
		j.ready = make(chan struct{})
		if j.buf == nil {
			close(j.ready)
		}
		// Both have room for a whole ring; only runs of zeros, which need no buffer, can be more.
		select {
		case e.order <- j:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if j.buf != nil {
			e.todo <- j
		}
	}
}

// take waits for the next buffer of the ring. They go round in order, so that neighbours on the disk are neighbours here.
func (e *engine) take(ctx context.Context) (*job, error) {
	slot := e.taken % e.slots
	select {
	case <-e.free[slot]:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	e.taken++
	at := int64(slot) * e.chunk
	return &job{slot: slot, buf: e.ring[at : at+e.chunk : at+e.chunk], release: func() { e.free[slot] <- struct{}{} }}, nil
}

// work fills buffers.
func (e *engine) work(ctx context.Context) error {
	for j := range e.todo {
		err := e.attempt(ctx, func() string { return fmt.Sprintf("image chunk %d, to be read and inflated", j.chunk) },
			func() error { return e.src.fill(j) })
		if err != nil {
			return err
		}
		clear(j.buf[j.length:])
		close(j.ready)
	}
	return nil
}

// attempt does something until it succeeds, at most Attempts times.
func (e *engine) attempt(ctx context.Context, where func() string, f func() error) error {
	return attempt(ctx, e.o, func() error {
		defer e.track.begin(where)()
		return guard(f)
	})
}

func attempt(ctx context.Context, o Options, f func() error) error {
	for n := 1; ctx.Err() == nil; n++ {
		err := f()
		if err == nil || n == Attempts {
			return err
		}
		o.Retried(err)
	}
	return context.Cause(ctx)
}

// guard makes a panic an error: in a goroutine it would end PID 1, and with it the kernel.
func guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return f()
}
