package blockdev

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/balena-community/balena-migrate/steps/host"
)

// DisksOf lists the whole disks that a mounted file system lies on, below whatever layers: partitions, device mapper (LVM,
// LUKS), RAID, and a btrfs over several devices. A file system that the kernel knows no device of, such as zfs, is an error.
func DisksOf(r host.Reader, m Mount) ([]string, error) {
	names, err := devices(r, m)
	if err != nil {
		return nil, err
	}
	whole, err := Names(r)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, name := range names {
		more, err := below(r, name, whole, 0)
		if err != nil {
			return nil, err
		}
		out = append(out, more...)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// below follows a device down to whole disks: a partition to what it is a part of, a layer to what the kernel names as its
// slaves (Documentation/ABI/testing/sysfs-block, "slaves").
func below(r host.Reader, name string, whole []string, depth int) ([]string, error) {
	dir, err := r.RealPath("/sys/class/block/" + name)
	if err != nil {
		return nil, err
	}
	if slices.Contains(whole, name) {
		return []string{name}, nil
	}
	if _, err := r.Stat(dir + "/partition"); err == nil && depth < deepest {
		return below(r, path.Base(path.Dir(dir)), whole, depth+1)
	}
	slaves, err := r.ReadDir(dir + "/slaves")
	if err != nil || len(slaves) == 0 || depth == deepest {
		return nil, fmt.Errorf("%s is %s: %w", name, layer(name), ErrLayered)
	}
	var out []string
	for _, s := range slaves {
		more, err := below(r, s.Name(), whole, depth+1)
		if err != nil {
			return nil, err
		}
		out = append(out, more...)
	}
	return out, nil
}

// devices lists the kernel names of what a file system is directly on. Of a btrfs mountinfo tells no number that leads
// there, but one of its devices, and sysfs tells all (btrfs(5), /sys/fs/btrfs).
func devices(r host.Reader, m Mount) ([]string, error) {
	if link, err := r.Readlink("/sys/dev/block/" + m.Device); err == nil {
		return []string{path.Base(link)}, nil
	}
	unknown := fmt.Errorf("%s on %s: %w", m.Type, m.Point, ErrLayered)
	if m.Type != "btrfs" || !strings.HasPrefix(m.Source, "/dev/") {
		return nil, unknown
	}
	real, err := r.RealPath(m.Source)
	if err != nil {
		return nil, err
	}
	all, err := r.ReadDir("/sys/fs/btrfs")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", unknown, err)
	}
	for _, fsys := range all {
		entries, err := r.ReadDir("/sys/fs/btrfs/" + fsys.Name() + "/devices")
		if err != nil {
			continue // "features" has none
		}
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		if slices.Contains(names, path.Base(real)) {
			return names, nil
		}
	}
	return nil, unknown
}
