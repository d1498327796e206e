package stage2

import (
	"strings"
	"testing"
	"time"
)

// dogLog is a watchdog device that remembers what was written to it.
type dogLog struct {
	strings.Builder
	closed bool
}

func (d *dogLog) Close() error { d.closed = true; return nil }

// Closed without the magic character, a watchdog resets the old system in the middle of its boot.
func TestWatchdogIsFedAndThenStopped(t *testing.T) {
	dev := &dogLog{}
	w := &watchdog{dev: dev, stop: make(chan struct{})}
	fed := make(chan struct{})
	go func() { w.feed(time.Millisecond); close(fed) }()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		w.mu.Lock()
		n := dev.Len()
		w.mu.Unlock()
		if n >= 3 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("not fed")
		}
	}
	w.release()
	<-fed
	if !dev.closed || !strings.HasSuffix(dev.String(), "V") {
		t.Errorf("closed %v after %q", dev.closed, dev.String())
	}
	(*watchdog)(nil).release() // a machine without one
}
