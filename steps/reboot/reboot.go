// Package reboot restarts the machine, as its last user would: through init, so that every service stops and every file
// system is unmounted. The result reaches the caller first: the process that does it waits for this one to end, and
// then for the configured time.
package reboot

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strconv"
	"time"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/device/boot"
	"github.com/balena-community/balena-migrate/steps/device/watchdog"
	"github.com/balena-community/balena-migrate/steps/host"
)

// noteName is where a pending reboot is noted: a stamp whose facts are the reboot's, in the work dir.
const noteName = "reboot.json"

// grace is how long after its due time a reboot may still be on its way.
const grace = 2 * time.Minute

// Step is reboot.
type Step struct{}

// Name implements steps.Step.
func (Step) Name() string { return "reboot" }

// Plan implements steps.Step.
func (Step) Plan(_ context.Context, v steps.View) (steps.Plan, error) {
	plan := steps.Plan{Facts: v.Facts}
	plan.Facts.Reboot = nil
	if v.Device.Root() != v.Files.Root() {
		plan.Block("root", "the root directory "+v.Device.Root(), "the running system", "run it without --root")
		return plan, nil
	}
	if v.Config.Boot.Arm && (v.Facts.Boot == nil || !v.Facts.Boot.Armed) {
		plan.Need("arm-boot")
		return plan, nil
	}
	id, err := boot.BootID(v.Device)
	if err != nil {
		return plan, err
	}
	note := path.Join(v.WorkDir, noteName)
	if pending := Pending(v.Files, note, id); pending != nil {
		plan.Facts.Reboot = pending
		return plan, nil
	}
	kexec := v.Config.Boot.Arm && v.Facts.Boot.Method == boot.Kexec{}.Name()
	if kexec && !(boot.Kexec{}).Armed(v.Device) { // it ended with the boot in which it was armed
		plan.Need("arm-boot")
		return plan, nil
	}
	s := schedule{note: note, self: v.Self, bootID: id, kexec: kexec, delay: time.Duration(v.Config.Reboot.DelayS) * time.Second, guard: guard(v)}
	if v.Facts.Boot != nil {
		s.argument = v.Facts.Boot.RestartArgument
	}
	plan.Add(s)
	return plan, nil
}

// guard is the watchdog that brings a machine back which hangs between here and stage 2: the boot loader's one-shot entry
// is used up then, or stage 2 disarms at its next start. It is armed only when stage 2 has its driver: who else would
// stop it? Many drivers stop it when the kernel restarts, and many boards when they are reset (stop_on_reboot in
// Documentation/watchdog/watchdog-parameters.rst), so mostly it guards the shutdown and no more.
func guard(v steps.View) host.Guard {
	release, err := boot.Release(v.Device)
	if err != nil || !v.Config.Boot.Arm || v.Config.Boot.Watchdog == "off" || v.Facts.Initramfs == nil {
		return host.Guard{}
	}
	dog := watchdog.Look(v.Device, release)
	if dog == nil || dog.RebootTimeout == 0 {
		return host.Guard{}
	}
	for _, m := range dog.Modules {
		if !slices.Contains(v.Facts.Initramfs.Modules, m) {
			return host.Guard{}
		}
	}
	return host.Guard{Watchdog: dog.Device, Timeout: time.Duration(dog.RebootTimeout) * time.Second}
}

// Pending returns the reboot that is on its way in this boot, nil when there is none.
func Pending(r host.Reader, note, bootID string) *schema.RebootFacts {
	s := steps.LoadStamp(r, note)
	if s == nil || s.Facts.Reboot == nil || s.Facts.Reboot.BootID != bootID {
		return nil
	}
	due, err := time.Parse(time.RFC3339, s.Facts.Reboot.Due)
	pid, perr := strconv.Atoi(s.Recipe)
	if err != nil || perr != nil || r.Now().After(due.Add(grace)) || !r.Alive(pid) {
		return nil
	}
	return s.Facts.Reboot
}

// Last is the boot in which the last reboot was scheduled, empty when none was.
func Last(r host.Reader, note string) string {
	if s := steps.LoadStamp(r, note); s != nil && s.Facts.Reboot != nil {
		return s.Facts.Reboot.BootID
	}
	return ""
}

// Note is where a pending reboot is noted in a work dir.
func Note(workDir string) string { return path.Join(workDir, noteName) }

// schedule starts the process that reboots.
type schedule struct {
	note   string
	self   string
	bootID string
	delay  time.Duration
	// argument is what the kernel is restarted with (reboot(2), LINUX_REBOOT_CMD_RESTART2), "" for nothing.
	argument string
	guard    host.Guard
	kexec    bool
}

// Note implements steps.Change.
func (s schedule) Note() schema.ChangeNote {
	return schema.ChangeNote{Action: "reboot", Target: fmt.Sprintf("in %s", s.delay)}
}

// Apply implements steps.Change.
func (s schedule) Apply(_ context.Context, t steps.Target) error {
	due := t.Device.Now().Add(s.delay).UTC().Truncate(time.Second)
	args := []string{"reboot-later", "--delay", s.delay.String()}
	if s.argument != "" {
		args = append(args, "--argument", s.argument)
	}
	if s.guard.Watchdog != "" {
		args = append(args, "--watchdog", s.guard.Watchdog, "--timeout", s.guard.Timeout.String())
	}
	if s.kexec {
		args = append(args, "--kexec")
	}
	pid, err := t.Device.Spawn(host.Cmd{Name: s.self, Args: args})
	if err != nil {
		return err
	}
	return steps.SaveStamp(t.Files, s.note, &schema.Stamp{
		Recipe: strconv.Itoa(pid), Files: []schema.FileStamp{},
		Facts: schema.Facts{Reboot: &schema.RebootFacts{BootID: s.bootID, Pending: true, Due: due.Format(time.RFC3339), Watchdog: s.guard.Watchdog}},
	})
}
