package boot

import (
	"fmt"
	"path"
	"strings"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/blockdev"
	"github.com/balena-community/balena-migrate/stage2/disarm"
	"github.com/balena-community/balena-migrate/steps/device/extlinux"
	"github.com/balena-community/balena-migrate/steps/host"
)

// Extlinux arms a U-Boot that reads extlinux.conf, as those of most boards with ARM processors do: an entry at the end,
// which is the default. Should U-Boot not be able to load it, it starts the entries of the old system by itself.
type Extlinux struct{}

// extlinuxConf is where the file is on a root file system.
const extlinuxConf = "/boot/extlinux/extlinux.conf"

// Name implements Backend.
func (Extlinux) Name() string { return "extlinux" }

// Here implements Backend. Where a BeagleBone's uEnv.txt is as well, that is asked.
func (Extlinux) Here(s Site) bool {
	return uBoot(s) && len(extlinuxConfs(s)) > 0 && !UEnv{}.Here(s)
}

// extlinuxConfs lists the files that U-Boot may read, by where partitions that it starts from are mounted: it looks at
// their /extlinux, then at /boot/extlinux (U-Boot, include/config_distro_bootcmd.h).
func extlinuxConfs(r host.Reader) []string {
	var out []string
	for _, dir := range []string{"/boot", "/", "/boot/firmware", "/boot/efi"} {
		name := path.Join(dir, "extlinux/extlinux.conf")
		if _, err := r.Stat(name); err == nil {
			out = append(out, name)
		}
	}
	return out
}

// extConf is an extlinux.conf with the entry that U-Boot starts.
type extConf struct {
	name  string
	mount blockdev.Mount
	// inside is the file's path on its file system.
	inside string
	menu   extlinux.Menu
	label  extlinux.Label
}

func (Extlinux) read(s Site) (extConf, error) {
	names := extlinuxConfs(s)
	if len(names) != 1 {
		return extConf{}, fmt.Errorf("%d files extlinux.conf (%s), expected one", len(names), strings.Join(names, ", "))
	}
	x := extConf{name: names[0]}
	var err error
	if x.mount, x.inside, err = s.Locate(x.name); err != nil {
		return x, err
	}
	if x.inside != "/extlinux/extlinux.conf" && x.inside != extlinuxConf {
		return x, fmt.Errorf("%s is %s on its file system, where U-Boot does not look", x.name, x.inside)
	}
	data, err := s.ReadFile(x.name)
	if err != nil {
		return x, err
	}
	if x.menu, err = extlinux.Parse(disarm.Unfence(string(data))); err != nil {
		return x, fmt.Errorf("%s: %w", x.name, err)
	}
	if x.label, err = x.menu.Chosen(); err != nil {
		return x, fmt.Errorf("%s: %w", x.name, err)
	}
	if strings.Contains(x.label.Kernel, "#") {
		return x, fmt.Errorf("%s: label %s: the kernel %s is a part of a FIT image", x.name, x.label.Name, x.label.Kernel)
	}
	return x, nil
}

// at is the path on the running system of a path in the file: from the file system's root, or from the file's directory.
func (x extConf) at(name string) string {
	if !path.IsAbs(name) {
		name = path.Join(path.Dir(x.inside), name)
	}
	return path.Join(x.mount.Point, strings.TrimPrefix(path.Clean(name), strings.TrimSuffix(x.mount.Root, "/")))
}

// archive is where ours lies beside the kernel's directory: /boot, or the root of a file system of its own.
func (x extConf) archive() string { return path.Join(path.Dir(path.Dir(x.inside)), archiveName) }

// Check implements Backend.
func (e Extlinux) Check(s Site) []schema.Blocked {
	if !uBoot(s) {
		return bootBlocked("a machine that is not started by U-Boot's own files", "a board with U-Boot and an extlinux.conf", "set boot.method to auto")
	}
	x, err := e.read(s)
	if err != nil {
		return bootBlocked(err.Error(), "one extlinux.conf, whose default entry can be told", "look at it; on Debian, u-boot-update writes it anew")
	}
	if x.menu.Waits() {
		return bootBlocked(x.name+": a menu without a timeout, at which U-Boot waits for somebody", "a U-Boot that boots by itself",
			"set timeout to 50 there; on Debian, U_BOOT_TIMEOUT in /etc/default/u-boot, and run u-boot-update")
	}
	if x.mount.ReadOnly {
		return bootBlocked(x.mount.Point+" is mounted read-only", "a file system that can be written", "mount -o remount,rw "+x.mount.Point+", and look for disk errors in dmesg")
	}
	if other := e.before(s, x); other != "" {
		return bootBlocked(other+", which U-Boot starts instead of "+x.name, "one way to start this system", "delete the one that is not in use")
	}
	return e.checkRunning(s, x)
}

