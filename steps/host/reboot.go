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
	"unsafe"

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

// rebootParam is where systemd looks for the argument of the restart (systemd's reboot-util.c; what `systemctl reboot
// --reboot-argument=` writes, one line).
const rebootParam = "/run/systemd/reboot-param"

// Guard is a hardware watchdog by its device, empty for none, and how long the machine may take to restart.
type Guard struct {
	Watchdog string
	Timeout  time.Duration
}

// Restart is how a machine is rebooted. An Argument other than "" reaches the kernel's drivers (reboot(2),
// LINUX_REBOOT_CMD_RESTART2); only systemd passes it on, and it is an error elsewhere. Kexec goes into the kernel that is loaded
// in place of the firmware; it needs systemd too.
type Restart struct {
	Argument string
	Kexec    bool
	Guard    Guard
}

// RebootAfterParent waits until the parent process has ended and then for delay, and reboots. When ctx ends before that,
// nothing happens; when it ends later, that is init stopping this process too, and it must not keep the machine up.
func (r *Rooted) RebootAfterParent(ctx context.Context, delay time.Duration, how Restart) error {
	for parent := os.Getppid(); os.Getppid() == parent && parent != 1; {
		time.Sleep(10 * time.Millisecond)
	}
	if Sleep(ctx, delay) != nil {
		return ctx.Err()
	}
	if err := r.passArgument(how.Argument); err != nil {
		return err
	}
	unix.Sync()
	var dog io.WriteCloser
	if how.Guard.Watchdog != "" {
		dog = r.armForReboot(how.Guard.Watchdog, how.Guard.Timeout)
	}
	defer runtime.KeepAlive(dog) // closed by the end of this process, which leaves it running
	signal := r.initSignal()
	if how.Kexec {
		signal = systemdKexec
	}
	if err := syscall.Kill(1, signal); err != nil {
		if dog != nil {
			err = errors.Join(err, StopWatchdog(dog))
		}
		return fmt.Errorf("tell init to reboot: %w", err)
	}
	if Sleep(ctx, patience) != nil {
		return nil
	}
	unix.Sync()
	return restart(how)
}

// passArgument leaves the argument for init.
func (r *Rooted) passArgument(argument string) error {
	if argument == "" {
		return nil
	}
	if r.initSignal() != systemdReboot {
		return fmt.Errorf("reboot with the argument %q: found an init other than systemd, expected one that passes it on", argument)
	}
	return r.WriteFile(rebootParam, []byte(argument+"\n"), 0o644)
}

// restart has the kernel restart the machine at once.
func restart(how Restart) error {
	if how.Kexec {
		return unix.Reboot(unix.LINUX_REBOOT_CMD_KEXEC)
	}
	if how.Argument == "" {
		return unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
	}
	text, err := unix.BytePtrFromString(how.Argument)
	if err != nil {
		return err
	}
	_, _, errno := unix.Syscall6(unix.SYS_REBOOT, unix.LINUX_REBOOT_MAGIC1, unix.LINUX_REBOOT_MAGIC2,
		unix.LINUX_REBOOT_CMD_RESTART2, uintptr(unsafe.Pointer(text)), 0, 0)
	return fmt.Errorf("restart with %q: %w", how.Argument, errno) // on success it does not return
}

// initSignal is what makes init reboot: sysvinit and upstart take SIGINT as Ctrl-Alt-Del (init(8), inittab(5)).
func (r *Rooted) initSignal() syscall.Signal {
	if _, err := r.Stat("/run/systemd/system"); err == nil {
		return systemdReboot
	}
	return syscall.SIGINT
}
