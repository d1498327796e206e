package boot

import (
	"errors"
	"strings"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/blockdev"
)

// Find returns the back end for a method, or for "auto" the first of the machine's that nothing stands against: its boot
// loader, or kexec where the boot loader can't and kexec gets round the reason. Without any, blocked says why, for each.
func Find(s Site, method string) (Backend, []schema.Blocked) {
	if method == (Kexec{}).Name() {
		return unlessBlocked(Kexec{}, Kexec{}.Check(s))
	}
	loader, blocked := findLoader(s, method)
	if root := outOfReach(s); loader != nil && root != nil {
		loader, blocked = nil, root
	}
	if loader != nil || method != "auto" || !around(s) {
		return loader, blocked
	}
	why := Kexec{}.Check(s)
	if len(why) == 0 {
		return Kexec{}, nil
	}
	for i := range blocked {
		blocked[i].Remedy += "; or see to it that kexec can be used, against which stands: " + got(why)
	}
	return nil, blocked
}

func unlessBlocked(b Backend, why []schema.Blocked) (Backend, []schema.Blocked) {
	if len(why) > 0 {
		return nil, why
	}
	return b, nil
}

func got(all []schema.Blocked) string {
	var out []string
	for _, b := range all {
		out = append(out, b.Got)
	}
	return strings.Join(out, ", ")
}

// outOfReach is about a root in layers, such as LVM: a boot loader starts stage 2 with the image on the disk and needs the
// record of what it changed put back, and both lie where stage 2 can't mount them.
func outOfReach(s Site) []schema.Blocked {
	m, _, err := s.Locate("/")
	if err != nil {
		return nil // others speak about it
	}
	if err = plain(s, m); err == nil {
		return nil
	}
	return []schema.Blocked{{
		Check: "boot-loader", Got: "the root file system: " + err.Error(), Want: "a root on a plain partition, which stage 2 can mount, or kexec",
		Remedy: "set boot.method to auto or kexec",
	}}
}

// plain says whether a mounted file system lies on a partition of a plain disk: nil when it does.
func plain(s Site, m blockdev.Mount) error {
	device, err := blockdev.NameOf(s, m)
	if err != nil {
		return err
	}
	_, err = blockdev.DiskOf(s, device)
	return err
}

// around says whether what stands against the machine's boot loader is something that kexec gets round: its file systems,
// or which one it is. The firmware must start the new system from the disk afterwards. A PC's BIOS does, and EFI does; but
// where a BIOS machine's kernel did not come from the GRUB on its disk, something else chooses what is started, and nothing
// tells what (S104). Boards with processors of their own have firmware for balenaOS of their own.
func around(s Site) bool {
	m, _, err := s.Locate(grubEnv)
	_, writable := grubModules[m.Type]
	switch {
	case outOfReach(s) != nil, err == nil && (!writable || errors.Is(plain(s, m), blockdev.ErrLayered)):
		return started(s)
	}
	other := Foreign(s)
	return efi(s) && (other == "" && !started(s) || strings.HasPrefix(other, "systemd-boot")) || s.Machine() == "x86_64" && other != ""
}

func efi(s Site) bool {
	_, err := s.Stat("/sys/firmware/efi")
	return err == nil
}

// started says whether what starts the machine is what lies on its disk, as far as it can be told.
func started(s Site) bool { return efi(s) || len(Grub{}.checkStarted(s)) == 0 || Foreign(s) != "" }
