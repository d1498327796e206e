package boot

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/disarm"
	"github.com/balena-community/balena-migrate/stage2/grubenv"
	"github.com/balena-community/balena-migrate/steps/host"
)

const (
	grubCfg    = "/boot/grub/grub.cfg"
	grubCustom = "/boot/grub/custom.cfg"
	grubEnv    = "/boot/grub/grubenv"
)

// grubModules are GRUB's own names for the file systems it reads and in which it can overwrite grubenv in place: on
// others it clears next_entry in vain, and the one-shot entry would start at every boot.
var grubModules = map[string]string{"ext2": "ext2", "ext3": "ext2", "ext4": "ext2", "xfs": "xfs", "vfat": "fat"} //nolint:gochecknoglobals // a table

// Grub arms GRUB 2 as Debian and Ubuntu configure it: an entry in custom.cfg, which grub.cfg sources, and next_entry in
// grubenv, which it clears before it boots the entry.
type Grub struct{}

// Name implements Backend.
func (Grub) Name() string { return "grub" }

// Here implements Backend. A Raspberry Pi may have GRUB behind an EFI firmware of its own; then its firmware is not asked.
func (Grub) Here(s Site) bool {
	return !RaspberryPi{}.Here(s) && !UEnv{}.Here(s) && !Extlinux{}.Here(s)
}

// Running implements Backend.
func (Grub) Running(s Site) (Entry, error) { return packaged(s) }

// Archive implements Backend.
func (Grub) Archive(Site) string { return "/boot/" + archiveName }

// Check implements Backend.
func (g Grub) Check(s Site) []schema.Blocked {
	out := g.checkConfig(s)
	out = append(out, g.checkEnv(s)...)
	out = append(out, g.checkFirmware(s)...)
	return append(out, g.checkStarted(s)...)
}

// checkFirmware is about the new system, which EFI firmware starts by a file of the firmware's own word size
// (Documentation/ABI/testing/sysfs-firmware-efi).
func (Grub) checkFirmware(s Site) []schema.Blocked {
	data, err := s.ReadFile("/sys/firmware/efi/fw_platform_size")
	if err != nil || strings.TrimSpace(string(data)) != "32" {
		return nil
	}
	return blockLoader("EFI firmware of 32 bits", "EFI firmware of 64 bits, or a BIOS",
		"balenaOS has no loader for it (bootia32.efi); if the firmware's setup offers legacy boot, install the old system for that")
}

// checkStarted is S104: GRUB tells the kernel which file it is. A machine whose kernel comes from elsewhere, such as a
// hypervisor that brings its own, may have a GRUB on its disk that nobody asks.
func (Grub) checkStarted(s Site) []schema.Blocked {
	cmdline, err := s.ReadFile("/proc/cmdline")
	if err != nil {
		return blockLoader(err.Error(), "the kernel's command line", "mount -t proc proc /proc")
	}
	for _, w := range words(string(cmdline)) {
		if strings.HasPrefix(w, "BOOT_IMAGE=") {
			return nil
		}
	}
	return blockLoader("a kernel that was not started by GRUB (no BOOT_IMAGE in /proc/cmdline)", "GRUB as the boot loader",
		"reboot once, if it was started by kexec; otherwise have the machine start from its disk by GRUB")
}

func (Grub) checkConfig(s Site) []schema.Blocked {
	data, err := s.ReadFile(grubCfg)
	if _, other := s.Stat("/boot/grub2/grub.cfg"); errors.Is(err, fs.ErrNotExist) && other == nil {
		return blockLoader("GRUB in /boot/grub2, as Fedora, Red Hat and SUSE have it", "GRUB's configuration "+grubCfg,
			"this version arms GRUB as Debian and Ubuntu configure it")
	}
	if err != nil {
		remedy := "no boot loader is known here: install GRUB 2 (grub-pc, grub-efi), or run update-grub if it is installed; boot.method kexec needs none"
		if errors.Is(err, fs.ErrPermission) { // Debian keeps it from users, for it may hold passwords
			remedy = "run it as root, e.g. with sudo"
		}
		return blockLoader(err.Error(), "GRUB's configuration "+grubCfg, remedy)
	}
	custom, err := disarm.Read(s, grubCustom)
	if err != nil {
		return blockLoader(err.Error(), "a readable "+grubCustom, "look at its mode")
	}
	return append(askConfig(string(data)), askCustom(disarm.Unfence(string(custom.Data)))...)
}

