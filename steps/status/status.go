// Package status tells where a host stands, and why the last stage 2 came back. It only looks.
package status

import (
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/disarm"
	"github.com/balena-community/balena-migrate/stage2/flashplan"
	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/device/boot"
	"github.com/balena-community/balena-migrate/steps/reboot"
)

// Read looks at the work dir and the boot configuration.
func Read(v steps.View) (*schema.Status, error) {
	id, err := boot.BootID(v.Device)
	if err != nil {
		return nil, err
	}
	s := &schema.Status{Schema: schema.StatusName, BootID: id, Stage: "untouched"}
	rec, err := disarm.Load(v.Files, path.Join(v.WorkDir, disarm.RecordName))
	if err != nil {
		return nil, err
	}
	if s.Outcome, err = outcome(v); err != nil {
		return nil, err
	}
	s.Armed = rec != nil && armed(v, rec, id)
	s.Reboot = reboot.Pending(v.Files, reboot.Note(v.WorkDir), id)
	if log := path.Join(v.WorkDir, flashplan.LogName); exists(v, log) {
		s.Log = log
	}
	judge(s, rec, v.Facts.Initramfs != nil)
	s.Msg = s.Stage
	if s.Reason != "" {
		s.Msg += ": " + s.Reason
	}
	return s, nil
}

// judge finds the word for it. An outcome is that of the last attempt: arm-boot removes what an earlier one left.
func judge(s *schema.Status, rec *schema.Armed, prepared bool) {
	switch {
	case s.Outcome != nil && s.Outcome.Verdict == schema.OutcomeStarted:
		s.Stage = "crashed"
		s.Reason = fmt.Sprintf("stage 2 got as far as %q and did not report back: it crashed, was reset or lost power", s.Outcome.Phase)
	case s.Outcome != nil:
		s.Stage, s.Reason = s.Outcome.Verdict, s.Outcome.Reason
	case s.Armed && rec.BootID != s.BootID && rec.Method != (boot.Grub{}).Name(): // without a one-shot entry, this boot was the one
		s.Stage = "crashed"
		s.Reason = "this system has started although stage 2 was armed: the boot loader did not get it started, or it gave up before it " +
			"could mount this system; run balena-migrate disarm"
	case s.Armed:
		s.Stage = "armed"
	case rec != nil && rec.BootID != s.BootID:
		s.Stage = "crashed"
		s.Reason = "the boot loader took the armed entry, but stage 2 left no word: it crashed before it could mount this system; " +
			"run balena-migrate disarm"
		if rec.Method == (boot.Tryboot{}).Name() {
			s.Reason = "this system was started again, and stage 2 left no word: it crashed before it could mount this system, or the machine was " +
				"not restarted by step reboot, or the firmware does not try another configuration; then set boot.method to raspberry-pi"
		}
	case rec != nil:
		s.Stage = "prepared"
		s.Reason = "arm-boot was stopped part way; run it again, or disarm"
	case prepared:
		s.Stage = "prepared"
	}
}

// armed asks the back end that armed. What needs a restart with an argument is over with the boot in which it was armed.
func armed(v steps.View, rec *schema.Armed, bootID string) bool {
	for _, b := range boot.Backends() {
		if b.Name() == rec.Method {
			return b.Armed(v.Device) && (boot.RestartArgument(b) == "" || rec.BootID == bootID)
		}
	}
	return false
}

func outcome(v steps.View) (*schema.Outcome, error) {
	name := path.Join(v.WorkDir, flashplan.OutcomeName)
	data, err := v.Files.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // stage 2 has not run
	}
	if err != nil {
		return nil, err
	}
	o := &schema.Outcome{}
	if err := schema.Decode(data, name, "outcome", o); err != nil {
		return nil, err
	}
	return o, nil
}

func exists(v steps.View, name string) bool {
	_, err := v.Files.Stat(name)
	return err == nil
}
