package ansible

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps/host/hosttest"
)

// TestResults: whatever becomes of a device, its file in the results directory says it.
func TestResults(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := b.newDevice(t)
	for _, c := range []struct {
		name string
		test func(*testing.T, bench, *device)
	}{
		{"a blocked device", testResultBlocked},
		{"check mode", testResultCheck},
		{"a step that fails", testResultFailed},
		{"a playbook that is killed", testResultInterrupted},
		{"a device that came back", testResultBack},
		{"a device that left", testResultMigrated},
		{"a device that does not answer", testResultLost},
		{"a controller that has no room", testResultNoRoom},
		{"a directory that can't be written", testResultUnwritable},
		{"a file that is damaged", testResultDamaged},
		{"a device that was tried often", testResultBounded},
		{"a task that is not to be logged", testResultQuiet},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := os.RemoveAll(d.results()); err != nil {
				t.Fatal(err)
			}
			c.test(t, b, d.in(t))
		})
	}
}

func (d *device) results() string { return filepath.Join(d.dir, "results") }

// report reads the device's file as balena-migrate report does, and holds it to what every such file keeps to.
func (d *device) report(t *testing.T) *schema.DeviceReport {
	t.Helper()
	name := filepath.Join(d.results(), "device.json")
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	r := &schema.DeviceReport{}
	if err := schema.Decode(data, name, "device-report", r); err != nil {
		t.Fatalf("%v\n%s", err, data)
	}
	for path, want := range map[string]os.FileMode{name: 0o600, d.results(): 0o700} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s has mode %v (%v), want %v", path, info.Mode(), err, want)
		}
	}
	if bytes.Contains(data, []byte("canary")) {
		t.Errorf("a secret is in the report:\n%s", data)
	}
	if left, err := filepath.Glob(filepath.Join(d.results(), ".*")); err != nil || len(left) > 0 {
		t.Errorf("left in the results directory: %v, %v", left, err)
	}
	return r
}

// want holds fate, reason and the steps of the last attempt, as "name:status".
func want(t *testing.T, r *schema.DeviceReport, fate schema.Fate, reason string, steps ...string) {
	t.Helper()
	var got []string
	for _, s := range r.Last().Steps {
		got = append(got, s.Name+":"+s.Status)
	}
	if r.Fate != fate || r.Last().Fate != fate || !strings.Contains(r.Reason, reason) || strings.Join(got, " ") != strings.Join(steps, " ") {
		t.Errorf("%s (attempt %s) since %s: %q, steps %v; want %s: %q, %v", r.Fate, r.Last().Fate, r.Since, r.Reason, got, fate, reason, steps)
	}
}

func testResultBlocked(t *testing.T, b bench, d *device) {
	run := d.playbook(b, migrate, variables(t, map[string]any{
		"balena_migrate_config_json": source(t, `{"apiKey":"canary-key"}`), "balena_migrate_skip_checks": []string{"api", "vpn"},
	})...)
	r := d.report(t)
	want(t, r, schema.FateBlocked, " more)", "copy:converged", "precheck:blocked")
	last := r.Last().Steps[1]
	if len(last.Blocked) < 3 || last.Blocked[0].Remedy == "" || last.Seconds <= 0 {
		t.Errorf("precheck in %v s with the blockers %v; want several with remedies", last.Seconds, last.Blocked)
	}
	if r.Facts.OSID != "debian" || r.Facts.Arch == "" || r.Facts.Memory == 0 || r.Address != "127.0.0.1" || r.Last().Check {
		t.Errorf("facts %+v of %s, check %v; want a Debian with memory at 127.0.0.1, false", r.Facts, r.Address, r.Last().Check)
	}
	for _, line := range []string{"\ndevice  blocked ", "1 blocked; balena-migrate report " + d.results()} {
		if !strings.Contains(run.screen, line) {
			t.Errorf("the table lacks %q:\n%s", line, run.screen)
		}
	}
}

// testResultCheck: a dry run looks at all devices, whatever it finds on the first, and ends in a table.
func testResultCheck(t *testing.T, b bench, d *device) {
	second := d.also(t, "../second", "balena_migrate_image_sha256=nonsense") // a name is no path
	run := d.playbook(b, migrate, append(variables(t, map[string]any{
		"balena_migrate_config_json": source(t, `{"apiKey":"canary-key"}`), "balena_migrate_image": source(t, string(hosttest.Image(t))),
		"balena_migrate_skip_checks":     []string{"kernel", "boot-loader", "grubenv", "disk", "api", "vpn"},
		"balena_migrate_require_network": false, "balena_migrate_results": d.results(),
	}), "--check", "-i", second)...)
	r := d.report(t)
	want(t, r, schema.FateReady, "can be migrated, as far as check mode could look", "copy:converged", "image:converged", "precheck:converged",
		"prepare-image:skipped", "collect-wifi:converged", "backup:converged", "build-initramfs:converged", "arm-boot:converged",
		"reboot:converged")
	if !r.Last().Check || !r.Last().Steps[0].Changed {
		t.Errorf("check %v, copy changed %v; want true, true", r.Last().Check, r.Last().Steps[0].Changed)
	}
	if _, err := os.Stat(filepath.Join(d.results(), "%2E.%2Fsecond.json")); err != nil {
		t.Error(err)
	}
	for _, line := range []string{"\ndevice     ready      can be migrated", "\n../second  failed "} {
		if !strings.Contains(run.screen, line) {
			t.Errorf("the table lacks %q:\n%s", line, run.screen)
		}
	}
}

