package host

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Signals to systemd, SIGRTMIN+5 and +6 as glibc counts: it starts reboot.target and kexec.target (systemd(1), "Signals").
// Either stops every service and unmounts what there is; the second ends in the kernel that is loaded, and without one in
// an ordinary reboot (systemd-shutdown, src/shutdown/shutdown.c).
const (
	systemdReboot = syscall.Signal(34 + 5)
	systemdKexec  = syscall.Signal(34 + 6)
)

// patience is how long init may take before the kernel is told directly: a unit that does not stop must not keep a
// device, which nobody can reach any more, from its migration. systemd's own limit for a unit is 90 s.
const patience = 5 * time.Minute

// RebootAfterParent waits until the parent process has ended and then for delay, and reboots. When ctx ends before that,
// nothing happens; when it ends later, that is init stopping this process too, and it must not keep the machine up.
// kexec goes into the kernel that is loaded in place of the firmware; it needs systemd.
func (r *Rooted) RebootAfterParent(ctx context.Context, delay time.Duration, kexec bool) error {
	for parent := os.Getppid(); os.Getppid() == parent && parent != 1; {
		time.Sleep(10 * time.Millisecond)
	}
	if !sleep(ctx, delay) {
		return ctx.Err()
	}
	unix.Sync()
	signal, command := initSignal(), unix.LINUX_REBOOT_CMD_RESTART
	if kexec {
		signal, command = systemdKexec, unix.LINUX_REBOOT_CMD_KEXEC
	}
	if err := syscall.Kill(1, signal); err != nil {
		return fmt.Errorf("tell init to reboot: %w", err)
	}
	if !sleep(ctx, patience) {
		return nil
	}
	unix.Sync()
	return unix.Reboot(command)
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
