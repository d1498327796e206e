package ansible

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/balena-community/balena-migrate/schema"
)

// testBalenaLost: the old system is gone and nobody hears of the new one. Nothing is removed: it may come yet.
func testBalenaLost(t *testing.T, b bench, d *device, c *cloud) {
	p := b.play(t, d, "left", "")
	run := d.playbook(p, migrate, c.vars(t, map[string]any{"balena_migrate_confirm": true, "balena_migrate_wait_timeout": 4})...)
	d.gone(t)
	r := d.report(t)
	device := c.only(t)
	last := r.Last().Steps[len(r.Last().Steps)-1]
	if r.Fate != schema.FateLost || !strings.Contains(r.Reason, "left its old system, but device is not online: heartbeat unknown") || run.code != 2 ||
		r.DeviceID != device.UUID || last.Error == nil || last.Error.Hint == "" {
		t.Errorf("%s: %q, exit code %d, device_id %q, %+v", r.Fate, r.Reason, run.code, r.DeviceID, last)
	}
	if len(c.Requests("DELETE")) != 0 {
		t.Error("a registration was removed that may be in use")
	}
	c.arrive(device)
	run = d.playbook(p, migrate, c.vars(t, map[string]any{"balena_migrate_confirm": true})...)
	if r := d.report(t); r.Fate != schema.FateOnline || run.code != 0 || len(c.Requests("POST /device/register")) != 1 {
		t.Errorf("a rerun after it arrived: %s: %q, exit code %d; want online, 0\n%s", r.Fate, r.Reason, run.code, run.screen)
	}
}

// testBalenaBack: E15, S152.
func testBalenaBack(t *testing.T, b bench, d *device, c *cloud) {
	p := b.play(t, d, "back", "")
	aborted := `{"schema":"outcome/1","verdict":"aborted","phase":"verify-image","reason":"block 7 of the image is damaged","boot_id":"b",
		"version":"v","phases":[],"memory_total_bytes":1,"memory_free_bytes":1}`
	d.write("var/lib/balena-migrate/outcome.json", aborted, 0o600)
	args := map[string]any{"balena_migrate_confirm": true}
	run := d.playbook(p, migrate, c.vars(t, args)...)
	r := d.report(t)
	if r.Fate != schema.FateBack || !strings.Contains(r.Reason, "block 7 of the image is damaged") || r.DeviceID != "" || run.code != 2 {
		t.Errorf("%s: %q, device_id %q, exit code %d; want back, the reason, none, 2\n%s", r.Fate, r.Reason, r.DeviceID, run.code, run.screen)
	}
	if last := r.Last().Steps[len(r.Last().Steps)-1]; last.Name != "remove" || last.Status != "converged" || !last.Changed {
		t.Errorf("last step %+v, want a removal", last)
	}
	uuid := d.config()["uuid"]
	if len(c.Devices()) != 0 || len(c.Requests("DELETE /v7/device(uuid='"+fmt.Sprint(uuid))) != 1 {
		t.Errorf("%d devices are left in balena", len(c.Devices()))
	}
	args["balena_migrate_remove_registrations"] = false
	d.playbook(p, migrate, c.vars(t, args)...)
	if again := c.only(t); again.UUID != uuid || d.config()["deviceApiKey"] != again.Key {
		t.Errorf("the rerun registered %s, want %s, with its key on the device", again.UUID, uuid)
	}
}

