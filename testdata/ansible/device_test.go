package ansible

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// bench is what all tests share: the executables and the tree of the device.
type bench struct {
	binaries string // folder with balena-migrate-linux-amd64, as make dist leaves it
	tree     string // root tree of a device; never written to
	// controller is the root tree of another controller; empty for this machine.
	controller string
}

// newBench builds what is missing.
func newBench(t *testing.T) bench {
	t.Helper()
	b := bench{binaries: t.TempDir(), tree: filepath.Join(cacheDir(t), "ansible-target")}
	command(t, "", "./target.sh", b.tree)
	command(t, "CGO_ENABLED=0", "go", "build", "-trimpath", "-o", filepath.Join(b.binaries, "balena-migrate-linux-amd64"),
		"../../cmd/balena-migrate")
	return b
}

// cacheDir is the lab's folder of built things.
func cacheDir(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("BALENA_LAB_DIR")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			t.Fatal(err)
		}
		dir = filepath.Join(home, ".cache", "balena-migrate-lab")
	}
	return dir
}

// command runs a program that has to succeed, with one more environment variable unless env is empty.
func command(t *testing.T, env string, argv ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	if env != "" {
		cmd.Env = append(cmd.Env, env)
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
	return string(out)
}

// device is a Debian tree with a running sshd, in process and mount namespaces of its own.
type device struct {
	t    *testing.T
	dir  string // keys, log
	root string // its own copy of the tree
	port int
	sshd *exec.Cmd
	// startup is the script that brings it up.
	startup string
}

// At VERBOSE sshd logs each session, which the tests count.
const sshdConfig = `
ListenAddress 127.0.0.1
HostKey /etc/ssh/host_key
AuthorizedKeysFile /etc/ssh/authorized
UsePAM no
LogLevel VERBOSE
Subsystem sftp internal-sftp
`

// startup mounts what a device has: /proc, a full file system, and one that executes nothing.
const startup = `mount -t proc proc "$0/proc" && mkdir -p "$0/small" "$0/noexec" &&
mount -t tmpfs -o size=1m,mode=755 tmpfs "$0/small" && mount -t tmpfs -o noexec,mode=755 tmpfs "$0/noexec" &&
exec chroot "$0" /usr/sbin/sshd -D -e -p "$1" -f /etc/ssh/test_config`

// newDevice starts a device of its own for a test.
func (b bench) newDevice(t *testing.T) *device {
	t.Helper()
	d := b.stoppedDevice(t, "")
	d.start()
	t.Cleanup(d.stop)
	return d
}

// stoppedDevice makes a device with some lines more in sshd's configuration.
func (b bench) stoppedDevice(t *testing.T, lines string) *device {
	t.Helper()
	d := &device{t: t, dir: t.TempDir(), port: freePort(t), startup: startup}
	d.root = filepath.Join(d.dir, "root")
	command(t, "", "cp", "-a", "--reflink=auto", b.tree+"/.", d.root)
	command(t, "", "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(d.dir, "key"))
	public, err := os.ReadFile(filepath.Join(d.dir, "key.pub"))
	if err != nil {
		t.Fatal(err)
	}
	d.write("etc/ssh/authorized", string(public), 0o644)
	d.write("etc/ssh/test_config", sshdConfig+lines, 0o644)
	d.newHostKey()
	d.trust()
	return d
}

// in hands the device to a test as if nothing had ever been installed.
func (d *device) in(t *testing.T) *device {
	t.Helper()
	d.t = t
	if err := os.RemoveAll(filepath.Join(d.root, "var/lib/balena-migrate")); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(d.log(), 0); err != nil {
		t.Fatal(err)
	}
	return d
}

// newHostKey gives the device another identity.
func (d *device) newHostKey() {
	d.t.Helper()
	key := filepath.Join(d.root, "etc/ssh/host_key")
	for _, name := range []string{key, key + ".pub"} {
		if err := os.RemoveAll(name); err != nil {
			d.t.Fatal(err)
		}
	}
	command(d.t, "", "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
}

// trust makes the device's present identity the known one.
func (d *device) trust() {
	d.t.Helper()
	public, err := os.ReadFile(filepath.Join(d.root, "etc/ssh/host_key.pub"))
	if err != nil {
		d.t.Fatal(err)
	}
	line := fmt.Sprintf("[127.0.0.1]:%d %s", d.port, public)
	if err := os.WriteFile(filepath.Join(d.dir, "known_hosts"), []byte(line), 0o600); err != nil {
		d.t.Fatal(err)
	}
}

// start brings sshd up and waits for its port.
func (d *device) start() {
	d.t.Helper()
	log, err := os.OpenFile(d.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		d.t.Fatal(err)
	}
	defer log.Close()
	d.sshd = exec.Command("unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", d.startup, d.root, fmt.Sprint(d.port))
	d.sshd.Stderr = log
	d.sshd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := d.sshd.Start(); err != nil {
		d.t.Fatal(err)
	}
	d.awaitPort(true)
}

// awaitPort waits until something listens, or nothing does any more.
func (d *device) awaitPort(open bool) {
	d.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", d.port))
		if err == nil {
			conn.Close()
		}
		if open == (err == nil) {
			return
		}
		if time.Now().After(deadline) {
			d.t.Fatalf("sshd's port: listening %v (%v), want %v\n%s", !open, err, open, d.read(d.log()))
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// stop ends sshd with all of its sessions: the namespace's first process takes the others with it.
func (d *device) stop() {
	if d.sshd == nil {
		return
	}
	_ = d.sshd.Process.Kill()
	_ = d.sshd.Wait() // it was killed
	d.sshd = nil
	d.awaitPort(false)
}

func (d *device) log() string { return filepath.Join(d.dir, "sshd.log") }

// count says how often sshd's log has a text.
func (d *device) count(text string) int { return strings.Count(d.read(d.log()), text) }

// sessions counts what reached the device.
func (d *device) sessions() int { return d.count("Starting session: command for") }

// write makes a file on the device.
func (d *device) write(name, text string, mode os.FileMode) {
	d.t.Helper()
	path := filepath.Join(d.root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		d.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		d.t.Fatal(err)
	}
}

// read returns a file of the controller.
func (d *device) read(path string) string {
	d.t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		d.t.Fatal(err)
	}
	return string(data)
}

// find lists a folder of the device, "" if it does not exist, one path with mode, size and digest per line.
func (d *device) find(folder string) string {
	d.t.Helper()
	return command(d.t, "", "sh", "-c", `cd "$0" && [ ! -e "$1" ] || find "$1" -xdev -printf "%p %M %s %T@ %l\n" | sort
		cd "$0" && [ ! -e "$1" ] || find "$1" -xdev -type f -exec sha256sum {} + | sort -k 2`, d.root, folder)
}

// freePort returns a port nobody listens on.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
