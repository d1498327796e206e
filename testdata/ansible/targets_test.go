package ansible

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/balena-community/balena-migrate/schema"
)

// TestTargets is about devices that are not as one would wish.
func TestTargets(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	m := b.newMachine(t, "")
	for _, c := range []struct {
		name string
		test func(*testing.T, *machine)
	}{
		{"an architecture that we do not build for", testArchitecture},
		{"too little room", testTooLittleRoom},
		{"the room runs out", testRoomRunsOut},
		{"sudo with a password", testSudoPassword},
		{"the controller is lost in a long step", testLostController},
	} {
		t.Run(c.name, func(t *testing.T) {
			m.t = t
			for _, old := range []string{m.results(), filepath.Join(m.root, "fake/var/lib/balena-migrate")} {
				if err := os.RemoveAll(old); err != nil {
					t.Fatal(err)
				}
			}
			c.test(t, m)
		})
	}
}

func testArchitecture(t *testing.T, m *machine) {
	uname := filepath.Join(m.root, "usr/bin/uname")
	right := m.read(uname)
	defer m.write("usr/bin/uname", right, 0o755)
	for kind, want := range map[string]string{
		"riscv64": `the device is of the kind "riscv64" (uname -m), but balena-migrate exists for`,
		"aarch64": "needs balena-migrate-linux-arm64",
	} {
		if err := os.Remove(uname); err != nil {
			t.Fatal(err)
		}
		m.write("usr/bin/uname", "#!/bin/sh\necho "+kind+"\n", 0o755)
		run := m.migrate(t, nil)
		r := m.report(t)
		if run.code != 2 || r.Fate != schema.FateFailed || !strings.Contains(r.Reason, want) {
			t.Errorf("%s: exit code %d, %s: %q; want 2, failed, %q", kind, run.code, r.Fate, r.Reason, want)
		}
		if bin := m.find("fake/var/lib/balena-migrate/bin"); bin != "" {
			t.Errorf("%s: installed all the same:\n%s", kind, bin)
		}
	}
}

// small is a file system of 4 MiB among the device's.
func small() map[string]any {
	return map[string]any{"balena_migrate_work_dir": "/fake/small/work", "balena_migrate_bin_dir": "/fake/var/lib/balena-migrate/bin"}
}

func testTooLittleRoom(t *testing.T, m *machine) {
	run := m.migrate(t, small())
	r := m.report(t)
	want(t, r, schema.FateBlocked, "space: ", "copy:converged", "image:converged", "copy:converged", "precheck:blocked")
	if remedy := r.Last().Steps[3].Blocked[0].Remedy; run.code != 2 || !strings.Contains(remedy, "make room") {
		t.Errorf("exit code %d, remedy %q", run.code, remedy)
	}
}

// testRoomRunsOut: nobody looked whether there is room. The step says so, and leaves nothing half done.
func testRoomRunsOut(t *testing.T, m *machine) {
	vars := map[string]any{"balena_migrate_skip_checks": []string{"api", "vpn", "memory", "space"}, "balena_migrate_options": map[string]any{"disk": map[string]any{"min_free_mb": 0}}}
	for k, v := range small() {
		vars[k] = v
	}
	run := m.migrate(t, vars)
	r := m.report(t)
	if run.code != 2 || r.Fate != schema.FateFailed || !strings.Contains(r.Reason, "no space left") {
		t.Errorf("exit code %d, %s: %q; want 2 and the reason", run.code, r.Fate, r.Reason)
	}
	inside := filepath.Join("/proc", m.pid(t), "root", m.root, "fake/small")
	left := command(t, "", "find", inside, "-name", "*.part", "-o", "-name", "*.balena-new", "-o", "-name", "stage2.cpio.gz", "-size", "-14000k")
	if left != "" {
		t.Errorf("half a file is left on the full disk:\n%s", left)
	}
}

// pid is that of the device's init, who has its mounts.
func (m *machine) pid(t *testing.T) string {
	t.Helper()
	return strings.TrimSpace(command(t, "", "pgrep", "-P", fmt.Sprint(m.sshd.Process.Pid)))
}

func testSudoPassword(t *testing.T, m *machine) {
	run := m.migrate(t, nil, "-e", "ansible_user=asked", "-e", "ansible_become_password=canary")
	if run.code != 0 {
		t.Fatalf("exit code %d:\n%s", run.code, run.screen)
	}
	if r := m.report(t); r.Fate != schema.FateReady {
		t.Errorf("%s: %s", r.Fate, r.Reason)
	}
	run = m.migrate(t, nil, "-e", "ansible_user=asked")
	if r := m.report(t); run.code != 2 || r.Fate != schema.FateFailed || !strings.Contains(r.Reason, "Missing sudo password") {
		t.Errorf("without the password: exit code %d, %s: %q", run.code, r.Fate, r.Reason)
	}
}

// testLostController kills the playbook in a step that takes long. The step works on; the next run waits for it, says so,
// and does not begin a second one.
func testLostController(t *testing.T, m *machine) {
	script := source(t, "#!/bin/sh\necho begun >>/begun\nsleep 25\nmkdir -p /tmp/b/app && echo d >/tmp/b/app/data && tar -C /tmp/b -czf \"$1\" app\n")
	vars := map[string]any{"balena_migrate_backup_definition": "", "balena_migrate_backup_script": script}
	m.killDuring(t, "backup is under way", "begun", vars)
	began := time.Now()
	run := m.migrate(t, vars)
	if run.code != 0 {
		t.Fatalf("exit code %d:\n%s", run.code, run.screen)
	}
	if got := m.read(filepath.Join(m.root, "begun")); got != "begun\n" {
		t.Errorf("the script was begun:\n%s", got)
	}
	if r := run.task(t, "Back up the data"); r.Result["changed"] != true {
		t.Errorf("changed %v, want true: it was this migration that made the backup", r.Result["changed"])
	}
	if time.Since(began) > 10*time.Second && !strings.Contains(run.screen, "precheck waits for backup, which was begun before") {
		t.Errorf("the screen does not say what is waited for:\n%s", run.screen)
	}
}
