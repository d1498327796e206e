package stage2

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/disarm"
	"github.com/balena-community/balena-migrate/stage2/flashplan"
	"github.com/balena-community/balena-migrate/steps/host/hosttest"
)

// dogLog is a watchdog device that remembers what was written to it.
type dogLog struct {
	strings.Builder
	closed bool
}

func (d *dogLog) Close() error { d.closed = true; return nil }

// fed waits until a watchdog has been fed so often.
func fed(t *testing.T, w *watchdog, dev *dogLog, times int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		w.mu.Lock()
		n := dev.Len()
		w.mu.Unlock()
		if n >= times {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("not fed")
		}
	}
}

// Closed without the magic character, a watchdog resets the old system in the middle of its boot.
func TestWatchdogIsFedAndThenStopped(t *testing.T) {
	one, two := &dogLog{}, &dogLog{}
	w := &watchdog{dogs: []io.WriteCloser{one, two}, stop: make(chan struct{})}
	ended := make(chan struct{})
	go func() { w.feed(time.Millisecond); close(ended) }()
	fed(t, w, one, 3)
	w.release()
	<-ended
	for _, dev := range []*dogLog{one, two} {
		if !dev.closed || !strings.HasSuffix(dev.String(), ".V") {
			t.Errorf("closed %v after %q", dev.closed, dev.String())
		}
	}
	w.release() // by who comes later
	if strings.Count(one.String(), "V") != 1 {
		t.Errorf("stopped twice: %q", one.String())
	}
	(*watchdog)(nil).release() // a machine without one
	(*watchdog)(nil).feedFor(time.Hour)
}

// What does not come to its end is not fed for ever, and what is over before does not stop it.
func TestWatchdogStarvesAHang(t *testing.T) {
	dev := &dogLog{}
	w := &watchdog{dogs: []io.WriteCloser{dev}, stop: make(chan struct{})}
	w.feedFor(time.Nanosecond)
	time.Sleep(time.Millisecond)
	if w.once(); dev.Len() != 0 {
		t.Errorf("fed %q after its time", dev.String())
	}
	w.feedFor(time.Hour)
	w.once()
	w.feedFor(0)
	if w.once(); dev.String() != ".." {
		t.Errorf("fed %q, want twice", dev.String())
	}
}

// Drivers come first, then every device but that of softdog; off leaves all alone.
func TestWatchdogsAreFound(t *testing.T) {
	for name, c := range map[string]struct {
		dev  []string
		plan *schema.WatchdogPlan
		want int
	}{
		"two and softdog": {dev: []string{"watchdog", "watchdog0", "watchdog1", "watchdog2"}, plan: &schema.WatchdogPlan{Modules: []string{"/balena/modules/x.ko"}}, want: 2},
		"an old kernel":   {dev: []string{"watchdog"}, plan: &schema.WatchdogPlan{Modules: []string{}}, want: 1},
		"softdog alone":   {dev: []string{"watchdog", "watchdog2"}, plan: &schema.WatchdogPlan{Modules: []string{}}},
		"off":             {dev: []string{"watchdog", "watchdog0"}},
		"none":            {plan: &schema.WatchdogPlan{Modules: []string{}}},
	} {
		t.Run(name, func(t *testing.T) {
			h := hosttest.New(t, map[string]string{
				"/balena/modules/x.ko":                   "driver",
				"/sys/class/watchdog/watchdog2/identity": "Software Watchdog\n", "/dev/null": "",
			})
			for _, d := range c.dev {
				h.Put("/dev/"+d, "")
			}
			k := &fakeKernel{t: t, h: h, mounted: map[string]string{}}
			m := newMachine(h, k, "test")
			m.plan = &schema.FlashPlan{Watchdog: c.plan}
			m.startWatchdog()
			got := 0
			if m.dog != nil {
				got = len(m.dog.dogs)
			}
			if got != c.want || c.want == 2 && k.modules != 1 {
				t.Errorf("%d watchdogs, %d modules, want %d", got, k.modules, c.want)
			}
			m.dog.release()
			for _, d := range c.dev {
				data, err := os.ReadFile(filepath.Join(h.Root(), "/dev", d))
				if err != nil || len(data) > 0 && !strings.HasSuffix(string(data), "V") {
					t.Errorf("%s: left running with %q, %v", d, data, err)
				}
			}
		})
	}
}

// One that can't be stopped leaves the next system its time.
func TestWatchdogWithoutWayOut(t *testing.T) {
	h := hosttest.New(t, map[string]string{"/sys/class/watchdog/watchdog0/nowayout": "1\n", "/sys/class/watchdog/watchdog1/nowayout": "0\n"})
	m := newMachine(h, &fakeKernel{t: t, h: h, mounted: map[string]string{}}, "test")
	for name, want := range map[string]time.Duration{"/dev/watchdog0": endLimit, "/dev/watchdog1": dogTimeout, "/dev/watchdog": dogTimeout} {
		if got := m.dogTime(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

// The flash is fed without end, what has no stall detector is not, and a large backup takes its time.
func TestTimeRightOfTheLine(t *testing.T) {
	m := &machine{}
	for _, p := range right() {
		got := m.rightTime(p)
		if p.name == "flash" && got != 0 || p.name != "flash" && got != rightLimit {
			t.Errorf("%s: %s", p.name, got)
		}
	}
}

// However stage 2 ends, the watchdog is stopped, and last of all: who comes next may not know of it.
func TestWatchdogIsStoppedAtTheEnd(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*lab)
		ended  string
	}{
		"migrated":              {ended: "reboot"},
		"back by a reboot":      {change: func(l *lab) { _ = l.h.Remove(oldRoot + workDir + "/image.gz") }, ended: "reboot"},
		"back by the old /init": {change: func(l *lab) { _ = l.h.Remove(oldRoot + workDir + "/" + disarm.RecordName) }, ended: "exec /init"},
		"without a plan":        {change: func(l *lab) { l.h.Put(flashplan.Plan, "{}") }, ended: "exec /init"},
		"stranded":              {change: func(l *lab) { l.k.mountErr = map[string]error{"/dev/vda2": syscall.EIO} }, ended: "reboot"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			plan, err := flashplan.Load(l.h)
			if err != nil {
				t.Fatal(err)
			}
			plan.Watchdog = &schema.WatchdogPlan{Modules: []string{}}
			put(t, l.h, flashplan.Plan, plan)
			l.h.Put("/dev/watchdog0", "")
			if c.change != nil {
				c.change(l)
			}
			l.start()
			got, err := l.h.ReadFile("/dev/watchdog0")
			if l.k.ended != c.ended || err != nil || len(got) == 0 || strings.Index(string(got), "V") != len(got)-1 {
				t.Errorf("ended by %q, the watchdog got %q, %v\n%s", l.k.ended, got, err, l.log.bytes())
			}
		})
	}
}
