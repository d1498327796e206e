package status

import (
	"strings"
	"testing"
	"time"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/disarm"
	"github.com/balena-community/balena-migrate/stage2/flashplan"
	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/host/hosttest"
	"github.com/balena-community/balena-migrate/steps/reboot"
	"github.com/balena-community/balena-migrate/steps/steptest"
)

const work = "/var/lib/balena-migrate/"

func put(t *testing.T, h *hosttest.Host, name string, document any) {
	t.Helper()
	data, err := schema.Encode(document)
	if err != nil {
		t.Fatal(err)
	}
	h.Put(name, string(data))
}

func record(bootID string) *schema.Armed {
	return &schema.Armed{Schema: schema.ArmedName, Method: "grub", BootID: bootID, Files: []schema.ArmedFile{}}
}

func outcomeOf(verdict, reason string) *schema.Outcome {
	return &schema.Outcome{
		Schema: schema.OutcomeName, Verdict: verdict, Phase: "verify", Reason: reason, BootID: "before", Version: "1", Phases: []schema.PhaseNote{},
	}
}

// Where a host stands is told from the record of arming, the boot configuration, the boot and stage 2's last word.
func TestStage(t *testing.T) {
	armedEnv := hosttest.Grubenv("next_entry=" + disarm.EntryID + "\n")
	cases := map[string]struct {
		record   *schema.Armed
		outcome  *schema.Outcome
		grubenv  string
		uenv     string
		prepared bool
		stage    string
		armed    bool
		reason   string
	}{
		"untouched":          {stage: "untouched"},
		"prepared":           {prepared: true, stage: "prepared"},
		"armed":              {prepared: true, record: record(hosttest.BootID), grubenv: armedEnv, stage: "armed", armed: true},
		"armed by nobody":    {grubenv: armedEnv, stage: "untouched"},
		"arming was stopped": {prepared: true, record: record(hosttest.BootID), stage: "prepared", reason: "stopped part way"},
		"crashed early":      {prepared: true, record: record("another boot"), stage: "crashed", reason: "left no word"},
		"crashed later":      {outcome: outcomeOf(schema.OutcomeStarted, ""), stage: "crashed", reason: `as far as "verify"`},
		"aborted":            {prepared: true, outcome: outcomeOf(schema.OutcomeAborted, "image: SHA-256"), stage: "aborted", reason: "image: SHA-256"},
		"rehearsed":          {outcome: outcomeOf(schema.OutcomeRehearsed, ""), stage: "rehearsed"},
		"not started although armed": {
			record: &schema.Armed{Schema: schema.ArmedName, Method: "uenv", BootID: "another boot", Files: []schema.ArmedFile{}}, uenv: disarm.FenceBegin + "\n",
			stage: "crashed", armed: true, reason: "did not get it started",
		},
		"armed, not yet booted": {record: record("another boot"), grubenv: armedEnv, stage: "armed", armed: true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			h := hosttest.Debian(t)
			if c.grubenv != "" {
				h.Put("/boot/grub/grubenv", c.grubenv)
			}
			if c.uenv != "" {
				h.Put("/boot/uEnv.txt", c.uenv)
			}
			if c.record != nil {
				put(t, h, work+disarm.RecordName, c.record)
			}
			if c.outcome != nil {
				put(t, h, work+flashplan.OutcomeName, c.outcome)
			}
			in := schema.NewMigration()
			if c.prepared {
				in.Facts.Initramfs = &schema.InitramfsFacts{Path: work + "initramfs"}
			}
			s, err := Read(steptest.RunOn(h).View(in))
			if err != nil {
				t.Fatal(err)
			}
			if s.Stage != c.stage || s.Armed != c.armed || !strings.Contains(s.Reason, c.reason) || (s.Reason == "") != (c.reason == "") {
				t.Errorf("stage %s, armed %v, reason %q; want %s, %v, %q", s.Stage, s.Armed, s.Reason, c.stage, c.armed, c.reason)
			}
			if s.BootID != hosttest.BootID || !strings.HasPrefix(s.Msg, c.stage) || !strings.HasSuffix(s.Msg, s.Reason) {
				t.Errorf("boot %s, message %q", s.BootID, s.Msg)
			}
			data, err := schema.Encode(s)
			if err != nil {
				t.Fatal(err)
			}
			if err := schema.Decode(data, "status", "status", &schema.Status{}); err != nil {
				t.Error(err)
			}
		})
	}
}

// The log of the last stage 2 and a pending reboot are pointed at when they are there.
func TestTraces(t *testing.T) {
	h := hosttest.Debian(t)
	view := steptest.RunOn(h).View(schema.NewMigration())
	if s, err := Read(view); err != nil || s.Log != "" || s.Reboot != nil {
		t.Errorf("%+v, %v; want no log and no reboot", s, err)
	}
	h.Put(work+flashplan.LogName, "log")
	due := schema.RebootFacts{BootID: hosttest.BootID, Pending: true, Due: h.Clock.Add(time.Minute).Format(time.RFC3339)}
	h.Living = []int{4711}
	err := steps.SaveStamp(h, reboot.Note(view.WorkDir), &schema.Stamp{
		Recipe: "4711", Files: []schema.FileStamp{}, Facts: schema.Facts{Reboot: &due},
	})
	if err != nil {
		t.Fatal(err)
	}
	if s, err := Read(view); err != nil || s.Log != work+flashplan.LogName || s.Reboot == nil || *s.Reboot != due {
		t.Errorf("%+v, %v; want the log and the reboot", s, err)
	}
}

// A trace that can't be read is an error: "untouched" would be a lie.
func TestDamagedTraces(t *testing.T) {
	for _, name := range []string{disarm.RecordName, flashplan.OutcomeName} {
		h := hosttest.Debian(t)
		h.Put(work+name, `{"schema":`)
		if s, err := Read(steptest.RunOn(h).View(schema.NewMigration())); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s is damaged: %+v, %v; want an error that names it", name, s, err)
		}
	}
}
