package precheck

import (
	"bytes"
	"errors"
	"io/fs"
	"slices"
	"strings"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/blockdev"
	"github.com/balena-community/balena-migrate/steps/device/boot"
	"github.com/balena-community/balena-migrate/steps/device/target"
)

// kernel is the running kernel, which will start stage 2, and what lies on the disk for it.
type kernel struct {
	release string
	entry   boot.Entry
	err     error
	// initrd is the size of its initramfs in bytes, 0 if it has none.
	initrd int64
}

func readKernel(s boot.Site, found boot.Backend) kernel {
	var k kernel
	if k.release, k.err = boot.Release(s); k.err != nil {
		return k
	}
	if k.entry, k.err = boot.Assumed(found).Running(s); k.err != nil || k.entry.Initrd == "" {
		return k
	}
	info, err := s.Stat(k.entry.Initrd)
	if err != nil {
		k.err = err
		return k
	}
	k.initrd = info.Size()
	return k
}

// newSystem are the file systems of balenaOS: FAT for boot, ext4 for the rest (E22). Stage 2 writes both.
func newSystem() []string { return []string{"ext4", "vfat"} }

// askKernel wants the running kernel on the disk, with the modules that bring stage 2 to the disk.
func (l *look) askKernel() answer {
	const want = "the running kernel with its modules in /boot and /lib/modules"
	k := l.kernel
	loader := l.foreign
	if loader == "" && (boot.Extlinux{}).Here(l.site) {
		loader = "U-Boot by extlinux.conf"
	}
	if k.err != nil && l.backend == nil && loader != "" {
		return unknown("where the kernel lies is a matter of the boot loader: " + loader)
	}
	if k.err != nil {
		return block(k.err.Error(), want, "reboot, so that an installed kernel runs (an upgrade removes old ones), and try again")
	}
	deps, err := l.moduleLists()
	if err != nil {
		return block(err.Error(), want, "reboot, so that an installed kernel runs, or install the package of kernel "+k.release+" again")
	}
	names := append(newSystem(), l.oldFileSystems()...)
	if l.disks.target != nil {
		drivers, err := blockdev.Drivers(l.Device, l.disks.target.Name)
		if err != nil {
			return unknown(err.Error())
		}
		names = append(names, drivers...)
	}
	if missing := absent(deps, names); len(missing) > 0 {
		return block("no module "+strings.Join(missing, ", ")+" for kernel "+k.release, want,
			"boot a kernel that has them, such as that of linux-image-amd64")
	}
	return pass("%s", k.release)
}

// oldFileSystems are those that stage 2 mounts.
func (l *look) oldFileSystems() []string {
	var out []string
	for _, fsys := range []*schema.FileSystem{l.disks.root, l.disks.work} {
		if fsys != nil && target.Mountable(l.Device, *fsys) == nil {
			out = append(out, fsys.Type)
		}
	}
	return out
}

// moduleLists is what depmod(8) wrote: module files, and modules that are built in.
func (l *look) moduleLists() ([]byte, error) {
	dir := "/lib/modules/" + l.kernel.release
	deps, err := l.Device.ReadFile(dir + "/modules.dep")
	if err != nil {
		return nil, err
	}
	builtin, err := l.Device.ReadFile(dir + "/modules.builtin")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return slices.Concat(deps, []byte("\n"), builtin), nil
}

// absent lists the names without a module. File names may have dashes where the kernel has underscores.
func absent(lists []byte, names []string) []string {
	lists = bytes.ReplaceAll(lists, []byte("-"), []byte("_"))
	var out []string
	for _, name := range names {
		if !bytes.Contains(lists, []byte("/"+strings.ReplaceAll(name, "-", "_")+".ko")) {
			out = append(out, name)
		}
	}
	return out
}
