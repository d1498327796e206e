package precheck

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps/host"
)

// Values of an eMMC's own account of its wear (JESD84-B51, 7.4.38 to 7.4.40), which the kernel shows in sysfs: life_time
// holds two estimates, for the cells of type A and B, in tenths of the life that is used up, 0 where it is not told.
const (
	lifeSpent    = 0x0b // beyond what it was made for
	lifeOld      = 0x09 // 80 % and more
	preEOLWarn   = 0x02 // 80 % of the spare blocks are used
	preEOLUrgent = 0x03 // 90 %
)

// askHealth is D11: what the kernel tells of the medium's wear without asking the drive by a vendor's command, and of the
// errors that the old system's file systems have met on it.
func (l *look) askHealth() answer {
	if l.disks.target == nil {
		return unknown("no disk was found")
	}
	wear, told, worst := l.wear()
	errs := l.fileSystemErrors()
	switch {
	case worst >= lifeSpent:
		return blockAll([]schema.Blocked{{
			Got: wear, Want: "a medium within its life",
			Remedy: "replace it; to flash it all the same, put disk-health into checks.skip and set disk.max_bad_blocks",
		}})
	case worst >= lifeOld:
		return warn(joined(wear, errs), "the medium is near its end: "+joined(wear, errs)+"; set disk.max_bad_blocks to have it read before the flash")
	case errs != "":
		return warn(joined(wear, errs), errs+": look into dmesg; set disk.max_bad_blocks to have the disk read before the flash")
	case !told:
		return pass("not known: the kernel tells nothing of this medium's wear")
	}
	return pass("%s", wear)
}

func joined(parts ...string) string {
	var out []string
	for _, p := range parts {
		if p != "" {
			out = append(out, p)
		}
	}
	return strings.Join(out, "; ")
}

// wear reads an eMMC's account. worst is on the scale of life_time.
func (l *look) wear() (text string, told bool, worst int64) {
	dir := "/sys/class/block/" + l.disks.target.Name + "/device/"
	life, worst := lifeTime(host.Line(l.Device, dir+"life_time"))
	spares, bad := preEOL(host.Line(l.Device, dir+"pre_eol_info"))
	text = joined(life, spares)
	return text, text != "", max(worst, bad)
}

// lifeTime puts life_time into words, none where it tells nothing.
func lifeTime(value string) (text string, worst int64) {
	for i, field := range strings.Fields(value) {
		v, ok := hexByte(field)
		if !ok || v == 0 || i > 1 {
			continue
		}
		used := fmt.Sprintf("%d to %d %% of its life used", 10*(v-1), 10*v)
		if v >= lifeSpent {
			used = "its life is used up"
		}
		worst, text = max(worst, v), joined(text, fmt.Sprintf("cells of type %c: %s (life_time %s)", 'A'+i, used, field))
	}
	return text, worst
}

// preEOL puts pre_eol_info into words, none where it tells nothing.
func preEOL(value string) (text string, worst int64) {
	switch v, ok := hexByte(value); {
	case !ok || v == 0:
		return "", 0
	case v >= preEOLUrgent:
		return "90 % or more of the spare blocks used (pre_eol_info " + value + ")", lifeSpent
	case v == preEOLWarn:
		return "80 % or more of the spare blocks used (pre_eol_info " + value + ")", lifeOld
	}
	return "spare blocks as they should be", 0
}

// hexByte reads a number like 0x0a.
func hexByte(text string) (int64, bool) {
	v, err := strconv.ParseUint(strings.TrimPrefix(text, "0x"), 16, 8)
	return int64(v), err == nil
}

// fileSystemErrors says what ext4 has counted since the last fsck (ext4(5), /sys/fs/ext4/X/errors_count).
func (l *look) fileSystemErrors() string {
	var out []string
	seen := map[string]bool{}
	for _, fsys := range []*schema.FileSystem{l.disks.root, l.disks.boot, l.disks.work} {
		if fsys == nil || seen[fsys.Device] {
			continue
		}
		seen[fsys.Device] = true
		n, err := strconv.ParseInt(host.Line(l.Device, "/sys/fs/ext4/"+fsys.Device+"/errors_count"), 10, 64)
		if err == nil && n > 0 {
			out = append(out, fmt.Sprintf("the file system on %s has met %d errors", fsys.Device, n))
		}
	}
	return strings.Join(out, "; ")
}
