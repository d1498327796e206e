package scale

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// machine is the running system of a device: process 1 and what it started.
type machine struct {
	cmd    *exec.Cmd
	socket *net.UnixConn
	reboot func()         // called when somebody on the device asks for it
	rest   func(*machine) // called when nothing runs on it any more

	mu      sync.Mutex
	number  int
	waiting map[string]chan int
	idle    *time.Timer
	dead    bool
}

// boot starts process 1 in new namespaces. With nothing to do for as long as linger it ends, and a new one is started
// when somebody comes: a device that idles takes no memory.
func boot(program, root, kind string, linger time.Duration, reboot func(), rest func(*machine)) (*machine, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	theirs, ours := os.NewFile(uintptr(pair[0]), "init"), os.NewFile(uintptr(pair[1]), "server")
	defer theirs.Close()
	defer ours.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		return nil, err
	}
	m := &machine{socket: conn.(*net.UnixConn), reboot: reboot, rest: rest, waiting: map[string]chan int{}}
	m.cmd = exec.Command(program, root, kind)
	m.cmd.ExtraFiles = []*os.File{theirs}
	m.cmd.Stderr = os.Stderr
	m.cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC, Setsid: true,
	}
	if err := m.cmd.Start(); err != nil {
		m.socket.Close()
		return nil, err
	}
	m.idle = time.AfterFunc(time.Hour, func() { m.stopIdle() })
	m.idle.Stop()
	go m.listen(linger)
	return m, nil
}

// listen takes what process 1 says, to its end.
func (m *machine) listen(linger time.Duration) {
	buffer := make([]byte, 128)
	for {
		n, err := m.socket.Read(buffer)
		if err != nil || n == 0 {
			break
		}
		words := strings.Fields(string(buffer[:n]))
		switch words[0] {
		case "reboot":
			go m.reboot()
		case "idle":
			m.rest(m)
			m.mu.Lock()
			if len(m.waiting) == 0 {
				m.idle.Reset(linger)
			}
			m.mu.Unlock()
		case "exit":
			var code int
			fmt.Sscan(words[2], &code)
			m.answer(words[1], code)
		}
	}
	m.end()
}

func (m *machine) answer(number string, code int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if done, ok := m.waiting[number]; ok {
		delete(m.waiting, number)
		done <- code
	}
}

// end lets go of all who wait: the system is down.
func (m *machine) end() {
	m.mu.Lock()
	m.dead = true
	m.idle.Stop()
	for number, done := range m.waiting {
		delete(m.waiting, number)
		close(done)
	}
	m.mu.Unlock()
	m.socket.Close()
	_ = m.cmd.Wait() // however it ended
}

// busy says whether a command runs.
func (m *machine) busy() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.waiting) > 0
}

// stop ends the system at once, with all that runs on it.
func (m *machine) stop() {
	m.mu.Lock()
	m.dead = true
	m.mu.Unlock()
	_ = m.cmd.Process.Kill()
}

func (m *machine) stopIdle() {
	m.mu.Lock()
	idle := len(m.waiting) == 0
	m.dead = m.dead || idle
	m.mu.Unlock()
	if idle {
		_ = m.socket.CloseWrite() // process 1 ends, and listen then sees it
	}
}

// run starts a command with its standard descriptors. The channel gives its exit code, or is closed when the system went
// down. ok is false when it is down already.
func (m *machine) run(command string, files [3]*os.File) (number string, done <-chan int, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead {
		return "", nil, false
	}
	m.idle.Stop()
	m.number++
	number = fmt.Sprint(m.number)
	rights := unix.UnixRights(int(files[0].Fd()), int(files[1].Fd()), int(files[2].Fd()))
	if _, _, err := m.socket.WriteMsgUnix([]byte(number+" "+command), rights, nil); err != nil {
		return "", nil, false
	}
	ended := make(chan int, 1)
	m.waiting[number] = ended
	return number, ended, true
}

func (m *machine) kill(number string) {
	_, _ = m.socket.Write([]byte("kill " + number)) // a system that is down needs no killing
}
