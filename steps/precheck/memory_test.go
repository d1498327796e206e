package precheck

import (
	"fmt"
	"strings"
	"testing"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/flashplan"
	"github.com/balena-community/balena-migrate/steps/host/hosttest"
)

// TestWaysOfMemory: what is needed and which way is taken, by the room on the disk and the size of the machine, before and
// after prepare-image. The image is 51 MiB packed and at least 440 MiB unpacked, the disk 3 GiB, there are 2 processors.
func TestWaysOfMemory(t *testing.T) {
	placed := func(in, held int64) func(*hosttest.Host, *schema.Migration) {
		return func(_ *hosttest.Host, in2 *schema.Migration) {
			in2.Facts.Image = prepared("genericx86-64-ext", in+held, 440<<20)
			in2.Facts.Image.Placement = &schema.Placement{Written: 440 << 20, InPlace: in, Held: held, Note: "x"}
		}
	}
	none := func(*hosttest.Host, *schema.Migration) {}
	for _, c := range []struct {
		name     string
		mib      int
		change   func(*hosttest.Host, *schema.Migration)
		status   string
		held, in int64 // in MiB
		alone    bool
		text     string
	}{
		{"room on the disk", 958, none, "pass", 0, 51, false, "are read in place (51 MiB)"},
		{"little memory, room on the disk", 230, none, "pass", 0, 51, true, "without the old system's initramfs"},
		{"room nobody knows where, but memory", 958, free(300), "pass", 51, 0, false, "held in memory (51 MiB)"},
		{"room nobody knows where, and little memory", 200, free(300), "warn", 0, 51, true, "prepare-image tells"},
		{"no room, little memory", 190, free(40), "block", 21, 30, true, "190 MiB"},
		{"placed beyond", 200, placed(300<<20, 0), "pass", 0, 300, true, "are read in place (300 MiB)"},
		{"placed in part", 958, placed(200<<20, 100<<20), "pass", 100, 200, false, "100 MiB of image and backup are held in memory, 200 MiB read in place"},
		{"placed in part, too little", 256, placed(200<<20, 100<<20), "block", 100, 200, true, "256 MiB"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, in := machines()[0].start(t)
			change(t, h, "/proc/meminfo", "981464 kB", fmt.Sprint(c.mib<<10, " kB"))
			c.change(h, in)
			res := converge(t, h, in)
			m := res.Facts.Host.Memory
			got := status(t, res, "memory")
			if got.Status != c.status || !strings.Contains(got.Got, c.text) {
				t.Errorf("%+v, want %s with %q", got, c.status, c.text)
			}
			if m.Held>>20 != c.held || m.InPlace>>20 != c.in || m.Alone != c.alone {
				t.Errorf("%+v, want %d MiB held, %d in place, alone %v", m, c.held, c.in, c.alone)
			}
			if m.Need <= m.Held+flashplan.Program || (m.Need > m.Total) != (c.status == "block") {
				t.Errorf("need %d of %d bytes", m.Need, m.Total)
			}
		})
	}
}

func free(mib int64) func(*hosttest.Host, *schema.Migration) {
	return func(h *hosttest.Host, _ *schema.Migration) { h.FreeBytes = mib << 20 }
}