// backupOnly are the arguments of a run that does precheck and a backup by script.
func backupOnly(t *testing.T, script string) []string {
	t.Helper()
	skip := strings.FieldsFunc(skipAll, func(r rune) bool { return strings.ContainsRune("[], \n", r) })
	return append(variables(t, map[string]any{
		"balena_migrate_skip_checks": skip, "balena_migrate_backup_script": source(t, "#!/bin/sh\n"+script),
	}), "--tags", "backup")
}

func testResultFailed(t *testing.T, b bench, d *device) {
	d.playbook(b, migrate, backupOnly(t, "exit 9\n")...)
	r := d.report(t)
	want(t, r, schema.FateFailed, "exit", "copy:converged", "precheck:converged", "backup:failed")
	if e := r.Last().Steps[2].Error; e == nil || e.Message == "" || len(r.Last().Steps[1].Warnings) < 10 {
		t.Errorf("error %v, %d warnings of precheck; want a message and the skipped checks", e, len(r.Last().Steps[1].Warnings))
	}
}

// testResultInterrupted kills the whole playbook in the middle of a step, and goes on with another run.
func testResultInterrupted(t *testing.T, b bench, d *device) {
	cmd := d.command(b, migrate, filepath.Join(t.TempDir(), "record"), backupOnly(t, "sleep 60\n")...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	await(t, "the backup to begin", func() bool {
		data, err := os.ReadFile(filepath.Join(d.results(), "device.json"))
		return err == nil && bytes.Contains(data, []byte(`"backup is under way"`))
	})
	if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	want(t, d.report(t), schema.FatePending, "backup is under way", "copy:converged", "precheck:converged", "backup:running")
	d.stop() // ends what the killed playbook left running on the device
	d.start()
	d.playbook(b, migrate, backupOnly(t, "exit 9\n")...)
	r := d.report(t)
	if len(r.Attempts) != 2 || r.Attempts[0].Steps[2].Status != schema.StepInterrupted || r.Attempts[0].Reason != "interrupted in backup" {
		t.Fatalf("attempts %+v; want two, the first interrupted in its backup", r.Attempts)
	}
	want(t, r, schema.FateFailed, "", "copy:converged", "precheck:converged", "backup:failed")
}

// await waits for a condition, for a minute at most.
func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited a minute for %s", what)
		}
	}
}

const keptWait = waitTask + "    results: results\n"

func testResultBack(t *testing.T, b bench, d *device) {
	d.play(b, precheck) // installs
	d.write("var/lib/balena-migrate/outcome.json", `{"schema":"outcome/1","verdict":"aborted","phase":"verify-image",
		"reason":"block 7 of the image is damaged","boot_id":"b","version":"v","phases":[{"name":"mount","seconds":1.5},
		{"name":"verify-image","seconds":20}],"memory_total_bytes":1,"memory_free_bytes":1}`, 0o600)
	d.play(b, keptWait, "-e", "boot="+anotherBoot)
	r := d.report(t)
	want(t, r, schema.FateBack, "block 7 of the image is damaged (stage: aborted)", "wait:failed")
	if o := r.Last().Outcome; o == nil || len(o.Phases) != 2 || o.Phase != "verify-image" || r.Last().Steps[0].Error.Hint == "" {
		t.Errorf("outcome %+v, want stage 2's own with its phases", o)
	}
}

// testResultMigrated: a device that left is not expected to answer, so a rerun leaves it alone.
func testResultMigrated(t *testing.T, b bench, d *device) {
	d.stop()
	defer d.start()
	d.play(b, keptWait, "-e", "boot="+anotherBoot)
	first := d.report(t)
	want(t, first, schema.FateMigrated, "nothing that we know answers since", "wait:converged")
	run := d.playbook(b, migrate)
	if r := d.report(t); r.Fate != schema.FateMigrated || r.Since != first.Since || len(r.Attempts) != 1 || run.code != 0 {
		t.Errorf("after a rerun with exit code %d it is %s since %s with %d attempts; want 0, migrated since %s, 1", run.code,
			r.Fate, r.Since, len(r.Attempts), first.Since)
	}
	if !strings.Contains(run.screen, "\ndevice  migrated ") {
		t.Errorf("the table lacks the device:\n%s", run.screen)
	}
}

