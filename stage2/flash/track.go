package flash

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// ErrStalled is found in the error of what ended because not a byte moved for Options.Limit.
var ErrStalled = errors.New("stalled")

// tracker knows what is being waited for, and since when nothing has moved.
type tracker struct {
	o     Options
	mu    sync.Mutex
	next  int
	open  map[int]waiting
	moved time.Time
}

// waiting is an operation that has not ended.
type waiting struct {
	where func() string
	since time.Time
}

func newTracker(o Options) *tracker {
	return &tracker{o: o, open: map[int]waiting{}, moved: time.Now()}
}

// begin notes an operation; what it returns notes its end.
func (t *tracker) begin(where func() string) (end func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	id := t.next
	t.next++
	t.open[id] = waiting{where: where, since: time.Now()}
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.open, id)
		t.moved = time.Now()
	}
}

// idle says for how long nothing has moved, and what has been waited for the longest.
func (t *tracker) idle() (time.Duration, string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	oldest := waiting{where: func() string { return "the processor" }}
	for _, w := range t.open {
		if oldest.since.IsZero() || w.since.Before(oldest.since) {
			oldest = w
		}
	}
	return time.Since(t.moved), oldest.where()
}

// wait waits for all goroutines, and says while nothing moves. Beyond the limit it leaves them behind.
func (t *tracker) wait(ctx context.Context, wg *sync.WaitGroup) error {
	done := make(chan struct{})
	go func() {
		wg.Wait()
		close(done)
	}()
	ticker := time.NewTicker(max(t.o.Patience/4, time.Millisecond))
	defer ticker.Stop()
	var reported time.Duration
	for {
		select {
		case <-done:
			return context.Cause(ctx)
		case <-ticker.C:
		}
		idle, where := t.idle()
		switch {
		case t.o.Limit > 0 && idle >= t.o.Limit:
			return fmt.Errorf("%w: nothing has moved for %s, waiting for %s", ErrStalled, idle.Truncate(time.Millisecond), where)
		case idle < t.o.Patience:
			reported = 0
		case idle-reported >= t.o.Patience:
			reported = idle
			t.o.Stalled(where, idle)
		}
	}
}
