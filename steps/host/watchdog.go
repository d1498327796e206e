package host

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// OpenWatchdog implements Host. To open a watchdog starts it, and any write feeds it (Documentation/watchdog/watchdog-api.rst).
// A driver that can't be told a time, or not this one, keeps its own.
func (r *Rooted) OpenWatchdog(name string, timeout time.Duration) (io.WriteCloser, time.Duration, error) {
	p, err := r.find(name)
	if err != nil {
		return nil, 0, err
	}
	f, err := os.OpenFile(p, os.O_WRONLY, 0)
	if err != nil {
		return nil, 0, named(err, name)
	}
	_ = unix.IoctlSetPointerInt(int(f.Fd()), unix.WDIOC_SETTIMEOUT, int(timeout/time.Second)) // what holds is asked next
	seconds, err := unix.IoctlGetInt(int(f.Fd()), unix.WDIOC_GETTIMEOUT)
	if err != nil {
		return f, 0, nil //nolint:nilerr // a driver that does not tell still works
	}
	return f, time.Duration(seconds) * time.Second, nil
}

// StopWatchdog closes a watchdog so that it does not fire any more: without the magic character it runs on.
func StopWatchdog(w io.WriteCloser) error {
	_, err := w.Write([]byte{'V'})
	if cerr := w.Close(); err == nil {
		err = cerr
	}
	return err
}

// armForReboot starts a watchdog for the time until the next system is up. Nobody feeds it: init ends this process, the
// watchdog runs on, and resets a machine that hangs. One whose time is not as long as it was said to be is stopped again.
func (r *Rooted) armForReboot(name string, timeout time.Duration) io.WriteCloser {
	w, got, err := r.OpenWatchdog(name, timeout)
	if err == nil && got != timeout {
		err = errors.Join(fmt.Errorf("%s takes %s, not %s", name, got, timeout), StopWatchdog(w))
	}
	if err != nil {
		r.say(fmt.Sprintf("rebooting without a watchdog: %v", err))
		return nil
	}
	r.say(fmt.Sprintf("%s resets the machine if it has not restarted in %s", name, timeout))
	return w
}

// say leaves a line in the kernel's log, which the old system's journal keeps.
func (r *Rooted) say(text string) {
	kmsg, err := r.OpenDevice("/dev/kmsg")
	if err != nil {
		return // there is no other place to say it
	}
	fmt.Fprintln(kmsg, "<5>balena-migrate: "+text)
	_ = kmsg.Close() // nothing is buffered
}
