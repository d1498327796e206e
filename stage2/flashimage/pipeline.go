package flashimage

import (
	"context"
	"fmt"
	"runtime"
	"sync"
)

// pipeline moves jobs through three stages: feed fills a job (one at a time), work is done on several jobs at once,
// sink takes them one at a time in the order in which they were fed. Jobs are used again, so memory is bounded by
// workers+spareJobs of them.
type pipeline[J any] struct {
	// feed returns false when there is nothing more.
	feed func(*J) (bool, error)
	// worker makes the work function of one worker, which may keep state of its own.
	worker func() func(*J) error
	sink   func(*J) error
}

// spareJobs keep the reader and the writer busy while all workers are.
const spareJobs = 2

type task[J any] struct {
	job  J
	done chan error
}

// run returns the first error in the order of the jobs. It waits for all its goroutines, so also for a read that
// hangs in feed.
func (p pipeline[J]) run(ctx context.Context, workers int) error {
	if workers < 1 {
		workers = runtime.GOMAXPROCS(0)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	slots := workers + spareJobs
	free := make(chan *task[J], slots)
	for range slots {
		free <- &task[J]{done: make(chan error, 1)}
	}
	todo := make(chan *task[J], slots)
	order := make(chan *task[J], slots)

	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() { p.work(todo) })
	}
	var feedErr error
	go func() {
		feedErr = guard(func() error { return p.feedAll(ctx, free, todo, order) })
		close(todo)
		close(order)
	}()
	err := p.drain(order, free, cancel)
	wg.Wait()
	if err != nil {
		return err
	}
	return feedErr
}

func (p pipeline[J]) feedAll(ctx context.Context, free <-chan *task[J], todo, order chan<- *task[J]) error {
	for {
		t := <-free
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		more, err := p.feed(&t.job)
		if err != nil || !more {
			return err
		}
		todo <- t
		order <- t
	}
}

func (p pipeline[J]) work(todo <-chan *task[J]) {
	work := p.worker()
	for t := range todo {
		t.done <- guard(func() error { return work(&t.job) })
	}
}

func (p pipeline[J]) drain(order <-chan *task[J], free chan<- *task[J], cancel func()) error {
	var first error
	for t := range order {
		err := <-t.done
		if first == nil && err == nil {
			err = p.sink(&t.job)
		}
		if first == nil && err != nil {
			first = err
			cancel()
		}
		free <- t
	}
	return first
}

// guard makes a panic an error: in a goroutine it would otherwise end PID 1, and with it the kernel.
func guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return f()
}
