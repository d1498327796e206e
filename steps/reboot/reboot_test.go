package reboot_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps/host/hosttest"
	"github.com/balena-community/balena-migrate/steps/reboot"
	"github.com/balena-community/balena-migrate/steps/steptest"
)

func TestRebootIsScheduledOnce(t *testing.T) {
	h := hosttest.Debian(t)
	h.Put("/var/lib/balena-migrate/x", "")
	in := schema.NewMigration()
	in.Facts.Boot = &schema.BootFacts{Armed: true, Files: []string{}}
	run := steptest.RunOn(h)
	res := steptest.Laws(t, reboot.Step{}, run, in)
	if len(h.Spawned) != 1 || !strings.Contains(h.Spawned[0], "reboot-later --delay 10s") {
		t.Errorf("spawned %v", h.Spawned)
	}
	if f := res.Facts.Reboot; f == nil || !f.Pending || f.Due != "2026-01-02T03:04:15Z" {
		t.Errorf("facts %+v", f)
	}
	later := map[string]func(){
		"its process died":      func() { h.Living = nil },
		"it never came":         func() { h.Living = []int{1_000_001}; h.Clock = h.Clock.Add(time.Hour) },
		"this is the next boot": func() { h.Put("/proc/sys/kernel/random/boot_id", "another\n") },
	}
	for name, change := range later {
		change()
		if res, err := run.Converge(context.Background(), reboot.Step{}, in); err != nil || !res.Changed {
			t.Errorf("%s: not scheduled again: %v", name, err)
		}
	}
}

func TestRebootNeedsAnArmedLoader(t *testing.T) {
	h := hosttest.Debian(t)
	res, err := steptest.RunOn(h).Converge(context.Background(), reboot.Step{}, schema.NewMigration())
	if err != nil || res.Status != schema.BlockedBy || len(h.Spawned) > 0 {
		t.Errorf("%s %v, spawned %v", res.Status, err, h.Spawned)
	}
}

func TestAnotherRootIsNotRebooted(t *testing.T) {
	h := hosttest.Debian(t)
	run := steptest.RunOn(h)
	run.Files = hosttest.New(t, nil)
	in := schema.NewMigration()
	in.Facts.Boot = &schema.BootFacts{Armed: true, Files: []string{}}
	res, err := run.Converge(context.Background(), reboot.Step{}, in)
	if err != nil || res.Status != schema.BlockedBy || len(h.Spawned) > 0 {
		t.Errorf("%s %v, spawned %v", res.Status, err, h.Spawned)
	}
}

// A boot loader that must be asked at the restart is asked.
func TestRestartArgument(t *testing.T) {
	h := hosttest.Debian(t)
	h.Put("/var/lib/balena-migrate/x", "")
	in := schema.NewMigration()
	in.Facts.Boot = &schema.BootFacts{Armed: true, Files: []string{}, RestartArgument: "0 tryboot"}
	res, err := steptest.RunOn(h).Converge(context.Background(), reboot.Step{}, in)
	if err != nil || res.Status != schema.Converged || len(h.Spawned) != 1 || !strings.Contains(h.Spawned[0], `--argument "0 tryboot"`) {
		t.Errorf("%v %v, spawned %v", res.Status, err, h.Spawned)
	}
}

// The watchdog is armed before the reboot when stage 2 has its driver, and only then: nobody else would stop it.
func TestRebootArmsTheWatchdog(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*schema.Migration)
		arms   bool
	}{
		"stage 2 has its driver": {arms: true},
		"stage 2 does not":       {change: func(m *schema.Migration) { m.Facts.Initramfs.Modules = []string{"ext4"} }},
		"it is to be left alone": {change: func(m *schema.Migration) { m.Config.Boot.Watchdog = "off" }},
		"stage 2 is not started": {change: func(m *schema.Migration) { m.Config.Boot.Arm = false }},
	} {
		t.Run(name, func(t *testing.T) {
			h := hosttest.Debian(t)
			h.Put("/var/lib/balena-migrate/x", "")
			const at = "/sys/class/watchdog/watchdog0"
			h.Put(at+"/identity", "i6300ESB timer\n")
			h.Put(at+"/state", "inactive\n")
			h.Link(at+"/device", "/sys/devices/pci0/dog")
			h.Link("/sys/devices/pci0/dog/driver", "/sys/bus/pci/drivers/i6300esb")
			h.Link("/sys/bus/pci/drivers/i6300esb/module", "/sys/module/i6300esb")
			h.Put("/lib/modules/"+hosttest.Release+"/modules.dep", "kernel/drivers/watchdog/i6300esb.ko:\n")
			in := schema.NewMigration()
			in.Facts.Boot = &schema.BootFacts{Armed: true, Files: []string{}}
			in.Facts.Initramfs = &schema.InitramfsFacts{Modules: []string{"ext4", "i6300esb"}}
			if c.change != nil {
				c.change(in)
			}
			res, err := steptest.RunOn(h).Converge(context.Background(), reboot.Step{}, in)
			if err != nil || len(h.Spawned) != 1 {
				t.Fatalf("%v, spawned %v", err, h.Spawned)
			}
			if got := strings.Contains(h.Spawned[0], "--watchdog /dev/watchdog0 --timeout 10m0s"); got != c.arms || (res.Facts.Reboot.Watchdog != "") != c.arms {
				t.Errorf("spawned %q, facts %+v", h.Spawned[0], res.Facts.Reboot)
			}
		})
	}
}
