package boot

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/blockdev"
	"github.com/balena-community/balena-migrate/stage2/disarm"
	"github.com/balena-community/balena-migrate/steps/device/configtxt"
	"github.com/balena-community/balena-migrate/steps/host"
)

// RaspberryPi arms the firmware of a Raspberry Pi: a block at the end of config.txt names an initramfs and a file of
// kernel arguments of ours. The firmware has no one-shot that every board knows, so stage 2 puts config.txt back as its
// first act; until then each boot starts stage 2.
//
// The firmware of old boards loads one initramfs only, so the host's own and ours are joined in one file: the kernel
// unpacks one after the other (Documentation/driver-api/early-userspace/buffer-format.rst).
type RaspberryPi struct{}

// cmdlineName is our file of kernel arguments.
const cmdlineName = "balena-migrate.txt"

// Name implements Backend.
func (RaspberryPi) Name() string { return "raspberry-pi" }

// Here implements Backend. The device tree is the firmware's own (E32).
func (RaspberryPi) Here(s Site) bool {
	model, err := s.ReadFile("/proc/device-tree/model")
	return err == nil && strings.HasPrefix(string(model), "Raspberry Pi")
}

// bootDirs are where the firmware's partition is mounted: since Debian 12, and before (D12).
func bootDirs() []string { return []string{"/boot/firmware", "/boot"} }

// dir is where the firmware's partition is mounted, "" if nowhere.
func (RaspberryPi) dir(s Site) string {
	for _, dir := range bootDirs() {
		fat := slices.ContainsFunc(s.Mounts, func(m blockdev.Mount) bool { return m.Point == dir && m.Type == "vfat" })
		if _, err := s.Stat(dir + "/config.txt"); err == nil && fat {
			return dir
		}
	}
	return ""
}

// firmware is what config.txt makes the firmware do.
type firmware struct {
	site  Site
	dir   string
	lines []configtxt.Line
	start configtxt.Start
}

func (p RaspberryPi) read(s Site) (firmware, error) {
	f := firmware{site: s, dir: p.dir(s)}
	if f.dir == "" {
		return f, fmt.Errorf("found no FAT file system with a config.txt mounted at %s", strings.Join(bootDirs(), " or "))
	}
	model, err := s.ReadFile("/proc/device-tree/model")
	if err != nil {
		return f, err
	}
	cpu, err := s.ReadFile("/proc/cpuinfo")
	if err != nil {
		return f, err
	}
	board := configtxt.BoardOf(string(model), string(cpu))
	if f.lines, err = configtxt.Read(f.unarmed, board); err != nil {
		return f, err
	}
	if f.start, err = configtxt.Resolve(f.lines); err != nil {
		return f, err
	}
	return f, f.settle()
}

