package stage2

import (
	"io"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/balena-community/balena-migrate/steps/host"
)

const (
	// dogTimeout is what a watchdog is set to where it can be: much longer than PID 1 is kept from running by the work itself.
	dogTimeout = time.Minute
	// feeding is how often the watchdog is fed; the shortest timeout of common hardware is 15 s.
	feeding = 5 * time.Second
	// endLimit is how long stage 2 may take to end once it has decided to.
	endLimit = 10 * time.Minute
	// rightLimit is what a phase right of the line may take that has no stall detector of its own, beside the backup at 1 MiB/s.
	rightLimit = 2 * time.Hour
)

// watchdog is the machine's hardware watchdogs, open and fed. It resets a machine whose stage 2 hangs as a whole: when
// PID 1 is no longer scheduled, the kernel is stuck, or a phase, or the reboot after it, does not come to its end
// (Documentation/watchdog/watchdog-api.rst).
//
// Left of the line a reset ends in the old system: the one-shot entry is used up. Right of it the flash has a stall
// detector of its own and is fed without end as long as PID 1 runs: a reset half way would leave nothing to boot. Where
// not even that runs, waiting helps no more than a reset.
type watchdog struct {
	mu    sync.Mutex
	dogs  []io.WriteCloser
	until time.Time // not fed any more after this; zero is for ever
	stop  chan struct{}
}

// startWatchdog loads the drivers and opens whatever watchdog there is then. Most machines have none, and nothing depends on
// it. One that step reboot, systemd or the firmware left running is taken over by that.
func (m *machine) startWatchdog() {
	if m.plan != nil && m.plan.Watchdog == nil {
		return
	}
	if m.plan != nil {
		for _, name := range m.plan.Watchdog.Modules {
			data, err := m.ReadFile(name)
			if err == nil {
				err = m.kernel.LoadModule(data)
			}
			if err != nil {
				m.log.printf("module %s: %v", path.Base(name), err)
			}
		}
	}
	every := feeding
	w := &watchdog{stop: make(chan struct{})}
	for _, name := range m.watchdogs() {
		dog, timeout, err := m.OpenWatchdog(name, m.dogTime(name))
		if err != nil {
			m.log.printf("watchdog: %v", err)
			continue
		}
		m.log.printf("feeding the hardware watchdog %s, which waits for %s", name, timeout)
		w.dogs = append(w.dogs, dog)
		if timeout > 0 {
			every = min(every, timeout/3)
		}
	}
	if len(w.dogs) == 0 {
		return
	}
	m.dog = w
	m.dog.feedFor(leftLimit + endLimit)
	go m.dog.feed(every)
}

// dogTime is what a watchdog is set to. One that can't be stopped again (nowayout) runs on into the next system, which must
// have the time to take it over.
func (m *machine) dogTime(name string) time.Duration {
	nowayout, err := m.ReadFile("/sys/class/watchdog/" + path.Base(name) + "/nowayout")
	if err == nil && strings.TrimSpace(string(nowayout)) == "1" {
		return endLimit
	}
	return dogTimeout
}

// watchdogs are the devices. softdog is left alone, a timer of this very kernel; before Linux 3.5 there was one, and no number.
func (m *machine) watchdogs() []string {
	var out []string
	numbered := false
	entries, _ := m.ReadDir("/dev") // stage 2 goes on without a watchdog
	for _, e := range entries {
		number, ok := strings.CutPrefix(e.Name(), "watchdog")
		if !ok || number == "" {
			continue
		}
		numbered = true
		identity, err := m.ReadFile("/sys/class/watchdog/" + e.Name() + "/identity")
		if err != nil || strings.TrimSpace(string(identity)) != "Software Watchdog" {
			out = append(out, "/dev/"+e.Name())
		}
	}
	if _, err := m.Stat("/dev/watchdog"); err == nil && !numbered {
		out = append(out, "/dev/watchdog")
	}
	return out
}

// feedFor feeds for at most d from now on, 0 for ever.
func (w *watchdog) feedFor(d time.Duration) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.until = time.Time{}
	if d > 0 {
		w.until = time.Now().Add(d)
	}
}

func (w *watchdog) feed(every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		w.once()
		select {
		case <-ticker.C:
		case <-w.stop:
			return
		}
	}
}

func (w *watchdog) once() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.until.IsZero() && time.Now().After(w.until) {
		return
	}
	for _, dog := range w.dogs {
		_, _ = dog.Write([]byte{'.'}) // a watchdog that can't be fed fires, which is what it is for
	}
}

// release stops the watchdogs: who comes next, the old system's init or the new system, may not feed them. Nothing may be
// written after the magic character.
func (w *watchdog) release() {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.dogs) == 0 {
		return
	}
	close(w.stop)
	for _, dog := range w.dogs {
		_ = host.StopWatchdog(dog) // nothing is left to be done about it
	}
	w.dogs = nil
}

// rightTime is how long the watchdog is fed in a phase right of the line.
func (m *machine) rightTime(p phase) time.Duration {
	if p.watched {
		return 0
	}
	limit := rightLimit
	if m.backup != nil {
		limit += time.Duration(m.backup.Size()>>20) * time.Second
	}
	return limit
}

// reboot restarts the machine. A disk that takes no more writes hangs the kernel's sync: the watchdog is still on then.
func (m *machine) reboot() {
	m.dog.feedFor(endLimit)
	m.kernel.Sync()
	m.dog.release()
	if err := m.kernel.Reboot(); err != nil {
		m.log.printf("reboot: %v", err)
	}
}
