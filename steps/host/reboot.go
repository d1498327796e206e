package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// systemdReboot is SIGRTMIN+5 as glibc counts, on which systemd starts reboot.target (systemd(1), "Signals").
const systemdReboot = syscall.Signal(34 + 5)

// patience is how long init may take before the kernel is told directly: a unit that does not stop must not keep a
// device, which nobody can reach any more, from its migration. systemd's own limit for a unit is 90 s.
const patience = 5 * time.Minute

// Guard is a hardware watchdog by its device, empty for none, and how long the machine may take to restart.
type Guard struct {
	Watchdog string
	Timeout  time.Duration
}

// RebootAfterParent waits until the parent process has ended and then for delay, and reboots. When ctx ends before that,
// nothing happens; when it ends later, that is init stopping this process too, and it must not keep the machine up.
func (r *Rooted) RebootAfterParent(ctx context.Context, delay time.Duration, guard Guard) error {
	for parent := os.Getppid(); os.Getppid() == parent && parent != 1; {
		time.Sleep(10 * time.Millisecond)
	}
	if !sleep(ctx, delay) {
		return ctx.Err()
	}
	unix.Sync()
	var dog io.WriteCloser
	if guard.Watchdog != "" {
		dog = r.armForReboot(guard.Watchdog, guard.Timeout)
	}
	defer runtime.KeepAlive(dog) // closed by the end of this process, which leaves it running
	if err := syscall.Kill(1, initSignal()); err != nil {
		if dog != nil {
			err = errors.Join(err, StopWatchdog(dog))
		}
		return fmt.Errorf("tell init to reboot: %w", err)
	}
	if !sleep(ctx, patience) {
		return nil
	}
	unix.Sync()
	return unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
}

// sleep returns false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// initSignal is what makes init reboot: sysvinit and upstart take SIGINT as Ctrl-Alt-Del (init(8), inittab(5)).
func initSignal() syscall.Signal {
	if _, err := os.Stat("/run/systemd/system"); err == nil {
		return systemdReboot
	}
	return syscall.SIGINT
}
