package boot

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/blockdev"
	"github.com/balena-community/balena-migrate/stage2/disarm"
	"github.com/balena-community/balena-migrate/steps/device/uenv"
	"github.com/balena-community/balena-migrate/steps/host"
)

// UEnv arms the U-Boot of a BeagleBone whose disk is laid out as BeagleBoard's images since Debian 8: /boot/uEnv.txt on
// the root file system names the kernel's release, and U-Boot starts /boot/vmlinuz-RELEASE with /boot/initrd.img-RELEASE
// and the release's device tree (https://elinux.org/Beagleboard:U-boot_partitioning_layout_2.0). A line at its end has
// U-Boot load our initramfs instead of the host's, or, where it can't, start the old system.
//
// The predecessor wrote a script of its own into /uEnv.txt (F6), with addresses, partition and device tree fixed; U-Boot's
// overlays were lost that way.
type UEnv struct{}

// uEnvFile is the file on the root file system.
const uEnvFile = "/boot/uEnv.txt"

// Name implements Backend.
func (UEnv) Name() string { return "uenv" }

// Here implements Backend.
func (UEnv) Here(s Site) bool {
	_, err := s.Stat(uEnvFile)
	return err == nil && uBoot(s) && slices.Contains(compatible(s), "ti,am33xx")
}

// Check implements Backend.
func (u UEnv) Check(s Site) []schema.Blocked {
	if !u.Here(s) {
		return bootBlocked("no BeagleBone with "+uEnvFile, "a BeagleBone that U-Boot starts by that file", "set boot.method to auto")
	}
	m, inside, err := s.Locate(uEnvFile)
	switch {
	case err != nil:
		return bootBlocked(err.Error(), "the file system of "+uEnvFile, "look at /proc/self/mountinfo")
	case inside != uEnvFile:
		return bootBlocked(uEnvFile+" is "+inside+" of "+m.Source, "/boot on the root file system, where U-Boot looks for it", "this version knows no other layout of a BeagleBone")
	case m.ReadOnly:
		return bootBlocked(m.Point+" is mounted read-only", "a file system that can be written", "mount -o remount,rw "+m.Point+", and look for disk errors in dmesg")
	}
	if names := extlinuxConfs(s); len(names) > 0 {
		return bootBlocked(names[0]+" beside "+uEnvFile, "one way to start this system", "delete the one that is not in use")
	}
	out := u.checkFile(s)
	return append(out, u.checkFirst(s, m)...)
}

// parse reads a uEnv.txt as it is when nothing is armed.
func (UEnv) parse(s Site, name string) (uenv.File, error) {
	data, err := s.ReadFile(name)
	if err != nil {
		return nil, err
	}
	f, err := uenv.Parse(disarm.Unfence(string(data)))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return f, nil
}

// checkFile wants a file by which U-Boot started what runs.
func (u UEnv) checkFile(s Site) []schema.Blocked {
	f, err := u.parse(s, uEnvFile)
	if err != nil {
		return bootBlocked(err.Error(), "a uEnv.txt whose settings can be told", "mend the line, or put a # before it")
	}
	if out := unknownVariables(uEnvFile, f); out != nil {
		return out
	}
	release, err := Release(s)
	if err != nil {
		return bootBlocked(err.Error(), "the running kernel's release", "mount -t proc proc /proc")
	}
	if name, _ := f.Get("uname_r"); name != release {
		return bootBlocked(fmt.Sprintf("%s: uname_r=%s, while kernel %s runs", uEnvFile, name, release), "the running kernel as the one that U-Boot starts",
			"set uname_r="+release+", or reboot so that the kernel of the file runs, and try again")
	}
	args, _ := f.Get("cmdline")
	missing, err := startedOtherwise(s, ownArgs(strings.Fields(args)))
	if err != nil {
		return bootBlocked(err.Error(), "the kernel's command line", "mount -t proc proc /proc")
	}
	if missing != "" {
		return bootBlocked(fmt.Sprintf("%s: cmdline has %s, without which the running kernel was started", uEnvFile, missing),
			"a system that U-Boot started by this file", "reboot once, if the file was changed; else find out by which file U-Boot starts this board")
	}
	if _, err := packaged(s); err != nil {
		return bootBlocked(err.Error(), "the running kernel in /boot", "reboot, so that an installed kernel runs, and try again")
	}
	return nil
}

func unknownVariables(name string, f uenv.File) []schema.Blocked {
	var out []schema.Blocked
	for _, v := range f.Unknown() {
		out = append(out, bootBlocked(fmt.Sprintf("%s, line %d: %s, which may change what U-Boot starts", name, v.Line, v.Name),
			"a uEnv.txt with nothing but settings of BeagleBoard's images", "put a # before the line if the board starts without it, and reboot")...)
	}
	return out
}

