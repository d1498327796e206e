package ansible

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/balena-community/balena-migrate/steps/host/hosttest"
)

const migrate = "../../ansible/migrate.yml"

func TestRole(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := b.newDevice(t)
	t.Run("a blocked device stops at precheck", func(t *testing.T) { testRoleBlocked(t, b, d.in(t)) })
	t.Run("check mode goes to the end and writes nothing", func(t *testing.T) { testRoleCheck(t, b, d.in(t)) })
	t.Run("a failure stops all later batches", func(t *testing.T) { testRoleCanary(t, b, d.in(t)) })
	t.Run("one of several that fails is the exit code", func(t *testing.T) { testRoleOneFails(t, b, d.in(t)) })
	t.Run("variables are held to their specification", func(t *testing.T) { testRoleArguments(t, b, d.in(t)) })
	t.Run("an unknown option is one of the variables", func(t *testing.T) { testRoleOption(t, b, d.in(t)) })
	t.Run("variables may be templates", func(t *testing.T) { testRoleTemplates(t, b, d.in(t)) })
	t.Run("of_role belongs into the role", func(t *testing.T) { testOfRole(t, b, d.in(t)) })
}

// variables writes the role's variables into a file and returns the option that names it.
func variables(t *testing.T, vars map[string]any) []string {
	t.Helper()
	data, err := json.Marshal(vars)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "vars.json")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{"-e", "@" + path}
}

// testRoleTemplates: a step reads the variables by itself, and finds what Ansible's own templating would.
func testRoleTemplates(t *testing.T, b bench, d *device) {
	run := d.playbook(b, migrate, append(backupOnly(t, ""), variables(t, map[string]any{
		"balena_migrate_backup_script": "", "balena_migrate_device_type": "{{ inventory_hostname }}-type", "balena_migrate_reboot_delay": "12",
		"balena_migrate_rehearse": "yes", "balena_migrate_bin_dir": "{{ balena_migrate_work_dir }}/elsewhere",
		"balena_migrate_options": map[string]any{"stage2": map[string]any{"log_device": "/dev/{{ inventory_hostname }}"}},
	})...)...)
	r := run.task(t, "Back up the data")
	if r.State == "failed" {
		t.Fatalf("the backup failed: %v", r.Result)
	}
	config := r.Result["config"].(map[string]any)
	image, stage2 := config["image"].(map[string]any), config["stage2"].(map[string]any)
	delay := config["reboot"].(map[string]any)["delay_s"]
	if image["device_type"] != "device-type" || stage2["log_device"] != "/dev/device" || stage2["flash"] != false || delay != 12.0 {
		t.Errorf("the device was given %v, %v, delay %v; want device-type, /dev/device, no flash, 12", image, stage2, delay)
	}
	if host, ok := r.Result["facts"].(map[string]any)["host"].(map[string]any); !ok || host["arch"] == "" {
		t.Errorf("the facts of precheck did not get as far as the backup: %v", r.Result["facts"])
	}
	if bin := d.find("var/lib/balena-migrate/elsewhere"); !strings.Contains(bin, "-rwxr-xr-x") {
		t.Errorf("no executable in the folder that was named:\n%s", bin)
	}
}

func testOfRole(t *testing.T, b bench, d *device) {
	before := d.sessions()
	r := d.play(b, precheck+"    of_role: true\n").task(t, "Look")
	if msg := r.text(t, "msg"); r.State != "failed" || !strings.Contains(msg, "balena_migrate_work_dir") || d.sessions() != before {
		t.Errorf("%s, %q; want a failure that names the variable, and no look at the device", r.State, msg)
	}
}

