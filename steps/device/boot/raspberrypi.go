package boot

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/disarm"
	"github.com/balena-community/balena-migrate/stage2/flashplan"
	"github.com/balena-community/balena-migrate/steps/device/configtxt"
	"github.com/balena-community/balena-migrate/steps/host"
)

// RaspberryPi arms the firmware of a Raspberry Pi: a block at the end of config.txt names an initramfs and a file of
// kernel arguments of ours. The firmware has no one-shot that every board knows (see Tryboot), so stage 2 puts config.txt
// back as its first act; until then each boot starts stage 2.
//
// The firmware of old boards loads one initramfs only, so the host's own and ours are joined in one file: the kernel
// unpacks one after the other (Documentation/driver-api/early-userspace/buffer-format.rst).
type RaspberryPi struct{}

// cmdlineName is our file of kernel arguments.
const cmdlineName = "balena-migrate.txt"

// Name implements Backend.
func (RaspberryPi) Name() string { return "raspberry-pi" }

// Here implements Backend. The device tree is the firmware's own (E32).
func (RaspberryPi) Here(s Site) bool { return s.pi != nil }

// isRaspberryPi says whether the firmware's device tree calls the machine so.
func isRaspberryPi(r host.Reader) bool {
	model, err := r.ReadFile("/proc/device-tree/model")
	return err == nil && strings.HasPrefix(string(model), "Raspberry Pi")
}

// Check implements Backend.
func (RaspberryPi) Check(s Site) []schema.Blocked {
	if s.pi == nil {
		return blockLoader("a machine whose device tree is not a Raspberry Pi's", "a Raspberry Pi", "set boot.method to auto")
	}
	return s.pi.blocked()
}

func blockLoader(got, want, remedy string) []schema.Blocked {
	return []schema.Blocked{{Check: "boot-loader", Got: got, Want: want, Remedy: remedy}}
}

// blocked says what stands against changing what the firmware starts.
func (f *firmware) blocked() []schema.Blocked {
	switch {
	case f.err != nil:
		return blockLoader(f.err.Error(), "the firmware's config.txt, whose settings can be told", "mount the boot partition as /etc/fstab says, and look at config.txt")
	case f.site.ReadOnly(f.mount.Point):
		return blockLoader(f.dir+" is mounted read-only", "a boot partition that can be written", "mount -o remount,rw "+f.dir+", and look for disk errors in dmesg")
	case !f.exists(f.start.Path(f.start.Cmdline)):
		return blockLoader("no "+f.at(f.start.Path(f.start.Cmdline)), "the kernel's arguments", "mend cmdline in config.txt")
	}
	if why := f.elsewhere(); len(why) > 0 {
		return why
	}
	if next := f.nextLoader(); next != "" {
		return blockLoader("a firmware that starts another boot loader, "+next, "a firmware that starts the kernel", "this version has no way to start stage 2 by it on a Raspberry Pi; nothing was changed")
	}
	if name, newer := f.newerKernel(); newer {
		return blockLoader(name+" was replaced after this system had started", "the kernel that runs", "reboot, so that the installed kernel runs, and try again")
	}
	return nil
}

// elsewhere says why the next boot may read another config.txt than the one that is mounted: then what is armed here would
// never start.
func (f *firmware) elsewhere() []schema.Blocked {
	auto, booted := f.autoboot.Partition, int(f.bootloader("partition"))
	switch {
	case f.bootloader("signed_boot")|f.bootloader("signed") != 0, f.says("boot_ramdisk", "1"):
		return blockLoader("a firmware that starts a signed or packed boot.img", "one that reads config.txt and kernel as files",
			"this version can't change what is inside boot.img: turn boot_ramdisk off if it is not needed")
	case auto != 0 && auto != f.number:
		return blockLoader(fmt.Sprintf("%s, which starts partition %d, while %s is partition %d", f.at("autoboot.txt"), auto, f.dir, f.number),
			"the mounted boot partition to be the one that is started next", "mount the boot partition that autoboot.txt names at "+f.dir)
	case booted != 0 && f.number != 0 && booted != f.number:
		return blockLoader(fmt.Sprintf("a firmware that started partition %d, while %s is partition %d", booted, f.dir, f.number),
			"the boot partition that was started", "mount it at "+f.dir)
	case f.untested():
		return blockLoader(f.at("new/state")+": a kernel that the next boot tries", "the kernel that runs", "reboot, so that it is tried, and try again")
	case f.bootloader("tryboot") != 0 && !f.ownTrial():
		return blockLoader("a system that was started on trial (tryboot)", "the one that the next boot starts",
			"let its updater commit it, or reboot, and try again")
	}
	return nil
}

