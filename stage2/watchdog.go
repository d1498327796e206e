package stage2

import (
	"io"
	"sync"
	"time"
)

// feeding is how often the watchdog is fed; the shortest timeout of common hardware is 15 s.
const feeding = 5 * time.Second

// watchdog is an open hardware watchdog. It keeps a stage 2 that hangs as a whole from hanging for ever: it fires when
// PID 1 is no longer scheduled (Documentation/watchdog/watchdog-api.rst).
type watchdog struct {
	mu   sync.Mutex
	dev  io.WriteCloser
	stop chan struct{}
}

// feedWatchdog opens the watchdog and feeds it from now on. Most machines have none.
func (m *machine) feedWatchdog() {
	dev, err := m.OpenDevice("/dev/watchdog")
	if err != nil {
		return
	}
	m.log.printf("feeding the hardware watchdog")
	m.dog = &watchdog{dev: dev, stop: make(chan struct{})}
	go m.dog.feed(feeding)
}

func (w *watchdog) feed(every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		w.write('.')
		select {
		case <-ticker.C:
		case <-w.stop:
			return
		}
	}
}

func (w *watchdog) write(b byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dev != nil {
		_, _ = w.dev.Write([]byte{b}) // a watchdog that can't be fed fires, which is what it is for
	}
}

// release stops the watchdog: who comes next, the old system's init or the new system, may not feed it. 'V' is the
// magic character without which closing leaves it running; nothing may be written after it.
func (w *watchdog) release() {
	if w == nil {
		return
	}
	close(w.stop)
	w.mu.Lock()
	defer w.mu.Unlock()
	_, _ = w.dev.Write([]byte{'V'})
	_ = w.dev.Close() // nothing is left to be done about it
	w.dev = nil
}
