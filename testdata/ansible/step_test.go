package ansible

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const precheck = `
- name: Look
  balena_community.migrate.step:
    name: precheck
`

// skipAll lets precheck converge on a tree that is no machine, so that its facts can be followed.
const skipAll = `[root, os, arch, kernel, secure-boot, boot-loader, grubenv, disk, image, memory, space, config-json, device-type,
          api, vpn, write-speed, disk-health]`

func TestStep(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := b.newDevice(t)
	t.Run("installed once, then one session per step", func(t *testing.T) { testInstall(t, b, d.in(t)) })
	t.Run("blockers one per line", func(t *testing.T) { testBlocked(t, b, d.in(t)) })
	t.Run("facts go from step to step", func(t *testing.T) { testFacts(t, b, d.in(t)) })
	t.Run("check mode writes nothing, diff shows", func(t *testing.T) { testCheck(t, b, d.in(t)) })
	t.Run("no_log hides all", func(t *testing.T) { testNoLog(t, b, d.in(t)) })
	t.Run("sudo with a password", func(t *testing.T) { testSudo(t, b, d.in(t)) })
	t.Run("what can't be run is explained", func(t *testing.T) { testUnusable(t, b, d.in(t)) })
	t.Run("bad input is named", func(t *testing.T) { testBadInput(t, b, d.in(t)) })
	t.Run("a dead device is unreachable", func(t *testing.T) { testUnreachable(t, b, d.in(t)) })
}

func testInstall(t *testing.T, b bench, d *device) {
	first := d.play(b, precheck).task(t, "Look")
	if first.Result["installed"] != true {
		t.Errorf("first run: installed %v, want true", first.Result["installed"])
	}
	before := d.sessions()
	second := d.play(b, precheck).task(t, "Look")
	if second.Result["installed"] != false {
		t.Errorf("second run: installed %v, want false", second.Result["installed"])
	}
	if n := d.sessions() - before; n != 1 {
		t.Errorf("the second run took %d ssh sessions, want 1", n)
	}
	bin := d.find("var/lib/balena-migrate/bin")
	if !regexp.MustCompile(`(?m)^\S+/balena-migrate-[0-9a-f]{16} -rwxr-xr-x `).MatchString(bin) || strings.Contains(bin, ".new.") {
		t.Errorf("the folder of the executable has:\n%s", bin)
	}
	if left := d.find("home/free/.ansible"); left != "" {
		t.Errorf("left at the login user's home:\n%s", left)
	}
	command(t, "", filepath.Join(d.root, "var/lib/balena-migrate/bin/balena-migrate"), "version")
	testReplaced(t, b, d)
}

// testReplaced: another set of executables takes the place of the old one.
func testReplaced(t *testing.T, b bench, d *device) {
	t.Helper()
	other := bench{binaries: t.TempDir(), tree: b.tree}
	command(t, "", "cp", filepath.Join(b.binaries, "balena-migrate-linux-amd64"), other.binaries)
	if err := os.WriteFile(filepath.Join(other.binaries, "balena-migrate-linux-arm64"), []byte("another"), 0o755); err != nil {
		t.Fatal(err)
	}
	if r := d.play(other, precheck).task(t, "Look"); r.Result["installed"] != true {
		t.Errorf("the changed set was not installed: %v", r.Result)
	}
	if bin := d.find("var/lib/balena-migrate/bin"); strings.Count(bin, "-rwxr-xr-x") != 1 {
		t.Errorf("the old executable is still there:\n%s", bin)
	}
}

