// Package newboot says by what the new system will be started, before there is no way back: by a program in the image (EFI),
// by boot code in the image (BIOS), or by GRUB's boot.img and core.img that are put beside it (S57, S135).
//
// What is refused here would leave a machine whose disk is well and that does not start.
package newboot

import (
	"fmt"
	"path"
	"strings"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/bootcode"
	"github.com/balena-community/balena-migrate/steps/device/devicetype"
	"github.com/balena-community/balena-migrate/steps/host"
)

// The values of boot.grub.install.
const (
	installNone = "none"
	installHost = "host"
)

// Install is what goes onto the disk beside the image.
type Install struct {
	BootImg, CoreImg []byte
	// Cfg is grub.cfg for the boot partition, nil where the image or its flasher has one.
	Cfg []byte
}

// Case is a machine and what is to become of it: Device is the machine, Files are the caller's own.
type Case struct {
	Device, Files host.Reader
	Config        schema.Config
	Facts         schema.Facts
}

// Ask returns what is to be installed, nil for nothing, and what stands against the new system's start, as far as facts of
// the image tell. firmware is that of the machine.
func Ask(v Case, firmware string) (*Install, []schema.Blocked) {
	switch grub := v.Config.Boot.Grub; grub.Install {
	case installNone:
		return nil, askImage(v.Facts.Image, firmware, v.Device.Machine())
	case installHost:
		return nil, []schema.Blocked{fromHost(v.Device)}
	}
	if got := unsuited(firmware, v.Device.Machine()); got != "" {
		return nil, []schema.Blocked{{
			Check: "options", Got: "boot.grub.install: files, and " + got, Want: "a PC whose BIOS starts the boot code of the disk",
			Remedy: "leave boot.grub.install out",
		}}
	}
	in, err := read(v)
	if err == nil {
		err = in.suits(v)
	}
	if err != nil {
		return nil, []schema.Blocked{{
			Check: "options", Got: "boot.grub.install: files: " + err.Error(), Want: "boot.img and core.img that start this image",
			Remedy: remedyFiles,
		}}
	}
	return in, nil
}

// remedyFiles names the command by which core.img is made for a disk like that of balenaOS.
const remedyFiles = "set boot.grub.boot_img to a copy of /usr/lib/grub/i386-pc/boot.img and boot.grub.core_img to what " +
	"grub-mkimage --format=i386-pc --prefix='(hd0,msdos1)/grub' --output=core.img biosdisk part_msdos fat ext2 normal configfile " +
	"linux serial terminal echo search search_label makes (Debian package grub-pc-bin, on any machine), and boot.grub.cfg if the image has no grub.cfg"

// fromHost says why the old system's own files won't do.
func fromHost(r host.Reader) schema.Blocked {
	got := "boot.grub.install: host"
	if _, err := r.Stat("/boot/grub/i386-pc/core.img"); err == nil {
		got += ": the old system's core.img looks for its files on the old system's partition, which will be gone"
	}
	return schema.Blocked{
		Check: "options", Got: got, Want: "a core.img made for the new system, by boot.grub.install: files", Remedy: remedyFiles,
	}
}

// unsuited says why boot code is of no use, empty if it is.
func unsuited(firmware, machine string) string {
	switch {
	case firmware == devicetype.EFI:
		return "this machine is started by EFI firmware"
	case !isPC(machine):
		return "this machine is " + machine
	}
	return ""
}

func isPC(machine string) bool {
	return machine == "x86_64" || strings.HasPrefix(machine, "i") && strings.HasSuffix(machine, "86")
}

