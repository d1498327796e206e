package stage2

import (
	"sync"
	"time"
)

// meterEvery is how often progress is logged: a serial console is slow, and the kernel's ring buffer small.
const meterEvery = 5 * time.Second

// meter is the progress of one kind of work after the other, as lines of the log.
type meter struct {
	say  func(format string, args ...any)
	now  func() time.Time
	mu   sync.Mutex
	what string
	done int64 // when it was last said
	last time.Time
	rate float64 // smoothed, in bytes/s
	over bool
}

// meter returns a progress function for the flash engine.
func (j *journal) meter() func(what string, done, total int64) {
	return (&meter{say: j.printf, now: time.Now}).show
}

// show says how far it is, at what rate, and how long it will take; at most every meterEvery, and once at the end. The
// rate is that of the last lines: data, zeros and what the drive's own cache took first differ a lot.
func (m *meter) show(what string, done, total int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	if what != m.what {
		m.what, m.done, m.last, m.rate, m.over = what, 0, now, 0, false
	}
	ends := total > 0 && done >= total
	since := now.Sub(m.last)
	if m.over || done < m.done || since < meterEvery && !ends {
		return
	}
	recent := float64(done-m.done) / max(since.Seconds(), 0.001)
	if m.rate == 0 {
		m.rate = recent
	}
	m.rate = (m.rate + recent) / 2
	m.done, m.last, m.over = done, now, ends
	left := time.Duration(float64(max(total-done, 0)) / max(m.rate, 1) * float64(time.Second))
	m.say("%s: %3d%% of %d MiB, %.1f MiB/s, %s left", what, 100*done/max(total, 1), total>>20, m.rate/(1<<20), left.Truncate(time.Second))
}