// checkFirst looks where U-Boot looks before: on the disk's first partition, for a uEnv.txt and for scripts.
func (u UEnv) checkFirst(s Site, m blockdev.Mount) []schema.Blocked {
	dir, err := firstPartition(s, m)
	if err != nil {
		return bootBlocked(err.Error(), "the first partition, where U-Boot looks before "+uEnvFile, "mount it, e.g. below /mnt, and try again")
	}
	for _, name := range []string{"boot.scr", "boot/boot.scr"} {
		if _, err := s.Stat(path.Join(dir, name)); err == nil {
			return bootBlocked(path.Join(dir, name)+", which U-Boot runs before it reads "+uEnvFile, "one way to start this system", "delete the one that is not in use")
		}
	}
	name := path.Join(dir, "uEnv.txt")
	f, err := u.parse(s, name)
	switch {
	case name == uEnvFile, errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return bootBlocked(err.Error(), "a uEnv.txt whose settings can be told", "mend the line, or put a # before it")
	}
	return unknownVariables(name, f)
}

// firstPartition is where the first partition of the disk with this mount is mounted.
func firstPartition(s Site, m blockdev.Mount) (string, error) {
	device, err := blockdev.NameOf(s, m)
	if err != nil {
		return "", err
	}
	disk, err := blockdev.DiskOf(s, device)
	if err != nil {
		return "", err
	}
	partitions, err := blockdev.Partitions(s, disk)
	if err != nil {
		return "", err
	}
	for _, p := range partitions {
		if n, err := blockdev.Number(s, p); err != nil || n != 1 {
			continue
		}
		for _, m := range s.Mounts {
			if name, err := blockdev.NameOf(s, m); err == nil && name == p && m.Root == "/" {
				return m.Point, nil
			}
		}
		return "", fmt.Errorf("/dev/%s is not mounted", p)
	}
	return "", fmt.Errorf("/dev/%s has no partition 1", disk)
}

// initrdOf is where U-Boot looks for the initramfs of a release. Without that file it loads none at all.
func initrdOf(release string) string { return "/boot/initrd.img-" + release }

// bare says whether the host has no initramfs of its own: none is there, or what is there is ours.
func (UEnv) bare(s Site, initrd string) bool {
	if _, err := s.Stat(initrd); errors.Is(err, fs.ErrNotExist) {
		return true
	}
	data, err := s.ReadFile(uEnvFile)
	return err == nil && strings.Contains(string(data), disarm.FenceBegin) && strings.Contains(string(data), "${rdaddr} "+initrd+" ")
}

// Running implements Backend.
func (u UEnv) Running(s Site) (Entry, error) {
	e, err := packaged(s)
	if err == nil && u.bare(s, e.Initrd) {
		e.Initrd = ""
	}
	e.Joined = true
	return e, err
}

// Archive implements Backend. Where the host has no initramfs, ours lies where that would: U-Boot loads one only then. On
// its own, without a line in uEnv.txt, it does no harm: the kernel finds no /init in it and goes on without.
func (u UEnv) Archive(s Site) string {
	if release, err := Release(s); err == nil && u.bare(s, initrdOf(release)) {
		return initrdOf(release)
	}
	return "/boot/" + archiveName
}

// Files implements Backend. U-Boot puts the kernel's arguments together itself; ours are added to them.
func (u UEnv) Files(s Site, e Entry, original func(string) (disarm.State, error)) ([]File, error) {
	was, err := original(uEnvFile)
	if err != nil {
		return nil, err
	}
	release, err := Release(s)
	if err != nil {
		return nil, err
	}
	initrd, err := original(initrdOf(release))
	if err != nil {
		return nil, err
	}
	at := "/boot/" + archiveName
	if !initrd.Exists {
		at, e.Initrd = initrdOf(release), ""
	}
	archive, err := join(s, e)
	if err != nil {
		return nil, err
	}
	block := uenv.Block(at, strings.Join(Entry{Debug: e.Debug}.Arguments(), " "))
	return []File{
		{Path: at, Data: archive, Mode: 0o600, Restore: schema.RestoreRemove},
		{Path: uEnvFile, Data: []byte(disarm.Fence(endLine(string(was.Data)), block)), Mode: 0o644, Restore: schema.RestoreFile},
	}, nil
}

// Armed implements Backend.
func (UEnv) Armed(r host.Reader) bool {
	data, err := r.ReadFile(uEnvFile)
	return err == nil && strings.Contains(string(data), disarm.FenceBegin)
}
