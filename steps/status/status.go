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
	"github.com/balena-community/balena-migrate/steps/device/target"
	"github.com/balena-community/balena-migrate/steps/host"
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
	if err := readWord(v, s); err != nil {
		return nil, err
	}
	s.Armed = rec != nil && armed(v, rec, id)
	s.Reboot = reboot.Pending(v.Files, reboot.Note(v.WorkDir), id)
	judge(s, rec, v.Facts.Initramfs != nil)
	if s.Outcome == nil && rec != nil && rec.Loaded != "" && rec.BootID != id {
		judgeLoaded(v, s, rec)
	}
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

// judgeLoaded is about kexec, where another boot is no sign that stage 2 was started: what is loaded ends with its boot.
func judgeLoaded(v steps.View, s *schema.Status, rec *schema.Armed) {
	s.Stage = "prepared"
	s.Reason = "the machine was started anew, by which the kernel that was loaded for kexec is gone; run arm-boot again, or disarm"
	if reboot.Last(v.Files, reboot.Note(v.WorkDir)) == rec.BootID {
		s.Stage = "crashed"
		s.Reason = "the machine went into stage 2 by kexec, but stage 2 left no word: it crashed before it could mount a file system of this system, " +
			"or there is none that it can; run balena-migrate disarm"
	}
}

// readWord finds what stage 2 left, in the work dir or where it could reach.
func readWord(v steps.View, s *schema.Status) error {
	places := []target.Word{{Dir: v.WorkDir}}
	if site, err := boot.At(v.Device); err == nil {
		if w, found := target.FindWord(site, v.Files, v.WorkDir); found && w.OnDevice {
			places = append(places, w)
		}
	}
	for _, w := range places {
		r := w.Reader(v.Device, v.Files)
		var err error
		if s.Outcome, err = outcome(r, path.Join(w.Dir, flashplan.OutcomeName)); err != nil {
			return err
		}
		if log := path.Join(w.Dir, flashplan.LogName); s.Log == "" && exists(r, log) {
			s.Log = log
		}
		if s.Outcome != nil {
			return nil
		}
	}
	return nil
}

// armed asks the back end that armed. What a kernel has loaded, or needs a restart with an argument, is over with the boot in
// which it was armed.
func armed(v steps.View, rec *schema.Armed, bootID string) bool {
	if rec.Loaded != "" && rec.BootID != bootID {
		return false
	}
	for _, b := range boot.Backends() {
		if b.Name() == rec.Method {
			return b.Armed(v.Device) && (boot.RestartArgument(b) == "" || rec.BootID == bootID)
		}
	}
	return false
}

func outcome(r host.Reader, name string) (*schema.Outcome, error) {
	data, err := r.ReadFile(name)
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

func exists(r host.Reader, name string) bool {
	_, err := r.Stat(name)
	return err == nil
}