func testBlocked(t *testing.T, b bench, d *device) {
	run := d.play(b, precheck)
	r := run.task(t, "Look")
	if r.State != "failed" || r.Result["rc"] != 3.0 || r.Result["changed"] != false || run.code != 2 {
		t.Errorf("state %s, rc %v, changed %v, exit code %d; want failed, 3, false, 2", r.State, r.Result["rc"], r.Result["changed"], run.code)
	}
	blocked, ok := r.Result["blocked"].([]any)
	lines := strings.Split(r.text(t, "msg"), "\n")
	if !ok || len(blocked) < 3 || len(lines) != len(blocked)+1 {
		t.Fatalf("%d blockers in a message of %d lines, want several, each on a line: %v", len(blocked), len(lines), lines)
	}
	for i, line := range lines[1:] {
		if want := fmt.Sprintf("- %v: found ", blocked[i].(map[string]any)["check"]); !strings.HasPrefix(line, want) {
			t.Errorf("line %d is %q, want it to start with %q", i, line, want)
		}
	}
	for _, noise := range []string{"config", "facts", "log"} {
		if _, ok := r.Result[noise]; ok {
			t.Errorf("the result of a blocked step buries the blockers under its %s", noise)
		}
	}
}

func testFacts(t *testing.T, b bench, d *device) {
	config := "{checks: {skip: " + skipAll + "}}"
	run := d.play(b, `
- name: First
  balena_community.migrate.step:
    name: precheck
    config: `+config+`
  register: first
- name: Second
  balena_community.migrate.step:
    name: backup
    config: `+config+`
    facts: "{{ first.facts }}"
  register: second
`)
	first, second := run.task(t, "First"), run.task(t, "Second")
	if first.State != "ok" || len(first.Result["warnings"].([]any)) < 10 || !strings.Contains(run.screen, "[WARNING]: ") {
		t.Errorf("precheck with all checks skipped: state %s, warnings %v; want ok and a warning for each", first.State, first.Result["warnings"])
	}
	facts, ok := second.Result["facts"].(map[string]any)
	if !ok || second.State != "ok" || second.Result["changed"] != false {
		t.Fatalf("backup of nothing: %s %v, want ok and no change", second.State, second.Result)
	}
	if facts["host"] == nil || fmt.Sprint(facts["host"]) != fmt.Sprint(first.Result["facts"].(map[string]any)["host"]) {
		t.Errorf("the facts of precheck did not come through backup: %v", facts)
	}
}

// wifi is a step that changes something on a plain tree: the keys of the old system's networks go along. The link in use is
// that of the machine around the tree, of which the tree's networks know nothing.
const wifi = `
- name: Collect
  balena_community.migrate.step:
    name: collect-wifi
    config: {network: {require: false}}
    facts: "{{ first.facts }}"
  no_log: "{{ quiet | default(false) }}"
`

func testCheck(t *testing.T, b bench, d *device) {
	d.write("etc/wpa_supplicant/wpa_supplicant.conf", "network={\n\tssid=\"home\"\n\tpsk=\"canary-key\"\n}\n", 0o600)
	tasks := strings.Replace(precheck, "name: precheck", "name: precheck\n    config: {checks: {skip: "+skipAll+"}}", 1) + "  register: first\n" + wifi
	d.play(b, precheck) // installs
	before := d.find(".")
	checked := d.play(b, tasks, "--check", "--diff")
	if after := d.find("."); after != before {
		t.Errorf("check mode changed the device; before:\n%s\nafter:\n%s", before, after)
	}
	if r := checked.task(t, "Collect"); r.Result["changed"] != true || r.Result["diff"] == nil {
		t.Errorf("check mode: changed %v, diff %v; want true and one", r.Result["changed"], r.Result["diff"])
	}
	if !strings.Contains(checked.screen, "+++ ") || strings.Contains(checked.screen, "canary-key") {
		t.Errorf("the diff is not on the screen, or a key is:\n%s", checked.screen)
	}
	for i, want := range []bool{true, false} {
		if r := d.play(b, tasks).task(t, "Collect"); r.State != "ok" || r.Result["changed"] != want {
			t.Errorf("run %d: %s, changed %v, want ok, %v", i+1, r.State, r.Result["changed"], want)
		}
	}
	if log := d.read(d.log()); strings.Contains(log, "canary") {
		t.Errorf("a key is in sshd's log:\n%s", log)
	}
}

