// Package stage2 is the migration itself: it runs as PID 1 out of an initramfs, takes the image into memory, lets go of
// the disk, writes balenaOS over it, proves it, adds configuration, networks and data, and boots into it.
//
// The sequence has a line in it, the first write. Left of the line any failure ends in the old system, with its boot
// configuration as it was and the reason where `balena-migrate status` finds it. Right of the line there is no old
// system any more: what fails is tried again from memory, then the reason stays on the console for a while, then the
// machine reboots. PID 1 never returns: the kernel would panic.
package stage2

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/flashplan"
	"github.com/balena-community/balena-migrate/steps/host"
)

const (
	// leftLimit bounds everything left of the line: a device that hangs there is brought back by a reboot.
	leftLimit = time.Hour
	// hold is how long the reason of a failure stays on the console before the reboot.
	hold = time.Minute
	// heapLimit keeps the collector from letting the heap grow on small machines, in bytes; the image is outside it.
	heapLimit = 32 << 20
)

// IsInit says whether this process is stage 2: PID 1, started under its name, out of a file system in memory. PID 1
// alone is true in a container too.
func IsInit(pid int, name string, r host.Reader) bool {
	if pid != 1 || name != flashplan.Binary || !host.IsInitramfs() {
		return false
	}
	_, err := r.Stat(flashplan.Plan)
	return err == nil
}

// Main runs stage 2. It never returns.
func Main(version string) {
	debug.SetMemoryLimit(heapLimit)
	m := newMachine(host.At("/"), host.Linux{}, version)
	m.run(context.Background())
	for { // nothing but a refused reboot leads here
		m.log.printf("reboot was refused; trying again")
		m.kernel.Sleep(time.Second)
		_ = m.kernel.Reboot()
	}
}

// run goes through the sequence and ends in a reboot, or in the old system's init.
func (m *machine) run(ctx context.Context) {
	guard := time.AfterFunc(leftLimit, m.tooLong)
	for _, p := range left() {
		if err := m.try(ctx, p); err != nil {
			m.giveUp(p.name, err)
			return
		}
		if m.rehearsed {
			m.comeBack()
			return
		}
	}
	guard.Stop()
	m.crossed.Store(true)
	m.log.printf("====== point of no return: writing over %s ======", m.disk.Name)
	for _, p := range right() {
		if err := m.insist(ctx, p); err != nil {
			m.strand(p.name, err)
			return
		}
	}
	m.restart()
}

// tooLong reboots a stage 2 that hangs left of the line.
func (m *machine) tooLong() {
	if !m.crossed.Load() {
		m.log.printf("not ready to write after %s: rebooting into the old system", leftLimit)
		m.reboot()
	}
}

// try runs a phase once; a panic in it is an error like any other.
func (m *machine) try(ctx context.Context, p phase) (err error) {
	start := time.Now()
	m.outcome.Phase = p.name
	m.log.printf("%s", p.name)
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
			m.log.printf("%s", debug.Stack())
		}
		m.outcome.Phases = append(m.outcome.Phases, schema.PhaseNote{Name: p.name, Seconds: seconds(time.Since(start))})
		m.keepLog()
	}()
	fault(p.name)
	return p.run(m, ctx)
}

// insist tries a phase right of the line until it succeeds, at most phaseAttempts times.
func (m *machine) insist(ctx context.Context, p phase) error {
	var err error
	for n := 1; n <= phaseAttempts; n++ {
		m.dog.feedFor(m.rightTime(p))
		if err = m.try(ctx, p); err == nil {
			return nil
		}
		m.log.printf("%s, attempt %d of %d: %v", p.name, n, phaseAttempts, err)
		m.kernel.Sleep(time.Duration(n) * time.Second)
	}
	return err
}

// seconds rounds for documents.
func seconds(d time.Duration) float64 { return float64(d.Milliseconds()) / 1000 }
