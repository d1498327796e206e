package ansible

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/balena-community/balena-migrate/schema"
)

// confirm lets the playbook arm and reboot.
func confirm(more map[string]any) map[string]any {
	vars := map[string]any{"balena_migrate_confirm": true}
	for k, v := range more {
		vars[k] = v
	}
	return vars
}

// TestWhole migrates a device from the first look to its silence, and runs the playbook again and again on the way.
func TestWhole(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	m := b.newMachine(t, "")
	t.Run("prepares and stops", func(t *testing.T) { testPrepares(t, m) })
	t.Run("the second run changes nothing", func(t *testing.T) { testNothingNew(t, m) })
	t.Run("goes to the end", func(t *testing.T) { testToTheEnd(t, m) })
	t.Run("what is finished is left alone", func(t *testing.T) { testFinished(t, m) })
	t.Run("the old system is back though it was finished", func(t *testing.T) { testBackAgain(t, m) })
}

func testPrepares(t *testing.T, m *machine) {
	m.t = t
	run := m.migrate(t, nil)
	if run.code != 0 {
		t.Fatalf("exit code %d:\n%s", run.code, run.screen)
	}
	want(t, m.report(t), schema.FateReady, "prepared as far as build-initramfs", "copy:converged", "image:converged", "copy:converged",
		"precheck:converged", "prepare-image:converged", "collect-wifi:converged", "backup:converged", "build-initramfs:converged")
	facts, ok := run.task(t, "Prepare the image").Result["facts"].(map[string]any)
	if !ok {
		t.Fatal("no facts of the image")
	}
	if image := facts["image"].(map[string]any); image["path"] != "/fake/var/lib/balena-migrate/image.gz" || image["device_type"] != "genericx86-64-ext" {
		t.Errorf("the image is %v", image)
	}
	for _, left := range []string{"fake/var/lib/balena-migrate/input/source", "home/free/.ansible"} {
		if found := m.find(left); found != "" {
			t.Errorf("on the device:\n%s", found)
		}
	}
}

func testNothingNew(t *testing.T, m *machine) {
	m.t = t
	before := m.products()
	run := m.migrate(t, nil)
	if run.code != 0 || !strings.Contains(run.screen, "changed=0") {
		t.Errorf("exit code %d, want 0 and nothing changed:\n%s", run.code, run.screen)
	}
	if after := m.products(); after != before {
		t.Errorf("the second run wrote; before:\n%s\nafter:\n%s", before, after)
	}
}

// products lists the work dir, without the facts, which say how much memory is free now.
func (m *machine) products() string {
	m.t.Helper()
	var kept []string
	for line := range strings.Lines(m.find("fake/var/lib/balena-migrate")) {
		if !strings.Contains(line, "facts.json") && !strings.HasPrefix(line, "fake/var/lib/balena-migrate drwx") {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}

func testToTheEnd(t *testing.T, m *machine) {
	m.t = t
	run := m.migrate(t, confirm(nil))
	if run.code != 0 {
		t.Fatalf("exit code %d:\n%s", run.code, run.screen)
	}
	if !m.off() {
		t.Error("the machine did not reboot")
	}
	r := m.report(t)
	if r.Fate != schema.FateMigrated || r.Last().LeftBoot == "" {
		t.Errorf("%s, left boot %q; want migrated and a boot", r.Fate, r.Last().LeftBoot)
	}
	if entry := m.read(filepath.Join(m.root, "fake/boot/grub/custom.cfg")); !strings.Contains(entry, "balena") {
		t.Errorf("armed with:\n%s", entry)
	}
}

// testFinished: a run over finished devices asks each once, changes nothing, and shows the table.
func testFinished(t *testing.T, m *machine) {
	m.t = t
	before := m.report(t)
	run := m.migrate(t, confirm(nil))
	if run.code != 0 || !strings.Contains(run.screen, "\ndevice  migrated ") || strings.Count(run.screen, "1 migrated; balena-migrate report") != 1 {
		t.Errorf("exit code %d, want 0 and the table once:\n%s", run.code, run.screen)
	}
	if msg := run.task(t, "See what became of the device before").text(t, "msg"); !strings.HasPrefix(msg, "nothing to do: migrated since ") {
		t.Errorf("message %q", msg)
	}
	if strings.Contains(run.screen, "Look whether the device") {
		t.Errorf("a device that is finished was worked on:\n%s", run.screen)
	}
	if after := m.report(t); len(after.Attempts) != len(before.Attempts) || after.Since != before.Since {
		t.Errorf("%d attempts, migrated since %s; want %d, %s", len(after.Attempts), after.Since, len(before.Attempts), before.Since)
	}
}

// testBackAgain: the results say that it is finished, but the old system answers: somebody put it back.
func testBackAgain(t *testing.T, m *machine) {
	m.t = t
	m.boot()
	run := m.migrate(t, nil)
	if msg := run.task(t, "See what became of the device before").text(t, "msg"); !strings.Contains(msg, "its old system answers") {
		t.Errorf("message %q", msg)
	}
	if r := m.report(t); r.Fate != schema.FateReady || run.code != 0 {
		t.Errorf("%s, exit code %d; want ready, 0:\n%s", r.Fate, run.code, run.screen)
	}
}

func TestResume(t *testing.T) {
	b := newBench(t)
	m := b.newMachine(t, "")
	t.Run("a run that was killed while the device rebooted", func(t *testing.T) { testResumeWait(t, m) })
	t.Run("a device that is worked on again", func(t *testing.T) { testAgain(t, m) })
}

// testResumeWait kills the playbook when it waits for the device; the next one takes up the waiting.
func testResumeWait(t *testing.T, m *machine) {
	m.t = t
	m.killDuring(t, "wait is under way", "", map[string]any{"balena_migrate_wait_timeout": 600})
	m.off()
	want := m.report(t)
	if want.Fate != schema.FatePending || want.Last().LeftBoot == "" {
		t.Fatalf("%s, left boot %q; want pending and a boot", want.Fate, want.Last().LeftBoot)
	}
	m.boot() // the old system is back
	run := m.migrate(t, confirm(nil))
	if run.code != 2 || !strings.Contains(run.screen, "Back on the old system") {
		t.Errorf("exit code %d, want 2 and the reason:\n%s", run.code, run.screen)
	}
	if r := m.report(t); r.Fate != schema.FateBack {
		t.Errorf("%s, want back", r.Fate)
	}
	if _, err := os.Stat(filepath.Join(m.results(), "device.json")); err != nil {
		t.Error(err)
	}
}

func testAgain(t *testing.T, m *machine) {
	m.t = t
	run := m.migrate(t, map[string]any{"balena_migrate_again": true}, "--tags", "precheck")
	if r := m.report(t); r.Fate != schema.FateReady || run.code != 0 {
		t.Errorf("%s, exit code %d; want ready, 0", r.Fate, run.code)
	}
}