// before names what U-Boot takes before the file.
func (Extlinux) before(s Site, x extConf) string {
	names := []string{"/boot.scr", "/boot.scr.uimg"}
	if path.Dir(path.Dir(x.inside)) == "/" { // its own directory is the first
		names = nil
	}
	for _, name := range names {
		if _, err := s.Stat(x.at(name)); err == nil {
			return x.at(name)
		}
	}
	if (UEnv{}).Here(s) {
		return uEnvFile
	}
	return ""
}

// checkRunning wants the default entry to be what runs.
func (Extlinux) checkRunning(s Site, x extConf) []schema.Blocked {
	const want = "the running system as the default entry"
	kernel := x.at(x.label.Kernel)
	other, err := anotherKernel(s, kernel)
	if err != nil {
		return bootBlocked(fmt.Sprintf("%s: the kernel of label %s: %v", x.name, x.label.Name, err), want, "mend the default entry; on Debian, u-boot-update writes it anew")
	}
	if other == "" {
		if missing, err := startedOtherwise(s, ownArgs(strings.Fields(x.label.Append))); err != nil || missing != "" {
			other = fmt.Sprintf("the argument %s, without which the running kernel was started", missing)
		}
	}
	if other != "" {
		return bootBlocked(fmt.Sprintf("%s: label %s has %s", x.name, x.label.Name, other), want, "reboot, so that the default entry runs, and try again")
	}
	if x.label.Initrd == "" {
		return nil
	}
	if _, err := s.Stat(x.at(x.label.Initrd)); err != nil {
		return bootBlocked(fmt.Sprintf("%s: the initramfs of label %s: %v", x.name, x.label.Name, err), want, "update-initramfs -u, and on Debian u-boot-update")
	}
	return nil
}

// Running implements Backend. The arguments are those of the entry, to be read by U-Boot as they are; without any,
// U-Boot's own, which the kernel was told.
func (e Extlinux) Running(s Site) (Entry, error) {
	x, err := e.read(s)
	if err != nil {
		return Entry{}, err
	}
	args := x.label.Append
	if args == "" {
		cmdline, err := s.ReadFile("/proc/cmdline")
		if err != nil {
			return Entry{}, err
		}
		args = string(cmdline)
	}
	out := Entry{Kernel: x.at(x.label.Kernel), Args: ownArgs(strings.Fields(args)), Joined: true}
	if x.label.Initrd != "" {
		out.Initrd = x.at(x.label.Initrd)
	}
	if _, err := s.Stat(out.Kernel); err != nil {
		return Entry{}, fmt.Errorf("kernel of label %s: %w", x.label.Name, err)
	}
	return out, nil
}

// Archive implements Backend.
func (e Extlinux) Archive(s Site) string {
	x, err := e.read(s)
	if err != nil {
		return "/boot/" + archiveName
	}
	return x.at(x.archive())
}

// Files implements Backend.
func (e Extlinux) Files(s Site, entry Entry, original func(string) (disarm.State, error)) ([]File, error) {
	x, err := e.read(s)
	if err != nil {
		return nil, err
	}
	was, err := original(x.name)
	if err != nil {
		return nil, err
	}
	info, err := s.Stat(x.name)
	if err != nil {
		return nil, err
	}
	archive, err := join(s, entry)
	if err != nil {
		return nil, err
	}
	mode := info.Mode().Perm()
	block := x.label.Block(disarm.EntryID, x.archive(), strings.Join(entry.Arguments(), " "))
	out := []File{
		{Path: x.at(x.archive()), Data: archive, Mode: 0o600, Restore: schema.RestoreRemove},
		{Path: x.name, Data: []byte(disarm.Fence(endLine(string(was.Data)), block)), Mode: mode, Restore: schema.RestoreFile},
	}
	if x.mount.Type == "vfat" { // it has one mode for all
		out[0].Mode = mode
	}
	return out, nil
}

// Armed implements Backend.
func (Extlinux) Armed(r host.Reader) bool {
	for _, name := range extlinuxConfs(r) {
		if data, err := r.ReadFile(name); err == nil && strings.Contains(string(data), disarm.FenceBegin) {
			return true
		}
	}
	return false
}
