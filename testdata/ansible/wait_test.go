package ansible

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
)

const anotherBoot = "00000000-0000-0000-0000-000000000000"

const waitTask = `
- name: Wait
  balena_community.migrate.wait:
    old_boot_id: "{{ boot }}"
    timeout: 3
    interval: 1
    settle: 1
`

func TestWait(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := b.newDevice(t)
	t.Run("the old system is back", func(t *testing.T) { testCameBack(t, b, d.in(t)) })
	t.Run("it did not reboot", func(t *testing.T) { testSameBoot(t, b, d.in(t)) })
	t.Run("another system answers", func(t *testing.T) { testAnotherSystem(t, b, d.in(t)) })
	t.Run("check mode does not wait", func(t *testing.T) { testWaitCheck(t, b, d.in(t)) })
	t.Run("the login is refused", func(t *testing.T) { testRefused(t, b, d.in(t)) })
	t.Run("the host key is another", func(t *testing.T) { testHostKey(t, b, d.in(t)) })
	t.Run("nothing answers", func(t *testing.T) { testSilence(t, b, d.in(t)) })
	t.Run("the port is open and says nothing", func(t *testing.T) { testHang(t, b, d.in(t)) })
}

// fate runs the task and holds it to a verdict.
func (d *device) fate(t *testing.T, b bench, boot string, cameBack, left bool) result {
	t.Helper()
	r := d.play(b, waitTask, "-e", "boot="+boot).task(t, "Wait")
	if r.State != "ok" || r.Result["came_back"] != cameBack || r.Result["left"] != left || r.Result["changed"] != false {
		t.Fatalf("%s, came back %v, left %v, changed %v; want ok, %v, %v, false: %v", r.State, r.Result["came_back"],
			r.Result["left"], r.Result["changed"], cameBack, left, r.Result["msg"])
	}
	return r
}

// bootID is this boot's: the device runs on the kernel of the test.
func bootID(t *testing.T) string {
	t.Helper()
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(id))
}

func testCameBack(t *testing.T, b bench, d *device) {
	d.play(b, precheck) // installs
	r := d.fate(t, b, anotherBoot, true, false)
	status, ok := r.Result["status"].(map[string]any)
	if !ok || status["schema"] != "status/1" || status["boot_id"] != bootID(t) || r.Result["boot_id"] != bootID(t) {
		t.Errorf("status %v of boot %v, want the executable's answer for boot %s", r.Result["status"], r.Result["boot_id"], bootID(t))
	}
}

func testSameBoot(t *testing.T, b bench, d *device) {
	r := d.fate(t, b, bootID(t), false, false)
	if r.Result["gone_since"] != "" || !strings.Contains(r.text(t, "evidence"), "did not reboot") {
		t.Errorf("gone since %v, evidence %v; want never gone", r.Result["gone_since"], r.Result["evidence"])
	}
}

// testAnotherSystem: it lets us in, but nothing of ours is there.
func testAnotherSystem(t *testing.T, b bench, d *device) {
	r := d.fate(t, b, anotherBoot, false, true)
	if evidence := r.text(t, "evidence"); !strings.Contains(evidence, "debian 12") || !strings.Contains(evidence, bootID(t)) {
		t.Errorf("evidence %q, want system and boot in it", evidence)
	}
}

func testWaitCheck(t *testing.T, b bench, d *device) {
	if r := d.play(b, waitTask, "-e", "boot=x", "--check").task(t, "Wait"); r.State != "skipped" || d.sessions() != 0 {
		t.Errorf("%s after %d sessions, want skipped after none", r.State, d.sessions())
	}
}

func testRefused(t *testing.T, b bench, d *device) {
	keys := d.read(d.root + "/etc/ssh/authorized")
	defer d.write("etc/ssh/authorized", keys, 0o644)
	d.write("etc/ssh/authorized", "", 0o644)
	r := d.fate(t, b, anotherBoot, false, true)
	if !strings.Contains(r.text(t, "evidence"), "Permission denied") || r.Result["gone_since"] == "" {
		t.Errorf("evidence %v, gone since %v; want ssh's words and a time", r.Result["evidence"], r.Result["gone_since"])
	}
}

func testHostKey(t *testing.T, b bench, d *device) {
	defer d.trust()
	d.newHostKey()
	d.stop()
	d.start()
	r := d.fate(t, b, anotherBoot, false, true)
	if evidence := r.text(t, "evidence"); !strings.Contains(evidence, "something else answers") || !strings.Contains(evidence, "ost key verification failed") {
		t.Errorf("evidence %q, want ssh's words", evidence)
	}
}

func testSilence(t *testing.T, b bench, d *device) {
	d.stop()
	defer d.start()
	r := d.fate(t, b, anotherBoot, false, true)
	if !strings.Contains(r.text(t, "evidence"), "onnection refused") || r.Result["gone_since"] == "" {
		t.Errorf("evidence %v, gone since %v; want ssh's words and a time", r.Result["evidence"], r.Result["gone_since"])
	}
}

// testHang: a kernel accepts, but no sshd answers, as on a device whose disk is gone.
func testHang(t *testing.T, b bench, d *device) {
	d.stop()
	defer d.start()
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", d.port))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r := d.fate(t, b, anotherBoot, false, true)
	if r.Result["gone_since"] == "" {
		t.Errorf("gone since %v, want a time", r.Result["gone_since"])
	}
}