// testBalenaStopped: a device that comes back while another is still in the play stops that, and its registration goes all
// the same.
func testBalenaStopped(t *testing.T, b bench, d *device, c *cloud) {
	p := b.play(t, d, "back", "")
	confirmed := filepath.Join(t.TempDir(), "confirmed.ini")
	if err := os.WriteFile(confirmed, []byte("device balena_migrate_confirm=true\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	args := append(c.vars(t, nil), "-f", "1", "-i", confirmed, "-i", d.also(t, "second", ""), "-e", `{"balena_migrate_serial": ["100%"]}`)
	run := d.playbook(p, migrate, args...)
	if r := d.report(t); r.Fate != schema.FateBack || r.DeviceID != "" || run.code != 2 {
		t.Errorf("%s: %q, device_id %q, exit code %d; want back, none, 2\n%s", r.Fate, r.Reason, r.DeviceID, run.code, run.screen)
	}
	if all := c.Devices(); len(all) != 1 {
		t.Errorf("%d devices are left in balena, want the other alone\n%s", len(all), run.screen)
	}
}

// testBalenaFailed: a registration that a step's failure left without use goes; one of an earlier run stays, as an initramfs
// may go by it.
func testBalenaFailed(t *testing.T, b bench, d *device, c *cloud) {
	p := b.play(t, d, "left", "build-initramfs")
	d.playbook(p, migrate, c.vars(t, nil)...)
	want(t, d.report(t), schema.FateFailed, "no room", "precheck:converged", "register:converged", "copy:converged", "precheck:converged",
		"prepare-image:converged", "collect-wifi:converged", "backup:converged", "build-initramfs:failed", "remove:converged")
	if len(c.Devices()) != 0 {
		t.Errorf("%d devices are left in balena", len(c.Devices()))
	}
	d.write("opt/fails", "", 0o644)
	d.playbook(p, migrate, c.vars(t, nil)...)
	first := c.only(t)
	d.write("opt/fails", "build-initramfs", 0o644)
	d.playbook(p, migrate, c.vars(t, nil)...)
	if c.only(t).ID != first.ID {
		t.Error("the registration of an earlier run was made anew")
	}
	d.write("opt/fails", "arm-boot", 0o644)
	d.playbook(p, migrate, c.vars(t, map[string]any{"balena_migrate_confirm": true})...)
	if c.only(t).ID != first.ID {
		t.Error("the registration of a device that may be armed was removed")
	}
}

// testBalenaRehearsal: the device comes back because it was told to; its registration is for what follows.
func testBalenaRehearsal(t *testing.T, b bench, d *device, c *cloud) {
	p := b.play(t, d, "back", "")
	d.write("var/lib/balena-migrate/outcome.json", `{"schema":"outcome/1","verdict":"rehearsed","phase":"verify-image","reason":"","boot_id":"b",
		"version":"v","phases":[],"memory_total_bytes":1,"memory_free_bytes":1}`, 0o600)
	run := d.playbook(p, migrate, c.vars(t, map[string]any{"balena_migrate_confirm": true, "balena_migrate_rehearse": true})...)
	if r := d.report(t); r.Fate != schema.FateReady || r.DeviceID != c.only(t).UUID || run.code != 0 {
		t.Errorf("%s: %q, exit code %d\n%s", r.Fate, r.Reason, run.code, run.screen)
	}
}

// testBalenaStays: a device that balena heard of is not removed, and what the host failed of stays its last word.
func testBalenaStays(t *testing.T, b bench, d *device, c *cloud) {
	p := b.play(t, d, "back", "")
	d.playbook(p, migrate, c.vars(t, nil)...)
	c.arrive(c.only(t))
	run := d.playbook(p, migrate, c.vars(t, map[string]any{"balena_migrate_confirm": true})...)
	r := d.report(t)
	if r.Fate != schema.FateBack || run.code != 2 || r.DeviceID != c.only(t).UUID {
		t.Errorf("%s: %q, exit code %d, device_id %q; want back, 2, %s\n%s", r.Fate, r.Reason, run.code, r.DeviceID, c.only(t).UUID, run.screen)
	}
	if said := run.task(t, "Say that the registration stays").text(t, "msg"); !strings.Contains(said, "--force") {
		t.Errorf("%q, want what was found and what helps", said)
	}
	if !strings.Contains(run.screen, "1 back; balena-migrate report") {
		t.Errorf("the table is missing:\n%s", run.screen)
	}
}

func testBalenaNoKey(t *testing.T, b bench, d *device, c *cloud) {
	p := b.play(t, d, "left", "")
	run := d.playbook(p, migrate, c.vars(t, map[string]any{"balena_migrate_token_file": ""})...)
	if msg := run.task(t, "Register the device in balena").text(t, "msg"); !strings.Contains(msg, "BALENA_API_TOKEN") || !strings.Contains(msg, "hint: ") {
		t.Errorf("%q, want the variable named, and what helps", msg)
	}
	want(t, d.report(t), schema.FateFailed, "found no key", "precheck:converged", "register:failed")
}
