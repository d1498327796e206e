package precheck

import (
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/balena-community/balena-migrate/steps"
)

// speed is how fast the disk has written since the machine started, or was measured to write, in kB/s; 0 when it has
// written too little to tell.
type speed struct {
	kbs      int64
	measured bool
	err      error
}

// Fields of /sys/block/X/stat (Documentation/block/stat.rst). Sectors are of 512 bytes whatever the disk has.
const (
	statWriteSectors = 6
	statWriteTicks   = 7
	statBusyTicks    = 9
	statFields       = 11
)

// leastWritten is how many bytes tell something of a disk.
const leastWritten = 1 << 20

func (l *look) readSpeed() speed {
	if l.disks.target == nil {
		return speed{}
	}
	data, err := l.Device.ReadFile("/sys/class/block/" + l.disks.target.Name + "/stat")
	if err != nil {
		return speed{err: err}
	}
	s := speed{}
	if s.kbs, s.err = writeSpeed(string(data)); s.kbs > 0 || s.err != nil {
		return s
	}
	if known := steps.LoadStamp(l.Files, path.Join(l.WorkDir, speedStamp)); steps.Fresh(l.Files, known, l.speedRecipe()) && known.Facts.Host != nil {
		s = speed{kbs: known.Facts.Host.WriteKBs, measured: true}
	}
	return s
}

// writeSpeed is S53. The kernel counts the milliseconds that requests waited, of those that waited at the same time each,
// and those in which the disk was busy, reading too. Both are no less than the time it wrote, so the disk is at least as
// fast as the lesser of them says. Bytes per millisecond are kB/s.
func writeSpeed(stat string) (int64, error) {
	f := strings.Fields(stat)
	if len(f) < statFields {
		return 0, fmt.Errorf("disk statistics: found %d fields, expected %d or more", len(f), statFields)
	}
	var n [statFields]int64
	for i, text := range f[:statFields] {
		v, err := strconv.ParseInt(text, 10, 54) // so that bytes do not overflow
		if err != nil || v < 0 {
			return 0, fmt.Errorf("disk statistics, field %d: found %q, expected a count", i+1, text)
		}
		n[i] = v
	}
	written, ticks := n[statWriteSectors]*512, min(n[statWriteTicks], n[statBusyTicks])
	if ticks == 0 || written < leastWritten {
		return 0, nil
	}
	return written / ticks, nil
}

// askWriteSpeed compares with S32's limits.
func (l *look) askWriteSpeed() answer {
	c, s := l.Config.Disk, l.speed
	switch {
	case l.disks.target == nil:
		return unknown("no disk was found")
	case s.err != nil:
		return unknown(s.err.Error())
	case s.kbs == 0 && c.MinWriteKBs > 0 && l.canMeasure():
		return pass("to be measured: the disk has hardly been written since the machine started")
	case s.kbs == 0 && c.MinWriteKBs > 0:
		return unknown(fmt.Sprintf("the disk has hardly been written since the machine started, and to measure it takes %s in the work dir", size(speedSize)))
	case s.kbs == 0:
		return pass("not known: the disk has hardly been written since the machine started")
	case s.kbs < c.MinWriteKBs:
		return block(fmt.Sprintf("%d kB/s", s.kbs), fmt.Sprintf("%d kB/s or more (disk.min_write_kb_s)", c.MinWriteKBs),
			"the medium may be worn out: replace it, or lower disk.min_write_kb_s")
	case s.kbs < c.WarnWriteKBs:
		return warn(fmt.Sprintf("%d kB/s", s.kbs), fmt.Sprintf("the disk writes %d kB/s, less than %d (disk.warn_write_kb_s): the flash will take long, and the medium may be worn out", s.kbs, c.WarnWriteKBs))
	}
	if s.measured {
		return pass("%d kB/s, measured", s.kbs)
	}
	return pass("%d kB/s", s.kbs)
}