// unarmed is a file of the firmware's as it is when nothing is armed.
func (f firmware) unarmed(name string) ([]byte, error) {
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
func (f firmware) at(name string) string { return path.Join(f.dir, name) }

func (f firmware) exists(name string) bool {
	_, err := f.site.Stat(f.at(name))
	return err == nil
}

// initramfs lists the files that the firmware loads for the host, on the running system. It goes on without those that
// are missing.
func (f firmware) initramfs() []string {
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

// Check implements Backend.
func (p RaspberryPi) Check(s Site) []schema.Blocked {
	block := func(got, want, remedy string) []schema.Blocked {
		return []schema.Blocked{{Check: "boot-loader", Got: got, Want: want, Remedy: remedy}}
	}
	f, err := p.read(s)
	switch {
	case err != nil:
		return block(err.Error(), "the firmware's config.txt, whose settings can be told", "mount the boot partition as /etc/fstab says, and look at config.txt")
	case f.exists("/autoboot.txt"):
		return block(f.at("autoboot.txt")+", which chooses between boot partitions", "one boot partition", "this version does not migrate A/B systems: remove it, if only one is in use")
	case f.readOnly():
		return block(f.dir+" is mounted read-only", "a boot partition that can be written", "mount -o remount,rw "+f.dir+", and look for disk errors in dmesg")
	case !f.exists(f.start.Path(f.start.Cmdline)):
		return block("no "+f.at(f.start.Path(f.start.Cmdline)), "the kernel's arguments", "mend cmdline in config.txt")
	}
	if name, newer := f.newerKernel(); newer {
		return block(name+" was replaced after this system had started", "the kernel that runs", "reboot, so that the installed kernel runs, and try again")
	}
	return nil
}

func (f firmware) readOnly() bool {
	return slices.ContainsFunc(f.site.Mounts, func(m blockdev.Mount) bool { return m.Point == f.dir && m.ReadOnly })
}

// newerKernel says whether the kernel's file is younger than this boot: then another kernel would start stage 2 than the
// one whose modules it has.
func (f firmware) newerKernel() (string, bool) {
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

// Running implements Backend. The arguments are those of cmdline.txt: the firmware adds its own to them at each boot.
func (p RaspberryPi) Running(s Site) (Entry, error) {
	f, err := p.read(s)
	if err != nil {
		return Entry{}, err
	}
	line, err := s.ReadFile(f.at(f.start.Path(f.start.Cmdline)))
	if err != nil {
		return Entry{}, err
	}
	first, _, _ := strings.Cut(string(line), "\n")
	e := Entry{Kernel: f.at(f.start.Path(f.start.Kernel)), Args: ownArgs(strings.Fields(first)), Joined: true}
	if _, err := s.Stat(e.Kernel); err != nil {
		return Entry{}, fmt.Errorf("kernel %s: %w", e.Kernel, err)
	}
	if names := f.initramfs(); len(names) > 0 {
		e.Initrd = names[0]
	}
	return e, nil
}

// Archive implements Backend.
func (p RaspberryPi) Archive(s Site) string { return path.Join("/", p.dir(s), archiveName) }

// Files implements Backend.
func (p RaspberryPi) Files(s Site, e Entry, original func(string) (disarm.State, error)) ([]File, error) {
	f, err := p.read(s)
	if err != nil {
		return nil, err
	}
	config := f.at("config.txt")
	info, err := s.Stat(config)
	if err != nil {
		return nil, err
	}
	mode := info.Mode().Perm() // FAT has one mode for all, and refuses others
	archive, err := f.join(e)
	if err != nil {
		return nil, err
	}
	out := []File{
		{Path: f.at(archiveName), Data: archive, Mode: mode, Restore: schema.RestoreRemove},
		{Path: f.at(cmdlineName), Data: []byte(strings.Join(e.Arguments(), " ") + "\n"), Mode: mode, Restore: schema.RestoreRemove},
	}
	for _, name := range f.files() {
		was, err := original(f.at(name))
		if err != nil {
			return nil, err
		}
		text := configtxt.Silence(string(was.Data))
		if name == "config.txt" {
			text = f.block(text)
		}
		if name == "config.txt" || text != string(was.Data) {
			out = append(out, File{Path: f.at(name), Data: []byte(text), Mode: mode, Restore: schema.RestoreFile})
		}
	}
	return out, nil
}

// files are config.txt and what it includes, config.txt last.
func (f firmware) files() []string {
	var out []string
	for _, l := range f.lines {
		if l.File != "config.txt" && !slices.Contains(out, l.File) {
			out = append(out, l.File)
		}
	}
	return append(out, "config.txt")
}

// block adds ours behind everything else. Only a firmware that knows prefixes knows how to go without them.
func (f firmware) block(text string) string {
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	slash := ""
	if f.start.Prefix != "" {
		slash = "/"
	}
	return disarm.Fence(text, configtxt.Block(slash+archiveName, slash+cmdlineName))
}

// join puts the host's own initramfs in front of ours, where it comes along. Archives begin at a multiple of 4 bytes.
func (f firmware) join(e Entry) ([]byte, error) {
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

// Armed implements Backend.
func (RaspberryPi) Armed(r host.Reader) bool {
	for _, dir := range bootDirs() {
		data, err := r.ReadFile(dir + "/config.txt")
		if err == nil && strings.Contains(string(data), disarm.FenceBegin) {
			return true
		}
	}
	return false
}