func testNoLog(t *testing.T, b bench, d *device) {
	task := strings.Replace(precheck, "name: precheck", "name: precheck\n    config: {backup: {volumes: [canary-volume]}}", 1)
	if run := d.play(b, task+"  ignore_errors: true\n", "-vvvv"); !strings.Contains(run.screen, "canary-volume") {
		t.Fatalf("the canary is not in the output without no_log, so its absence would mean nothing:\n%s", run.screen)
	}
	run := d.play(b, task+"  no_log: true\n", "-vvvv")
	if i := strings.Index(run.screen, "canary-volume"); i >= 0 {
		t.Errorf("in spite of no_log the output has: %s", run.screen[max(0, i-200):i+20])
	}
	if r := run.task(t, "Look"); r.State != "failed" || r.Result["censored"] == nil {
		t.Errorf("with no_log: %s, %v; want a censored failure", r.State, r.Result)
	}
}

func testSudo(t *testing.T, b bench, d *device) {
	for _, c := range []struct {
		name, password, want string
	}{
		{"right", "canary", "blocker"},
		{"wrong", "wrong-word", "Incorrect sudo password"},
		{"none", "", "Missing sudo password"},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := []string{"-e", "ansible_user=asked"}
			if c.password != "" {
				args = append(args, "-e", "ansible_become_password="+c.password)
			}
			if r := d.play(b, precheck, args...).task(t, "Look"); !strings.Contains(r.text(t, "msg"), c.want) {
				t.Errorf("message %q, want %q in it", r.text(t, "msg"), c.want)
			}
		})
	}
	if log := d.read(d.log()); strings.Contains(log, "canary") {
		t.Errorf("the password is in sshd's log:\n%s", log)
	}
}

func testUnusable(t *testing.T, b bench, d *device) {
	arm := t.TempDir()
	if err := os.WriteFile(filepath.Join(arm, "balena-migrate-linux-arm64"), []byte("of another kind"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, argument string
		want           []string
	}{
		{"no build for the device", "binaries: " + arm, []string{"x86_64", "balena-migrate-linux-amd64", "arm64", "make dist"}},
		{"no build at all", "binaries: " + t.TempDir(), []string{"balena-migrate-linux-", "make dist", "balena_migrate_binaries"}},
		{"noexec", "bin_dir: /noexec/bin", []string{"noexec", "balena_migrate_bin_dir"}},
		{"full", "bin_dir: /small/bin", []string{"/small/bin", "o space left"}},
		{"unknown step", "name: no-such-step", []string{"no-such-step", "collect-wifi"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			task := strings.Replace(precheck, "name: precheck", "name: precheck\n    "+c.argument, 1)
			if strings.HasPrefix(c.argument, "name: ") {
				task = strings.Replace(precheck, "name: precheck", c.argument, 1)
			}
			r := d.play(b, task).task(t, "Look")
			for _, want := range c.want {
				if !strings.Contains(r.text(t, "msg"), want) {
					t.Errorf("message %q, want %q in it", r.text(t, "msg"), want)
				}
			}
			if small := d.find("var/lib/balena-migrate"); small != "" && c.name != "noexec" {
				t.Errorf("it left on the device:\n%s", small)
			}
		})
	}
}

func testBadInput(t *testing.T, b bench, d *device) {
	task := strings.Replace(precheck, "name: precheck", "name: precheck\n    config: {reboot: {delay_s: soon}}", 1)
	r := d.play(b, task).task(t, "Look")
	msg := r.text(t, "msg")
	if r.Result["rc"] != 2.0 || !strings.Contains(msg, "/config/reboot/delay_s") || !strings.Contains(msg, "hint: mend this task's config") {
		t.Errorf("rc %v, message %q; want 2, the pointer and where it was given", r.Result["rc"], msg)
	}
}

func testUnreachable(t *testing.T, b bench, d *device) {
	d.stop()
	run := d.play(b, precheck)
	if r := run.task(t, "Look"); r.State != "unreachable" || run.code != 4 {
		t.Errorf("state %s, exit code %d; want unreachable, 4", r.State, run.code)
	}
}