func (Grub) checkEnv(s Site) []schema.Blocked {
	block := func(got, want, remedy string) []schema.Blocked {
		return []schema.Blocked{{Check: "grubenv", Got: got, Want: want, Remedy: remedy}}
	}
	m, _, err := s.Locate(grubEnv)
	if err != nil {
		return block(err.Error(), "the file system of "+grubEnv, "look at /proc/self/mountinfo")
	}
	if _, ok := grubModules[m.Type]; !ok {
		return block(m.Type, "a file system in which GRUB can write grubenv: ext2, ext3, ext4, xfs or vfat",
			"the one-shot entry would start at every boot; put /boot on ext4")
	}
	if _, err := s.disk(m); err != nil {
		return block(err.Error(), "grubenv on a plain partition, where GRUB can write it", "put /boot on a partition of its own")
	}
	state, err := disarm.Read(s, grubEnv)
	var env *grubenv.Env
	if err == nil && state.Exists {
		env, err = grubenv.Parse(state.Data)
	}
	if err != nil {
		return block(err.Error(), "an intact "+grubEnv, "grub-editenv "+grubEnv+" create")
	}
	if env == nil {
		return nil
	}
	cfg, err := disarm.Read(s, grubCfg)
	if err != nil {
		return nil //nolint:nilerr // checkConfig speaks about it
	}
	return askVariables(env, string(cfg.Data))
}

// Files implements Backend.
func (g Grub) Files(s Site, e Entry, original func(string) (disarm.State, error)) ([]File, error) {
	entry, err := g.entry(s, e)
	if err != nil {
		return nil, err
	}
	custom, err := original(grubCustom)
	if err != nil {
		return nil, err
	}
	text := string(custom.Data)
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	env, err := g.armedEnv(original)
	if err != nil {
		return nil, err
	}
	return []File{
		{Path: g.Archive(s), Data: e.Stage2, Mode: 0o600, Restore: schema.RestoreRemove},
		{Path: grubCustom, Data: []byte(disarm.Fence(text, entry)), Mode: 0o644, Restore: schema.RestoreFile},
		{Path: grubEnv, Data: env, Mode: 0o644, Restore: schema.RestoreGrubenv},
	}, nil
}

func (Grub) armedEnv(original func(string) (disarm.State, error)) ([]byte, error) {
	state, err := original(grubEnv)
	if err != nil {
		return nil, err
	}
	env := grubenv.New()
	if state.Exists {
		if env, err = grubenv.Parse(state.Data); err != nil {
			return nil, err
		}
	}
	env.Set("next_entry", disarm.EntryID)
	return env.Bytes()
}

// entry is the menu entry. It asks for no password even where others do (GRUB manual, "Authentication and authorisation"):
// nobody would be there to type it. The host's initramfs stays as it is; ours is a second archive beside it, which the
// kernel unpacks over the first (initramfs buffer format, Documentation/driver-api/early-userspace/buffer-format.rst).
func (g Grub) entry(s Site, e Entry) (string, error) {
	fsys, kernel, err := s.FileSystem(e.Kernel)
	if err != nil {
		return "", err
	}
	initrds := []string{}
	for _, name := range []string{e.Initrd, g.Archive(s)} {
		if name == "" {
			continue
		}
		other, inside, err := s.FileSystem(name)
		if err != nil {
			return "", err
		}
		if other.UUID != fsys.UUID {
			return "", fmt.Errorf("%s is on %s, the kernel on %s: expected one file system", name, other.Device, fsys.Device)
		}
		initrds = append(initrds, quote(inside))
	}
	args := e.Arguments()
	for i := range args {
		args[i] = quote(args[i])
	}
	return fmt.Sprintf(`menuentry 'balena migration' --unrestricted --id %s {
	insmod gzio
	insmod part_msdos
	insmod part_gpt
	insmod %s
	search --no-floppy --fs-uuid --set=root %s
	echo 'Starting the migration to balenaOS'
	linux %s %s
	initrd %s
}
`, disarm.EntryID, grubModules[fsys.Type], fsys.UUID, quote(kernel), strings.Join(args, " "), strings.Join(initrds, " ")), nil
}

// quote protects a word from GRUB's shell (GRUB manual, "Quoting").
func quote(word string) string {
	if !strings.ContainsAny(word, "{}|&$;<> \t'\"\\#*?[]~!`()") {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// Armed implements Backend.
func (Grub) Armed(r host.Reader) bool {
	state, err := disarm.Read(r, grubEnv)
	if err != nil || !state.Exists {
		return false
	}
	env, err := grubenv.Parse(state.Data)
	if err != nil {
		return false
	}
	next, _ := env.Get("next_entry")
	return next == disarm.EntryID
}