// untested says whether Ubuntu's piboot-try would take the next boot for a kernel of its own (Ubuntu documentation, "A/B
// boot on Ubuntu for Raspberry Pi"): what is armed in config.txt would then start with that one.
func (f *firmware) untested() bool {
	state, err := f.site.ReadFile(f.at("new/state"))
	return err == nil && strings.TrimSpace(string(state)) == "unknown"
}

// nextLoader is the file that the firmware starts in the place of a kernel: U-Boot, which does not hand our initramfs on, or
// the EFI firmware that comes as a stub.
func (f *firmware) nextLoader() string {
	if name := strings.ToLower(f.start.Kernel); strings.Contains(name, "u-boot") || strings.Contains(name, "uboot") {
		return f.at(f.start.Path(f.start.Kernel))
	}
	for _, l := range f.lines {
		if l.Key == "armstub" && l.Taken != configtxt.No && strings.HasSuffix(strings.ToLower(l.Value), ".fd") {
			return f.at(l.Value)
		}
	}
	return ""
}

// ownTrial says whether this boot began as a stage 2 that gave up and went on in the old system.
func (f *firmware) ownTrial() bool {
	line, err := f.site.ReadFile("/proc/cmdline")
	return err == nil && slices.Contains(strings.Fields(string(line)), "rdinit="+flashplan.Binary)
}

// Running implements Backend. The arguments are those of cmdline.txt: the firmware adds its own to them at each boot.
func (RaspberryPi) Running(s Site) (Entry, error) {
	f, err := s.firmware()
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
func (RaspberryPi) Archive(s Site) string {
	if s.pi == nil {
		return path.Join("/boot", archiveName)
	}
	return path.Join("/", s.pi.dir, archiveName)
}

// Files implements Backend.
func (RaspberryPi) Files(s Site, e Entry, original func(string) (disarm.State, error)) ([]File, error) {
	f, err := s.firmware()
	if err != nil {
		return nil, err
	}
	out, err := f.ours(e)
	if err != nil {
		return nil, err
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
			out = append(out, File{Path: f.at(name), Data: []byte(text), Mode: out[0].Mode, Restore: schema.RestoreFile})
		}
	}
	return out, nil
}

// ours are the initramfs and the kernel's arguments.
func (f *firmware) ours(e Entry) ([]File, error) {
	info, err := f.site.Stat(f.at("config.txt"))
	if err != nil {
		return nil, err
	}
	mode := info.Mode().Perm() // FAT has one mode for all, and refuses others
	archive, err := f.join(e)
	if err != nil {
		return nil, err
	}
	return []File{
		{Path: f.at(archiveName), Data: archive, Mode: mode, Restore: schema.RestoreRemove},
		{Path: f.at(cmdlineName), Data: []byte(strings.Join(e.Arguments(), " ") + "\n"), Mode: mode, Restore: schema.RestoreRemove},
	}, nil
}

// files are config.txt and what it includes, config.txt last.
func (f *firmware) files() []string {
	var out []string
	for _, l := range f.lines {
		if l.File != "config.txt" && !slices.Contains(out, l.File) {
			out = append(out, l.File)
		}
	}
	return append(out, "config.txt")
}

// block adds ours behind everything else. Only a firmware that knows prefixes knows how to go without them.
func (f *firmware) block(text string) string {
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	slash := ""
	if f.start.Prefix != "" {
		slash = "/"
	}
	return disarm.Fence(text, configtxt.Block(slash+archiveName, slash+cmdlineName))
}

// Armed implements Backend.
func (RaspberryPi) Armed(r host.Reader) bool { return fenced(r, "config.txt") }

// fenced says whether a file of the firmware's has our block.
func fenced(r host.Reader, name string) bool {
	for _, dir := range bootDirs() {
		data, err := r.ReadFile(path.Join(dir, name))
		if err == nil && strings.Contains(string(data), disarm.FenceBegin) {
			return true
		}
	}
	return false
}