func testRoleBlocked(t *testing.T, b bench, d *device) {
	config := source(t, `{"deviceType":"genericx86-64-ext","apiKey":"canary-key"}`)
	run := d.playbook(b, migrate, variables(t, map[string]any{
		"balena_migrate_config_json": config, "balena_migrate_confirm": true, "balena_migrate_skip_checks": []string{"api", "vpn"},
		"balena_migrate_options": map[string]any{"reboot": map[string]any{"delay_s": 77}},
	})...)
	r := run.task(t, "Look whether the device can be migrated")
	if r.State != "failed" || run.code != 2 || !strings.Contains(r.text(t, "msg"), "\n- disk: ") || !strings.Contains(r.text(t, "msg"), "\n- image: ") {
		t.Errorf("%s, exit code %d, %q; want a failure that lists disk and image", r.State, run.code, r.text(t, "msg"))
	}
	for i, after := range run.results[1:] {
		if run.results[i].Task == r.Task && after.State != "skipped" && !strings.HasSuffix(after.Task, "Say where the devices stand") {
			t.Errorf("after the blocked precheck %q was run", after.Task)
		}
	}
	if last := run.results[len(run.results)-1]; !strings.HasSuffix(last.Task, "Say where the devices stand") {
		t.Errorf("the last task was %q, want the table", last.Task)
	}
	if strings.Contains(run.screen, "canary-key") {
		t.Errorf("the key is on the screen:\n%s", run.screen)
	}
	if got := d.read(filepath.Join(d.root, "var/lib/balena-migrate/input/config.json")); !strings.Contains(got, "canary-key") {
		t.Errorf("config.json arrived as %q", got)
	}
}

// testRoleCheck: the files that check mode does not copy are no fault of the device's, all steps are asked.
func testRoleCheck(t *testing.T, b bench, d *device) {
	args := variables(t, map[string]any{
		"balena_migrate_config_json": source(t, `{}`), "balena_migrate_image": source(t, string(hosttest.Image(t))),
		"balena_migrate_backup_definition": source(t, "- volume: app\n  items:\n    - source: /home\n"),
		"balena_migrate_skip_checks":       []string{"kernel", "boot-loader", "grubenv", "disk", "api", "vpn"},
		"balena_migrate_require_network":   false,
	})
	d.play(b, precheck) // installs
	before := d.find(".")
	run := d.playbook(b, migrate, append(args, "--check", "--diff")...)
	if after := d.find("."); after != before {
		t.Errorf("check mode changed the device; before:\n%s\nafter:\n%s", before, after)
	}
	for _, task := range []string{
		"Look whether the device can be migrated", "Prepare the image", "Collect the networks", "Back up the data",
		"Build the initramfs", "Arm the boot loader", "Reboot into the migration",
	} {
		if r := run.task(t, task); r.State != "ok" {
			t.Errorf("%s: %s: %v", task, r.State, r.Result["msg"])
		}
	}
	if r := run.task(t, "Wait for what becomes of the device"); r.State != "skipped" || run.code != 0 {
		t.Errorf("waiting was %s, exit code %d; want skipped, 0", r.State, run.code)
	}
}

func testRoleArguments(t *testing.T, b bench, d *device) {
	run := d.playbook(b, migrate, variables(t, map[string]any{"balena_migrate_wifi": "some"})...)
	if run.code != 2 || !strings.Contains(run.screen, "balena_migrate_wifi must be one of: all, listed, none") || d.sessions() != 0 {
		t.Errorf("exit code %d after %d ssh sessions, want 2 after none:\n%s", run.code, d.sessions(), run.screen)
	}
}

// testRoleOption: who wrote the option never gave any standard input, and is told where it is.
func testRoleOption(t *testing.T, b bench, d *device) {
	run := d.playbook(b, migrate, variables(t, map[string]any{"balena_migrate_options": map[string]any{"stage2": map[string]any{"flahs": false}}})...)
	r := run.task(t, "Look whether the device can be migrated")
	msg := r.text(t, "msg")
	if r.State != "failed" || !strings.Contains(msg, "/config/stage2/flahs: found an unknown member, expected flash?") ||
		!strings.Contains(msg, "hint: mend balena_migrate_options") || strings.Contains(run.screen, "standard input") {
		t.Errorf("%s: %q; want a failure that names the option and balena_migrate_options\n%s", r.State, msg, run.screen)
	}
}

