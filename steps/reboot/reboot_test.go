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
