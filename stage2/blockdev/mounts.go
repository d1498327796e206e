// Package blockdev tells which disk is under a path and how to know it again: from /proc/self/mountinfo, /sys and the
// partition table, never from a name. Stage 1 identifies the disk with it, stage 2 finds it by the same code.
package blockdev

import (
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/balena-community/balena-migrate/steps/host"
)

// Mount is a line of /proc/self/mountinfo (proc_pid_mountinfo(5)).
type Mount struct {
	// Device is "major:minor".
	Device string
	// Root is the directory of the file system that is mounted, not "/" for bind mounts and subvolumes.
	Root     string
	Point    string
	Type     string
	Source   string
	ReadOnly bool
}

// Mounts reads what is mounted, in mount order.
func Mounts(r host.Reader) ([]Mount, error) {
	data, err := r.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	return ParseMounts(string(data))
}

// ParseMounts parses mountinfo.
func ParseMounts(text string) ([]Mount, error) {
	var out []Mount
	for n, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		if line == "" {
			continue
		}
		head, tail, ok := strings.Cut(line, " - ")
		f, g := strings.Fields(head), strings.Fields(tail)
		if !ok || len(f) < 6 || len(g) < 2 {
			return nil, fmt.Errorf("mountinfo line %d: found %q, expected the fields of proc_pid_mountinfo(5)", n+1, line)
		}
		out = append(out, Mount{
			Device: f[2], Root: unescape(f[3]), Point: unescape(f[4]), Type: g[0], Source: unescape(g[1]),
			ReadOnly: strings.HasPrefix(f[5]+",", "ro,"),
		})
	}
	return out, nil
}

// unescape undoes the octal escapes of blanks, newlines and backslashes.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// Under returns the mount that holds name, which must be free of links, and name's path inside that file system.
func Under(mounts []Mount, name string) (Mount, string, error) {
	best := -1
	for i, m := range mounts {
		if (name == m.Point || m.Point == "/" || strings.HasPrefix(name, m.Point+"/")) &&
			(best < 0 || len(m.Point) >= len(mounts[best].Point)) {
			best = i
		}
	}
	if best < 0 {
		return Mount{}, "", fmt.Errorf("%s: no mount of /proc/self/mountinfo holds it", name)
	}
	m := mounts[best]
	return m, path.Join(m.Root, strings.TrimPrefix(name, strings.TrimSuffix(m.Point, "/"))), nil
}
