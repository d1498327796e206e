package blockdev

import (
	"fmt"
	"path"
	"strings"

	"github.com/balena-community/balena-migrate/steps/host"
)

// Drivers lists the kernel modules that drive a disk, from the disk up to its bus: all that an initramfs must load to
// see it. Drivers that are built into the kernel have no module and are not in the list.
func Drivers(r host.Reader, disk string) ([]string, error) {
	dir, err := r.RealPath("/sys/class/block/" + disk)
	if err != nil {
		return nil, err
	}
	dirs := []string{dir}
	if strings.Contains(dir, "/nvme-subsystem/") {
		if dirs, err = controllers(r, path.Dir(dir)); err != nil {
			return nil, err
		}
	}
	var out []string
	for _, d := range dirs {
		if link, err := r.RealPath(d + "/device"); err == nil && link != d+"/device" {
			out = append(out, chain(r, link)...)
		}
		out = append(out, chain(r, d)...)
	}
	return unique(out), nil
}

// controllers lists the NVMe controllers of a subsystem: with native multipath the namespace hangs on the subsystem,
// a virtual device without a driver.
func controllers(r host.Reader, subsystem string) ([]string, error) {
	entries, err := r.ReadDir(subsystem)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		dir, err := r.RealPath(subsystem + "/" + e.Name())
		if err == nil && path.Dir(dir) != subsystem && strings.HasPrefix(e.Name(), "nvme") {
			out = append(out, dir)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s: no NVMe controller in it", subsystem)
	}
	return out, nil
}

// chain collects the modules of a device and of all its parents.
func chain(r host.Reader, dir string) []string {
	var out []string
	for ; strings.HasPrefix(dir, "/sys/devices/"); dir = path.Dir(dir) {
		if module, err := r.Readlink(dir + "/driver/module"); err == nil {
			out = append(out, path.Base(module))
		}
	}
	return out
}

func unique(in []string) []string {
	var out []string
	seen := map[string]bool{}
	for _, s := range in {
		if !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	return out
}
