package stage2

import (
	"bytes"
	"strings"
	"syscall"
	"testing"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/badblocks"
	"github.com/balena-community/balena-migrate/stage2/flashplan"
	"github.com/balena-community/balena-migrate/steps/host"
)

// wornHost has a disk whose blocks from bad on can't be read, so many of them.
type wornHost struct {
	host.Host
	disk     string
	bad, end int64
}

func (h wornHost) Open(name string) (host.File, error) {
	f, err := h.Host.Open(name)
	if name != h.disk || err != nil {
		return f, err
	}
	return wornFile{f, h}, nil
}

type wornFile struct {
	host.File
	h wornHost
}

func (f wornFile) ReadAt(p []byte, off int64) (int, error) {
	if off < f.h.end && f.h.bad < off+int64(len(p)) {
		return 0, syscall.EIO
	}
	return f.File.ReadAt(p, off)
}

// A medium with more bad blocks than allowed is left to the old system, with the count and the place; one with fewer is
// migrated, and without the option nothing is read.
func TestBadBlocks(t *testing.T) {
	const first = 3 << 20
	cases := map[string]struct {
		limit   string
		verdict string
		reason  string
	}{
		"too many":      {"4", schema.OutcomeAborted, "5 or more of 2305 can't be read, 4 are allowed, the first is at 3145728 (blocks of 4096 bytes) (disk.max_bad_blocks: 4)"},
		"too many in %": {"0%", schema.OutcomeAborted, "1 or more of 2305 can't be read, 0 are allowed"},
		"just enough":   {"5", schema.OutcomeMigrated, ""},
		"enough in %":   {"1%", schema.OutcomeMigrated, ""},
		"not asked for": {"", schema.OutcomeMigrated, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			plan, err := flashplan.Load(l.h)
			if err != nil {
				t.Fatal(err)
			}
			plan.MaxBadBlocks = c.limit
			put(t, l.h, flashplan.Plan, plan)
			l.Host = wornHost{Host: l.h, disk: "/dev/vda", bad: first, end: first + 5*badblocks.BlockSize}
			before := l.diskBytes(t, 16<<20)
			l.start()
			at := oldRoot + workDir + "/" + flashplan.OutcomeName
			if c.verdict == schema.OutcomeMigrated {
				at = "/dev/parts/vda2-new/" + flashplan.NewOutcome
			}
			o := l.outcomeAt(t, at)
			if o.Verdict != c.verdict || !strings.Contains(o.Reason, c.reason) {
				t.Errorf("outcome %s in %s: %s", o.Verdict, o.Phase, o.Reason)
			}
			if said := strings.Contains(string(l.log.bytes()), "bad block at 3145728"); said != (c.limit != "") {
				t.Errorf("the log names the place: %v", said)
			}
			if c.verdict == schema.OutcomeAborted {
				if l.k.ended != "reboot" || !bytes.Equal(before, l.diskBytes(t, 16<<20)) {
					t.Errorf("ended by %q, or the disk was written", l.k.ended)
				}
				l.wantDisarmed(t)
			}
		})
	}
}