func testResultLost(t *testing.T, b bench, d *device) {
	d.stop()
	run := d.playbook(b, migrate)
	first := d.report(t)
	want(t, first, schema.FateLost, "onnection refused", "precheck:unreachable")
	if run.code != 2 || !strings.Contains(run.screen, "\ndevice  lost ") || !strings.Contains(run.screen, "1 lost; balena-migrate report") {
		t.Errorf("exit code %d, want 2 and a batch that can't be reached in the table:\n%s", run.code, run.screen)
	}
	if check := d.playbook(b, migrate, "--check"); !strings.Contains(check.screen, "\ndevice  lost ") {
		t.Errorf("a dry run does not show what it can't reach:\n%s", check.screen)
	}
	d.playbook(b, migrate)
	if r := d.report(t); r.Since != first.Since || len(r.Attempts) != 3 {
		t.Errorf("lost since %s after %d attempts, want since %s after 3", r.Since, len(r.Attempts), first.Since)
	}
	d.start()
	d.playbook(b, migrate)
	want(t, d.report(t), schema.FateBlocked, "", "precheck:blocked")
}

// testResultNoRoom: a device that can't be reached because the controller's own disk is full is not lost.
func testResultNoRoom(t *testing.T, b bench, d *device) {
	d.stop()
	defer d.start()
	full := filepath.Join(d.dir, "ansible", "tmp")
	if err := os.MkdirAll(full, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", full, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Unmount(full, syscall.MNT_DETACH) }()
	if err := os.WriteFile(filepath.Join(full, "filler"), make([]byte, 1<<20), 0o600); err == nil {
		t.Fatal("it is not full")
	}
	d.playbook(b, migrate)
	r := d.report(t)
	want(t, r, schema.FateFailed, "o space left on device", "precheck:failed")
	if e := r.Last().Steps[0].Error; e == nil || !strings.Contains(e.Hint, "ANSIBLE_LOCAL_TEMP") {
		t.Errorf("error %+v, want what helps", e)
	}
}

func testResultUnwritable(t *testing.T, b bench, d *device) {
	run := d.playbook(b, migrate, "-e", "balena_migrate_results=/proc/nowhere")
	r := run.task(t, "Look whether the device can be migrated")
	if msg := r.text(t, "msg"); !strings.Contains(msg, "balena_migrate_results") || d.sessions() != 0 {
		t.Errorf("%q after %d ssh sessions, want the variable named and none", msg, d.sessions())
	}
}

func testResultDamaged(t *testing.T, b bench, d *device) {
	d.playbook(b, migrate)
	name := filepath.Join(d.results(), "device.json")
	if err := os.Truncate(name, 100); err != nil {
		t.Fatal(err)
	}
	d.playbook(b, migrate)
	if r := d.report(t); len(r.Attempts) != 1 || len(d.read(name+".damaged")) != 100 {
		t.Errorf("%d attempts, want a new file with one, and the old one set aside", len(r.Attempts))
	}
}

// testResultBounded: a file does not grow for ever, and what is dropped is counted.
func testResultBounded(t *testing.T, b bench, d *device) {
	d.play(b, precheck+"    results: results\n")
	r := d.report(t)
	for len(r.Attempts) < 20 {
		r.Attempts = append(r.Attempts, r.Attempts[0])
	}
	data, err := schema.Encode(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(d.results(), "device.json"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	d.play(b, precheck+"    results: results\n")
	if after := d.report(t); len(after.Attempts) != 20 || after.Dropped != 1 || after.Last().Run == r.Last().Run {
		t.Errorf("%d attempts, %d dropped, want 20 and 1, the newest kept", len(after.Attempts), after.Dropped)
	}
}

// testResultQuiet: what no_log hides on the screen is not in the file either.
func testResultQuiet(t *testing.T, b bench, d *device) {
	task := strings.Replace(precheck, "name: precheck", "name: precheck\n    results: results\n    config: {image: {path: /canary-name}}", 1)
	d.play(b, task+"  no_log: true\n")
	want(t, d.report(t), schema.FateBlocked, "", "precheck:blocked")
	if steps := d.report(t).Last().Steps; len(steps[0].Blocked) != 0 {
		t.Errorf("blockers %v in spite of no_log", steps[0].Blocked)
	}
	d.play(b, task)
	if !strings.Contains(d.read(filepath.Join(d.results(), "device.json")), "canary-name") {
		t.Error("the canary is not in the file without no_log, so its absence would mean nothing")
	}
}

// command prepares a run of ansible-playbook.
func (d *device) command(b bench, book, record string, args ...string) *exec.Cmd {
	d.t.Helper()
	for _, empty := range []string{record, filepath.Join(d.dir, "ansible.cfg")} {
		if err := os.WriteFile(empty, nil, 0o600); err != nil {
			d.t.Fatal(err)
		}
	}
	argv := append([]string{"ansible-playbook", "-i", d.inventory(), "-e", "ansible_user=free", "-e", "balena_migrate_connect_timeout=3", book}, args...)
	if b.controller != "" {
		argv = append(elsewhere(d.t, b.controller), argv...)
	}
	cmd := exec.CommandContext(d.t.Context(), argv[0], argv[1:]...)
	cmd.Env = d.environment(b, record)
	return cmd
}
