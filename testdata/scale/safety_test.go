package scale

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// build compiles a program of the project, static.
func build(t *testing.T, pkg, name string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), name)
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", out, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", pkg, err, said)
	}
	return out
}

// newFleet is a fleet without devices.
func newFleet(t *testing.T) *Fleet {
	t.Helper()
	dir := t.TempDir()
	f, err := NewFleet(dir, build(t, "./init", "init"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

// ssh runs a command on a device.
func (f *Fleet) ssh(t *testing.T, d *Device, command string) (string, int) {
	t.Helper()
	cmd := exec.Command("ssh", "-F", "/dev/null", "-i", f.Key(), "-o", "UserKnownHostsFile="+f.KnownHosts(), "-o", "StrictHostKeyChecking=yes",
		"-o", "BatchMode=yes", "-p", sprint(f.Port()), "admin@"+d.Address, command)
	out, _ := cmd.CombinedOutput()
	return string(out), cmd.ProcessState.ExitCode()
}

// TestNothingReachesTheMachine: before any step may reboot a device, a device can't reboot anything else, and has no name
// for anything outside its root.
func TestNothingReachesTheMachine(t *testing.T) {
	f := newFleet(t)
	d := &Device{Name: "a", Root: filepath.Join(f.Dir, "a"), kind: "device"}
	if err := Clone(Template(t, Kinds()[0]), d.Root); err != nil {
		t.Fatal(err)
	}
	f.Add(d)
	rights, code := f.ssh(t, d, "sleep 2 & echo $!; wait")
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, rights)
	}
	held(t, d)
	outside := filepath.Join(t.TempDir(), "outside")
	for _, c := range []struct{ command, want string }{
		{"reboot -f", "not permitted"},
		{"poweroff -f", "not permitted"},
		{"mount -t tmpfs tmpfs /tmp", "ermi"},
		{"mknod /tmp/sda b 254 0", "not permitted"},
		{"chroot / /bin/true", "not permitted"},
		{"insmod /bin/busybox", "can't insert"},
		{"date -s 2001-01-01 2>&1 | grep 'not permitted' && exit 1", "not permitted"},
		{"hostname other", "ermi"},
		{"kill -9 " + sprint(os.Getpid()), "No such process"},
		{"echo x >" + outside, "nonexistent"},
		{"ls /root", "No such file"},
	} {
		out, code := f.ssh(t, d, c.command)
		if code == 0 || !strings.Contains(out, c.want) {
			t.Errorf("%s: exit code %d, %q; want a refusal with %q", c.command, code, out, c.want)
		}
	}
	if _, err := os.Stat(outside); err == nil {
		t.Error("a file appeared outside the device")
	}
	if _, code := f.ssh(t, d, "kill -INT 1; sleep 5"); code == 0 {
		t.Error("the session outlived the reboot of its device")
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(d.Root); os.IsNotExist(err) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the device was asked to reboot and is still its old system")
		}
	}
}

// held looks at the rights of the device's processes from outside.
func held(t *testing.T, d *Device) {
	t.Helper()
	go func() { _, _ = d.fleet.ssh(t, d, "sleep 3") }()
	var pid string
	for deadline := time.Now().Add(10 * time.Second); pid == "" && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		d.mu.Lock()
		if d.system != nil {
			pid = sprint(d.system.cmd.Process.Pid)
		}
		d.mu.Unlock()
		if n, err := strconv.Atoi(pid); err == nil {
			pid = ""
			if children := family(n)[1:]; len(children) > 0 {
				pid = sprint(children[0])
			}
		}
	}
	status, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		t.Fatal(err)
	}
	for _, set := range []string{"CapBnd", "CapPrm", "CapEff"} {
		if !regexp.MustCompile(set + `:\t00000000000000fb\n`).Match(status) {
			t.Fatalf("a device's process has other rights than over files and processes; nothing may run there:\n%s", status)
		}
	}
	if ours, theirs := link(t, "self"), link(t, pid); ours == theirs {
		t.Fatalf("a device's process is in our process namespace, %s", ours)
	}
}

func link(t *testing.T, pid string) string {
	t.Helper()
	target, err := os.Readlink("/proc/" + pid + "/ns/pid")
	if err != nil {
		t.Fatal(err)
	}
	return target
}