// askImage is E28: firmware finds something in the image. Where nobody looked into it, nothing is said.
func askImage(f *schema.ImageFacts, firmware, machine string) []schema.Blocked {
	if f == nil || f.Starts == nil {
		return nil
	}
	block := func(got, want, remedy string) []schema.Blocked {
		return []schema.Blocked{{Check: "image", Got: got, Want: want, Remedy: remedy}}
	}
	switch loader := loaderOf(machine); {
	case firmware == devicetype.EFI && loader != "":
		for _, name := range f.Starts.Loaders {
			if name == loader {
				return nil
			}
		}
		return block(fmt.Sprintf("an image without EFI/BOOT/%s on its boot partition (there: %s)", loader, orNone(f.Starts.Loaders)),
			"one that this machine's EFI firmware can start", "give an image for EFI machines of this architecture, such as genericx86-64-ext or generic-amd64")
	case firmware == devicetype.BIOS && isPC(machine) && !f.Starts.BootCode:
		return block("an image without boot code in its first sector", "one that this machine's BIOS can start",
			"give an image for machines with a BIOS; or "+remedyFiles+", and boot.grub.install to files")
	}
	return nil
}

// loaderOf is the removable path's program for a machine (UEFI 2.10, 3.5.1.1). EFI of 32 bits on a PC is refused elsewhere.
func loaderOf(machine string) string {
	switch {
	case isPC(machine):
		return "bootx64.efi"
	case machine == "aarch64":
		return "bootaa64.efi"
	}
	return ""
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// read finds the two files: those that the operator names, or those that a flasher brought along (E27).
func read(v Case) (*Install, error) {
	grub := v.Config.Boot.Grub
	boot, core := grub.BootImg, grub.CoreImg
	if (boot == "") != (core == "") {
		return nil, fmt.Errorf("one of boot.grub.boot_img and boot.grub.core_img: expected both or neither")
	}
	if boot == "" && v.Facts.Image != nil {
		for _, e := range v.Facts.Image.Extras {
			switch e.Name {
			case schema.ExtraBootImg:
				boot = e.Path
			case schema.ExtraCoreImg:
				core = e.Path
			}
		}
	}
	if boot == "" || core == "" {
		return nil, fmt.Errorf("neither boot.grub.boot_img and core_img nor a flasher image that has them")
	}
	in := &Install{}
	var err error
	if in.BootImg, err = small(v.Files, boot); err != nil {
		return nil, err
	}
	in.CoreImg, err = small(v.Files, core)
	return in, err
}

// maxFile bounds the files in memory, in bytes.
const maxFile = 2 << 20

func small(r host.Reader, name string) ([]byte, error) {
	info, err := r.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxFile {
		return nil, fmt.Errorf("%s: found %d bytes, %s, expected a regular file of at most %d", name, info.Size(), info.Mode().Type(), maxFile)
	}
	return r.ReadFile(name)
}

// suits compares the files with the image, and chooses grub.cfg.
func (in *Install) suits(v Case) error {
	code, err := bootcode.Parse(in.BootImg, in.CoreImg)
	if err != nil {
		return err
	}
	if name := v.Config.Boot.Grub.Cfg; name != "" {
		if in.Cfg, err = small(v.Files, name); err != nil {
			return err
		}
	}
	image := v.Facts.Image
	if image == nil {
		return nil // asked again when it is prepared
	}
	if image.Starts == nil {
		return fmt.Errorf("an image that was prepared by an earlier version: expected one that this one has looked into; remove %s", path.Base(image.Path))
	}
	if n := int64(len(code.Core())); n > image.Starts.Gap {
		return fmt.Errorf("core.img has %d bytes, and the image (%s) room for %d before its first partition", n, image.Table, image.Starts.Gap)
	}
	if in.Cfg == nil && !image.Starts.GrubCfg && !hasExtra(image, schema.ExtraGrubCfg) {
		if !image.Starts.Kernel {
			return fmt.Errorf("an image with neither /grub/grub.cfg nor /vmlinuz on its boot partition, and no boot.grub.cfg")
		}
		in.Cfg = []byte(config(v.Config.Boot.Grub.BootDevice, image))
	}
	return nil
}

func hasExtra(f *schema.ImageFacts, name string) bool {
	for _, e := range f.Extras {
		if e.Name == name {
			return true
		}
	}
	return false
}
