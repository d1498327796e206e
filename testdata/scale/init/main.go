// Command init is process 1 of a simulated device: it shuts itself into the device's root directory, gives up every right
// that reaches beyond it, and runs what the server passes on.
//
//	init ROOT device|controller
//
// Started in new process, mount, IPC and UTS namespaces, with a SOCK_SEQPACKET socket as descriptor 3. Each message there
// is a command with its number, "7 uname -m", or "kill 7", and comes with the command's three descriptors. It answers
// "exit 7 CODE", "idle" when no process of the device is left, and "reboot" when somebody asks init for that, as init(8)
// and systemd(1) are asked. It ends with the server.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	socket = 3
	// message is the longest command, in bytes.
	message = 128 << 10
	// systemdReboot is SIGRTMIN+5 (systemd(1)).
	systemdReboot = syscall.Signal(34 + 5)
)

func main() {
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "init:", err)
		os.Exit(1)
	}
}

func run(root, kind string) error {
	unix.CloseOnExec(socket)
	if err := enter(root, kind == "controller"); err != nil {
		return err
	}
	if err := giveUp(); err != nil {
		return err
	}
	d := &device{sessions: map[int]string{}}
	// Before anything is started: process 1 gets only signals that it has a handler for.
	asked, ended := make(chan os.Signal, 4), make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGINT, systemdReboot)
	signal.Notify(ended, syscall.SIGCHLD)
	go d.requests(asked)
	go d.reap(ended)
	return d.serve()
}

// enter makes root the root of this process: nothing outside it has a name any more. What a controller's own programs need
// is mounted there read-only.
func enter(root string, controller bool) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount(root, root, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s: %w", root, err)
	}
	if controller {
		for _, dir := range []string{"/usr", "/etc"} {
			if err := readOnly(dir, filepath.Join(root, dir)); err != nil {
				return err
			}
		}
		if err := unix.Mount("proc", filepath.Join(root, "proc"), "proc", unix.MS_RDONLY, ""); err != nil {
			return fmt.Errorf("mount proc: %w", err)
		}
	}
	if err := unix.Chdir(root); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot_root %s: %w", root, err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leave the old root: %w", err)
	}
	return unix.Sethostname([]byte(filepath.Base(root)))
}

func readOnly(from, to string) error {
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s: %w", from, err)
	}
	if err := unix.Mount("", to, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("make %s read-only: %w", to, err)
	}
	return nil
}

// kept are the rights over files, owners and processes of the device (capabilities(7)). Those that reach the machine are
// not among them: SYS_BOOT, SYS_ADMIN, SYS_MODULE, SYS_RAWIO, SYS_TIME, SYS_CHROOT, MKNOD, NET_ADMIN, DAC_READ_SEARCH.
const kept = 1<<unix.CAP_CHOWN | 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_FOWNER | 1<<unix.CAP_FSETID | 1<<unix.CAP_KILL |
	1<<unix.CAP_SETGID | 1<<unix.CAP_SETUID

// giveUp takes the other rights from every thread, and from whatever they start.
func giveUp() error {
	for c := uintptr(0); c <= unix.CAP_LAST_CAP; c++ {
		if kept>>c&1 == 1 {
			continue
		}
		if _, _, errno := syscall.AllThreadsSyscall(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, c, 0); errno != 0 && errno != unix.EINVAL {
			return fmt.Errorf("drop capability %d: %w", c, errno)
		}
	}
	return limit()
}

type device struct {
	mu       sync.Mutex
	sessions map[int]string // process to number
}

func (d *device) say(format string, args ...any) {
	// When the server is gone, serve notices.
	_ = unix.Send(socket, fmt.Appendf(nil, format, args...), 0)
}

// requests passes on that somebody wants the device to reboot.
func (d *device) requests(asked <-chan os.Signal) {
	for range asked {
		d.say("reboot")
	}
}

// serve runs commands until the server hangs up.
func (d *device) serve() error {
	data, control := make([]byte, message), make([]byte, 256)
	for {
		n, c, _, _, err := unix.Recvmsg(socket, data, control, unix.MSG_CMSG_CLOEXEC)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n == 0 {
			return err
		}
		files, err := descriptors(control[:c])
		if err != nil {
			return err
		}
		number, command, _ := strings.Cut(string(data[:n]), " ")
		if number == "kill" {
			d.kill(command)
		} else {
			d.start(number, command, files)
		}
		for _, f := range files {
			unix.Close(int(f))
		}
	}
}

func descriptors(control []byte) ([]uintptr, error) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return nil, err
	}
	var files []uintptr
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			return nil, err
		}
		for _, fd := range fds {
			files = append(files, uintptr(fd))
		}
	}
	return files, nil
}

// start runs a command as sshd does: by the user's shell, in a session of its own.
func (d *device) start(number, command string, files []uintptr) {
	d.mu.Lock()
	defer d.mu.Unlock()
	pid, err := syscall.ForkExec("/bin/sh", []string{"sh", "-c", command}, &syscall.ProcAttr{
		Dir: "/home/admin", Files: files, Sys: &syscall.SysProcAttr{Setsid: true},
		Env: []string{"HOME=/home/admin", "USER=admin", "SHELL=/bin/sh", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "init:", err)
		d.say("exit %s 127", number)
		return
	}
	d.sessions[pid] = number
}

// kill ends a command with all of its session.
func (d *device) kill(number string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for pid, n := range d.sessions {
		if n == number {
			_ = syscall.Kill(-pid, syscall.SIGKILL) // it may have ended already
		}
	}
}

// reap collects what ended, orphans too.
func (d *device) reap(ended <-chan os.Signal) {
	for range ended {
		d.mu.Lock()
		for {
			var ws syscall.WaitStatus
			pid, err := syscall.Wait4(-1, &ws, syscall.WNOHANG, nil)
			if err == syscall.ECHILD {
				d.say("idle")
			}
			if err != nil || pid == 0 {
				break
			}
			if number, ok := d.sessions[pid]; ok {
				delete(d.sessions, pid)
				d.say("exit %s %s", number, code(ws))
			}
		}
		d.mu.Unlock()
	}
}

// code is a shell's exit code for it.
func code(ws syscall.WaitStatus) string {
	if ws.Signaled() {
		return strconv.Itoa(128 + int(ws.Signal()))
	}
	return strconv.Itoa(ws.ExitStatus())
}
