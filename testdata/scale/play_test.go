package scale

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"golang.org/x/sys/unix"

	"github.com/balena-community/balena-migrate/steps/host/hosttest"
)

// controller is where the operator sits: the executable, the files of the fleet, and one directory per fleet in memory.
type controller struct {
	dir      string
	binaries string
	init     string
	files    string // image and config.json
}

func newController(t *testing.T) *controller {
	t.Helper()
	c := &controller{dir: t.TempDir(), files: t.TempDir(), init: build(t, "./init", "init")}
	if err := unix.Mount("tmpfs", c.dir, "tmpfs", 0, "size=8g,mode=755"); err != nil {
		t.Fatalf("mount tmpfs: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(c.dir, unix.MNT_DETACH) })
	c.binaries = filepath.Dir(build(t, "../../cmd/balena-migrate", "balena-migrate-linux-amd64"))
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	image := hosttest.Image(t)
	clear(image[16<<20+256<<10:]) // a quarter of a MiB does not compress
	if _, err := w.Write(image); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	c.put(t, "image.gz", packed.String())
	c.put(t, "config.json", `{"apiEndpoint": "https://api.balena-cloud.com", "vpnEndpoint": "cloudlink.balena-cloud.com", "vpnPort": 443,
		"registryEndpoint": "registry2.balena-cloud.com", "deltaEndpoint": "https://delta.balena-cloud.com", "applicationId": 1,
		"deviceType": "genericx86-64-ext", "listenPort": 48484, "appUpdatePollInterval": 900000, "apiKey": "canary-key"}`)
	return c
}

func (c *controller) put(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(c.files, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// devices makes a fleet of n devices of all kinds. fault says what is wrong with number i.
func (c *controller) devices(t *testing.T, n int, fault func(i int) Fault) *Fleet {
	t.Helper()
	dir, err := os.MkdirTemp(c.dir, "f")
	if err != nil {
		t.Fatal(err)
	}
	f, err := NewFleet(dir, c.init)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	var templates []string
	for i, kind := range Kinds() {
		at := filepath.Join(dir, fmt.Sprintf("kind%d", i))
		if err := exec.Command("cp", "-a", "--sparse=always", Template(t, kind), at).Run(); err != nil {
			t.Fatalf("copy %s: %v", kind, err)
		}
		templates = append(templates, at)
	}
	for i := range n {
		d := &Device{Name: fmt.Sprintf("device-%04d", i), Fault: fault(i), kind: "device"}
		d.Root = filepath.Join(dir, d.Name)
		if err := errors.Join(Clone(templates[i%len(templates)], d.Root), Fit(d.Root, d.Fault), c.supply(d, i)); err != nil {
			t.Fatal(err)
		}
		f.Add(d)
	}
	f.inventory(t)
	return f
}

// supply gives nine devices of ten the operator's files, as an earlier run would have. The tenth gets them by ssh.
func (c *controller) supply(d *Device, i int) error {
	if i%10 == 0 {
		return nil
	}
	input := filepath.Join(d.Root, workDir, "input")
	if err := os.MkdirAll(input, 0o700); err != nil {
		return err
	}
	for _, name := range []string{"image.gz", "config.json"} {
		data, err := os.ReadFile(filepath.Join(c.files, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(input, name), data, 0o600)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// inventory is what an operator would write for the fleet. dd through ssh is one of the ways to copy that Ansible has.
func (f *Fleet) inventory(t *testing.T) {
	t.Helper()
	var b strings.Builder
	for _, d := range f.Devices {
		fmt.Fprintf(&b, "%s ansible_host=%s\n", d.Name, d.Address)
	}
	fmt.Fprintf(&b, `
[all:vars]
ansible_user=admin
ansible_port=%d
ansible_ssh_private_key_file=%s
ansible_ssh_common_args='-F /dev/null -o UserKnownHostsFile=%s -o StrictHostKeyChecking=yes -o PreferredAuthentications=publickey'
ansible_ssh_transfer_method=piped
`, f.Port(), f.Key(), f.KnownHosts())
	if err := os.WriteFile(filepath.Join(f.Dir, "inventory.ini"), []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
}

// run is one ansible-playbook, and what it took.
type run struct {
	code   int
	screen string
	wall   time.Duration
	cpu    time.Duration // of ansible-playbook and of what it waited for
	usage  usage
}

// play runs a playbook over a fleet, with nothing of the caller's own Ansible in the way.
func (c *controller) play(t *testing.T, f *Fleet, book string, args ...string) run {
	t.Helper()
	sockets := f.sockets(t)
	log := filepath.Join(f.Dir, "screen")
	screen, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	defer screen.Close()
	collections, err := filepath.Abs("../../ansible/collections")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("ansible-playbook", append([]string{"-i", filepath.Join(f.Dir, "inventory.ini"), "-f", "50", book}, args...)...)
	cmd.Env = append(os.Environ(),
		"ANSIBLE_CONFIG="+filepath.Join(f.Dir, "ansible.cfg"), "ANSIBLE_HOME="+filepath.Join(f.Dir, "ansible"), "HOME="+f.Dir,
		"ANSIBLE_LOCAL_TEMP="+filepath.Join(f.Dir, "ansible", "tmp"), "ANSIBLE_NOCOLOR=1", "ANSIBLE_FORCE_COLOR=0", "LC_ALL=C.UTF-8",
		"ANSIBLE_SSH_CONTROL_PATH_DIR="+sockets, "ANSIBLE_COLLECTIONS_PATH="+collections, "BALENA_MIGRATE_BINARIES="+c.binaries)
	cmd.Stdout, cmd.Stderr = screen, screen
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	watch := watchUsage(cmd.Process.Pid, sockets)
	err = cmd.Wait()
	r := run{wall: time.Since(began), usage: watch(), code: cmd.ProcessState.ExitCode()}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	r.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	said, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	r.screen = string(said)
	return r
}

// sockets is the directory of ssh's lasting connections to a fleet. Names of sockets are short, so it is none of the test's.
func (f *Fleet) sockets(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("cp%d", f.Port()))
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		endMasters(dir)
		_ = os.RemoveAll(dir)
	})
	return dir
}

// endMasters ends ssh's lasting connections, which would outlive the test by a minute.
func endMasters(sockets string) {
	for _, pid := range masters(sockets) {
		_ = syscall.Kill(pid, syscall.SIGTERM)
	}
}
