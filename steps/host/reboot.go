package host

import (
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// systemdReboot is SIGRTMIN+5 as glibc counts, on which systemd starts reboot.target (systemd(1), "Signals").
const systemdReboot = syscall.Signal(34 + 5)

// patience is how long init may take before the kernel is told directly: a unit that does not stop must not keep a
// device, which nobody can reach any more, from its migration. systemd's own limit for a unit is 90 s.
const patience = 5 * time.Minute

// RebootAfterParent waits until the parent process has ended and then for delay, and reboots. It returns only when the
// reboot was refused.
func (r *Rooted) RebootAfterParent(delay time.Duration) error {
	for parent := os.Getppid(); os.Getppid() == parent && parent != 1; {
		time.Sleep(10 * time.Millisecond)
	}
	time.Sleep(delay)
	unix.Sync()
	if err := syscall.Kill(1, initSignal()); err != nil {
		return fmt.Errorf("tell init to reboot: %w", err)
	}
	time.Sleep(patience)
	unix.Sync()
	return unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
}

// initSignal is what makes init reboot: sysvinit and upstart take SIGINT as Ctrl-Alt-Del (init(8), inittab(5)).
func initSignal() syscall.Signal {
	if _, err := os.Stat("/run/systemd/system"); err == nil {
		return systemdReboot
	}
	return syscall.SIGINT
}
