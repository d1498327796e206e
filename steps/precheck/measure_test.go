package precheck

import (
	"context"
	"reflect"
	"strings"
	"testing"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/host/hosttest"
	"github.com/balena-community/balena-migrate/steps/steptest"
)

// idle is a machine whose disk was hardly written since it started, with a limit to compare with, in kB/s.
func idle(t *testing.T, limit int64) (*hosttest.Host, *schema.Migration) {
	t.Helper()
	h, in := machines()[0].start(t)
	h.Put(sysDisk+"/stat", "0 0 0 0 0 0 0 0 0 0 0")
	in.Config.Disk.MinWriteKBs = limit
	return h, in
}

// S53: what the kernel can't tell is measured, by a change like any other: announced, made, and then known.
func TestSpeedIsMeasured(t *testing.T) {
	h, in := idle(t, 4000)
	h.WriteKBs = 5000
	announced := steptest.RunOn(h)
	announced.Check = true
	said, err := announced.Converge(context.Background(), Step{}, in)
	if err != nil {
		t.Fatal(err)
	}
	res := converge(t, h, in)
	if !reflect.DeepEqual(said.Changes, res.Changes) {
		t.Errorf("check announced %v, the run did %v", said.Changes, res.Changes)
	}
	if again := converge(t, h, in); again.Changed || !reflect.DeepEqual(again.Facts, res.Facts) {
		t.Errorf("a second run changed %v, or the facts", again.Changes)
	}
	if got := status(t, res, "write-speed"); got.Status != passed || !strings.HasSuffix(got.Got, "kB/s, measured") || res.Facts.Host.WriteKBs < 4990 || res.Facts.Host.WriteKBs > 5010 {
		t.Errorf("%+v, %d kB/s", got, res.Facts.Host.WriteKBs)
	}
	if len(res.Changes) != 1 || res.Changes[0].Action != "measure write speed" {
		t.Errorf("changes %v", res.Changes)
	}
	h.Put("/proc/sys/kernel/random/boot_id", "another\n")
	if res := converge(t, h, in); len(res.Changes) != 1 {
		t.Errorf("after a restart: changes %v, want it measured again", res.Changes)
	}
}

// A medium that is measured to be slower than the limit blocks.
func TestSlowDiskIsMeasured(t *testing.T) {
	h, in := idle(t, 4000)
	h.WriteKBs = 300
	res, err := steptest.RunOn(h).Converge(context.Background(), Step{}, in)
	if err != nil || res.Status != schema.BlockedBy || len(res.Blocked) != 1 || !strings.Contains(res.Blocked[0].Got, "300 kB/s") {
		t.Errorf("%v, status %s, blocked %v", err, res.Status, res.Blocked)
	}
}

// Nothing is written where there is no limit, where it is not to be checked, and in check mode.
func TestSpeedIsNotMeasured(t *testing.T) {
	for name, change := range map[string]func(*steps.Run, *schema.Migration){
		"no limit":   func(_ *steps.Run, in *schema.Migration) { in.Config.Disk.MinWriteKBs = 0 },
		"skipped":    func(_ *steps.Run, in *schema.Migration) { in.Config.Checks.Skip = []string{"write-speed"} },
		"check mode": func(r *steps.Run, _ *schema.Migration) { r.Check = true },
		"known": func(r *steps.Run, _ *schema.Migration) {
			r.Device.(*hosttest.Host).Put(sysDisk+"/stat", "0 0 0 0 9 0 200000 1000 0 1000 1000")
		},
	} {
		t.Run(name, func(t *testing.T) {
			h, in := idle(t, 1000) // and a measurement fails the test
			run := steptest.RunOn(h)
			change(&run, in)
			if _, err := run.Converge(context.Background(), Step{}, in); err != nil {
				t.Error(err)
			}
			if _, err := h.Stat(run.WorkDir + "/" + speedStamp); err == nil {
				t.Error("a stamp was left")
			}
		})
	}
}