// testRoleOneFails: Ansible forgets a failure in a file of tasks when the play is ended behind it.
func testRoleOneFails(t *testing.T, b bench, d *device) {
	second := d.also(t, "second", "balena_migrate_config_json=/not/there.json")
	run := d.playbook(b, migrate, "-i", second, "-e", `{"balena_migrate_serial": ["100%"]}`)
	if r := run.task(t, "Fail"); r.Host != "second" || run.code != 2 {
		t.Errorf("the last to fail was %s, exit code %d; want second, 2:\n%s", r.Host, run.code, run.screen)
	}
	for _, r := range run.results {
		if r.Task == "Look whether the device can be migrated" {
			t.Errorf("%s went on behind the failure of the other", r.Host)
		}
	}
}

func testRoleCanary(t *testing.T, b bench, d *device) {
	run := d.playbook(b, migrate, "-i", d.also(t, "second", ""))
	if r := run.task(t, "Look whether the device can be migrated"); r.Host != "device" || r.State != "failed" {
		t.Errorf("%s was %s, want the first device alone to fail", r.Host, r.State)
	}
	for _, r := range run.results {
		if r.Host == "second" {
			t.Errorf("task %q reached the second device behind the failure of the first", r.Task)
		}
	}
}

// TestFate holds the role's last word to what was seen of the device.
func TestFate(t *testing.T) {
	d := &device{t: t, dir: t.TempDir()}
	for _, c := range []struct {
		name, fate string
		rehearse   bool
		state, msg string
	}{
		{"left", `{left: true, came_back: false, evidence: silence}`, false, "ok", "Migrated: it left its old system for good: silence"},
		{"online", `{left: true, came_back: false, online: true, evidence: heard of}`, false, "ok", "Online in balena: heard of"},
		{"lost", `{left: true, came_back: false, lost: true, gone_since: T, evidence: silence}`, false, "failed", "Lost since T: silence"},
		{"back", `{left: false, came_back: true, status: {stage: aborted, reason: digest differs, msg: m}}`, false, "failed",
			"Back on the old system: digest differs (stage: aborted)"},
		{"back without a reason", `{left: false, came_back: true, status: {stage: armed, reason: "", msg: still armed}}`, false, "failed",
			"Back on the old system: still armed (stage: armed)"},
		{"back without a status", `{left: false, came_back: true, status: {}}`, false, "failed",
			"Back on the old system: no reason known (stage: unknown)"},
		{"did not reboot", `{left: false, came_back: false, evidence: same boot}`, false, "failed", "Not migrated: same boot"},
		{"rehearsed", `{left: false, came_back: true, evidence: back, status: {stage: rehearsed}}`, true, "ok", "The rehearsal passed: back"},
		{"rehearsal aborted", `{left: false, came_back: true, status: {stage: aborted, reason: no memory}}`, true, "failed",
			"Back on the old system: no memory (stage: aborted)"},
		{"lost in the rehearsal", `{left: true, came_back: false, evidence: silence}`, true, "failed",
			"Lost in the rehearsal, the old system should be back: silence"},
		{"back though it was no rehearsal", `{left: false, came_back: true, status: {stage: rehearsed, reason: r}}`, false, "failed",
			"Back on the old system: r (stage: rehearsed)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d.t = t
			run := d.play(bench{}, `
- hosts: all
  connection: local
  gather_facts: false
  tasks:
    - name: Judge
      ansible.builtin.include_role:
        name: balena_community.migrate.migrate
        tasks_from: fate
      vars:
        balena_migrate_rehearse: `+fmt.Sprint(c.rehearse)+`
        balena_migrate_fate: `+c.fate)
			last := run.results[len(run.results)-1]
			if last.State != c.state || last.text(t, "msg") != c.msg {
				t.Errorf("%s: %q, want %s: %q", last.State, last.Result["msg"], c.state, c.msg)
			}
		})
	}
}
