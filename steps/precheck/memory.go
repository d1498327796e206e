package precheck

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/flashplan"
	"github.com/balena-community/balena-migrate/steps/host"
)

// archiveSize is our own part of the initramfs before there is one, unpacked, in bytes: the executable has about 10 MB,
// the modules 5 MB.
const archiveSize = 16 << 20

// initrdGrowth is how much larger a host's initramfs is unpacked: measured on Debian 12, 30 MB become 126 MB.
const initrdGrowth = 4

// memory is in bytes; need is 0 where the image is not known, and without lists what it leaves out.
type memory struct {
	total, need int64
	err         error
	without     []string
}

// readMemory is F7, and what stage 2 really needs besides.
func (l *look) readMemory() memory {
	var m memory
	m.total, m.err = memTotal(l.Device)
	if !l.image.known(l.Facts.Image) {
		return m
	}
	m.need = l.stage2Need(&m) + initrdGrowth*l.kernel.initrd + l.Config.Stage2.MinFreeMB<<20
	return m
}

// stage2Need is what the flash plan takes and our archive, exact once build-initramfs has made it.
func (l *look) stage2Need(m *memory) int64 {
	if f := l.Facts.Initramfs; f != nil {
		return f.MemoryNeed
	}
	plan := schema.FlashPlan{Image: schema.FileRef{Size: l.image.packed}}
	switch b := l.Facts.Backup; {
	case b != nil:
		plan.Backup = &schema.FileRef{Size: b.Size}
	case l.wantsBackup():
		m.without = append(m.without, "the backup")
	}
	return flashplan.Need(&plan, processors(l.Device)) + archiveSize
}

func (l *look) wantsBackup() bool {
	return l.Config.Backup.Script != "" || l.Config.Backup.Definition != ""
}

// memTotal reads MemTotal (proc_meminfo(5)), in bytes.
func memTotal(r host.Reader) (int64, error) {
	data, err := r.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	for l := range strings.SplitSeq(string(data), "\n") {
		f := strings.Fields(l)
		if len(f) != 3 || f[0] != "MemTotal:" || f[2] != "kB" {
			continue
		}
		if kb, err := strconv.ParseInt(f[1], 10, 43); err == nil && kb > 0 {
			return kb << 10, nil
		}
	}
	return 0, fmt.Errorf("/proc/meminfo: found no MemTotal in kB")
}

// processors counts those that stage 2 will have, by the list of /sys/devices/system/cpu/online ("0-3,8"); where there
// is none it assumes so many that the need is not taken for too little.
func processors(r host.Reader) int {
	n := 0
	for part := range strings.SplitSeq(line(r, "/sys/devices/system/cpu/online"), ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		a, errA := strconv.ParseUint(first, 10, 16)
		b, errB := strconv.ParseUint(last, 10, 16)
		if errA != nil || errB != nil || b < a {
			return 1 << 16
		}
		n += int(b-a) + 1
	}
	return n
}

// askMemory compares the need with all that the machine has: stage 2 runs alone.
func (l *look) askMemory() answer {
	m := l.memory
	if m.err != nil {
		return block(m.err.Error(), "the memory's size", "mount -t proc proc /proc")
	}
	if m.need == 0 {
		return unknown("how much is needed depends on the image; the machine has " + size(m.total))
	}
	need := fmt.Sprintf("%s: the image (%s), the kernel's initramfs, stage 2 itself, and %d MiB to stay free (stage2.min_free_mb)",
		size(m.need), size(l.image.packed), l.Config.Stage2.MinFreeMB)
	if m.total < m.need {
		return block(size(m.total)+" of memory", "at least "+need, "use a smaller image or backup, lower stage2.min_free_mb, or add memory")
	}
	got := fmt.Sprintf("%s of memory, %s needed", size(m.total), size(m.need))
	if len(m.without) > 0 {
		got += " without " + strings.Join(m.without, ", ") + ", whose size is not known yet"
	}
	return pass("%s", got)
}
