package boot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/balena-community/balena-migrate/stage2/blockdev"
	"github.com/balena-community/balena-migrate/stage2/disarm"
	"github.com/balena-community/balena-migrate/stage2/fsprobe"
	"github.com/balena-community/balena-migrate/steps/device/configtxt"
)

// firmware is what the firmware of a Raspberry Pi was found to do. It is read once for a Site: the back ends ask it many
// questions, and an SD card is slow.
type firmware struct {
	site     Site
	dir      string         // where its partition is mounted, "" if nowhere
	mount    blockdev.Mount // the same
	number   int            // of its partition, 0 if that can't be told
	board    configtxt.Board
	lines    []configtxt.Line
	start    configtxt.Start
	autoboot configtxt.Autoboot
	err      error // why it can't be told
}

// bootDirs are where the firmware's partition is mounted: since Debian 12, and before (D12).
func bootDirs() []string { return []string{"/boot/firmware", "/boot"} }

// readFirmware looks at config.txt and what belongs to it.
func readFirmware(s Site) *firmware {
	f := &firmware{site: s}
	f.err = f.look()
	return f
}

func (f *firmware) look() error {
	f.findDir()
	if f.dir == "" {
		return fmt.Errorf("found no FAT file system with a config.txt mounted at %s", strings.Join(bootDirs(), " or "))
	}
	f.number = f.partition()
	model, err := f.site.ReadFile("/proc/device-tree/model")
	if err != nil {
		return err
	}
	cpu, err := f.site.ReadFile("/proc/cpuinfo")
	if err != nil {
		return err
	}
	f.board = configtxt.BoardOf(string(model), string(cpu))
	f.board.Partition = f.number
	if f.lines, err = configtxt.Read(f.unarmed, f.board); err != nil {
		return err
	}
	if f.start, err = configtxt.Resolve(f.lines); err != nil {
		return err
	}
	auto, err := f.site.ReadFile(f.at("autoboot.txt"))
	if err == nil {
		f.autoboot, err = configtxt.ReadAutoboot(string(auto))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return f.settle()
}

func (f *firmware) findDir() {
	for _, dir := range bootDirs() {
		i := slices.IndexFunc(f.site.Mounts, func(m blockdev.Mount) bool { return m.Point == dir && m.Type == "vfat" })
		if _, err := f.site.Stat(dir + "/config.txt"); err == nil && i >= 0 {
			f.dir, f.mount = dir, f.site.Mounts[i]
			return
		}
	}
}

// partition is the number of the firmware's partition in the table.
func (f *firmware) partition() int {
	data, err := f.site.ReadFile("/sys/dev/block/" + f.mount.Device + "/partition")
	if err != nil {
		return 0
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return 0
	}
	return n
}

// unarmed is a file of the firmware's as it is when nothing is armed.
func (f *firmware) unarmed(name string) ([]byte, error) {
	data, err := f.site.ReadFile(f.at(name))
	return []byte(disarm.Unmark(disarm.Unfence(string(data)))), err
}

// settle finds the kernel, and drops a prefix under which there is none, as the firmware does.
func (f *firmware) settle() error {
	release, err := Release(f.site)
	if err != nil {
		return err
	}
	if f.start.Kernel == "" {
		f.start.Kernel = kernelFile(release, f.site.Machine())
	}
	if f.start.Prefix != "" && !f.exists(f.start.Path(f.start.Kernel)) {
		f.start.Prefix = ""
	}
	return nil
}

// kernelFile is what the firmware starts when config.txt names no kernel: by the end of the release that Raspberry Pi's
// packages give it, else by the architecture.
func kernelFile(release, machine string) string {
	for _, k := range []struct{ end, name string }{
		{"2712", "kernel_2712.img"}, {"v8", "kernel8.img"}, {"v7l", "kernel7l.img"}, {"v7", "kernel7.img"}, {"v6", "kernel.img"},
	} {
		if strings.HasSuffix(strings.TrimSuffix(release, "+"), k.end) {
			return k.name
		}
	}
	switch machine {
	case "aarch64":
		return "kernel8.img"
	case "armv7l":
		return "kernel7.img"
	}
	return "kernel.img"
}

// at is the path on the running system of a path on the firmware's partition.
func (f *firmware) at(name string) string { return path.Join(f.dir, name) }

func (f *firmware) exists(name string) bool {
	_, err := f.site.Stat(f.at(name))
	return err == nil
}

// initramfs lists the files that the firmware loads for the host, on the running system. It goes on without those that
// are missing.
func (f *firmware) initramfs() []string {
	names := f.start.Initramfs
	if names == nil && f.start.Auto {
		names = []string{strings.TrimSuffix(strings.Replace(f.start.Kernel, "kernel", "initramfs", 1), ".img")}
	}
	var out []string
	for _, name := range names {
		if f.exists(f.start.Path(name)) {
			out = append(out, f.at(f.start.Path(name)))
		}
	}
	return out
}

// says whether config.txt sets key to value, as far as the firmware may take it.
func (f *firmware) says(key, value string) bool {
	return slices.ContainsFunc(f.lines, func(l configtxt.Line) bool {
		return l.Key == key && l.Value == value && l.Taken != configtxt.No
	})
}

// bootloader is a number that the firmware left in the device tree for this boot (Raspberry Pi documentation, "Device
// trees", /chosen/bootloader), 0 where it did not.
func (f *firmware) bootloader(name string) uint32 {
	data, err := f.site.ReadFile("/proc/device-tree/chosen/bootloader/" + name)
	if err != nil || len(data) != 4 {
		return 0
	}
	return binary.BigEndian.Uint32(data)
}

// newerKernel says whether the kernel's file is younger than this boot: then another kernel would start stage 2 than the
// one whose modules it has.
func (f *firmware) newerKernel() (string, bool) {
	name := f.at(f.start.Path(f.start.Kernel))
	info, err := f.site.Stat(name)
	booted := bootTime(f.site)
	return name, err == nil && !booted.IsZero() && info.ModTime().After(booted)
}

// bootTime is btime of proc_stat(5), zero when it can't be read.
func bootTime(s Site) time.Time {
	data, err := s.ReadFile("/proc/stat")
	if err != nil {
		return time.Time{}
	}
	for line := range strings.Lines(string(data)) {
		var seconds int64
		if n, err := fmt.Sscanf(line, "btime %d", &seconds); err == nil && n == 1 {
			return time.Unix(seconds, 0)
		}
	}
	return time.Time{}
}

// join puts the host's own initramfs in front of ours, where it comes along. Archives begin at a multiple of 4 bytes.
func (f *firmware) join(e Entry) ([]byte, error) {
	if e.Initrd == "" {
		return e.Stage2, nil
	}
	var out []byte
	for _, name := range f.initramfs() {
		data, err := f.site.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, data...)
		out = append(out, make([]byte, -len(out)&3)...)
	}
	return append(out, e.Stage2...), nil
}

// RecoverySystem names the installer that started the running system from a partition of its own, and that the flash
// overwrites with all that it installed: NOOBS, or PINN (S49). It is "" where there is none. Both have partition 1, called
// RECOVERY, and install systems in logical partitions from 6 on (NOOBS' documentation, "NOOBS partitioning explained").
func RecoverySystem(s Site) string {
	if s.pi == nil || s.pi.number < 5 {
		return ""
	}
	name, err := blockdev.NameOf(s, s.pi.mount)
	if err != nil {
		return ""
	}
	first := strings.TrimSuffix(name, strconv.Itoa(s.pi.number)) + "1"
	var info fsprobe.Info
	if info, err = blockdev.ProbeFS(s, first); err != nil || info.Label != "RECOVERY" {
		return ""
	}
	return "NOOBS or PINN on /dev/" + first
}
