// Package devicetype says which balena device types a machine can be. Several may be right for one board, so the answer
// is a set, and the fleet's config.json chooses (E37). It goes by what board and firmware say of themselves: the device
// tree, a Raspberry Pi's revision code, DMI. Host names and the like say nothing (S44).
package devicetype

import (
	"fmt"
	"slices"
	"strings"

	"github.com/balena-community/balena-migrate/steps/host"
)

// The firmwares that start machines. Boards with a boot loader of their own have neither.
const (
	BIOS = "bios"
	EFI  = "efi"
)

// Type is a row of balena's contracts (E5).
type Type struct {
	Slug string
	// Firmware, if not empty, is the only one that its image is made for.
	Firmware string
}

// Detect lists the types that a machine can be.
func Detect(r host.Reader) []Type { return Look(r).Types() }

// Types lists the types that the board can be, the most usual first.
func (b Board) Types() []Type {
	var slugs []string
	switch pi, known := b.raspberryPi(); {
	case known:
		slugs = pi
	case len(b.Compatible) > 0:
		slugs = byTree(b.Compatible[0])
	}
	if len(slugs) > 0 || b.Model != "" && b.Firmware != EFI {
		return types(slugs)
	}
	switch {
	case b.Machine == "x86_64", b.Executable() == "linux-386" && b.Long:
		return b.x86()
	case b.Machine == "aarch64" && b.Firmware == EFI:
		return []Type{{Slug: "generic-aarch64", Firmware: EFI}}
	}
	return nil
}

func (b Board) x86() []Type {
	out := []Type{{Slug: "genericx86-64-ext"}, {Slug: "generic-amd64", Firmware: EFI}, {Slug: "intel-nuc"}}
	if b.Vendor == "QEMU" {
		out = append(out, Type{Slug: "qemux86-64"})
	}
	return out
}

func types(slugs []string) []Type {
	var out []Type
	for _, s := range slugs {
		out = append(out, Type{Slug: s})
	}
	return out
}

// Boards by their SoC's generation. fincm3 and revpi-core-3 are carriers of the Compute Module 3, which can't be told
// apart: config.json's word counts. An image for the Pi 4 also starts its siblings.
func pi1() []string       { return []string{"raspberry-pi"} }
func pi2() []string       { return []string{"raspberry-pi2"} }
func pi3() []string       { return []string{"raspberrypi3", "raspberrypi3-64"} }
func pi3Module() []string { return append(pi3(), "fincm3", "revpi-core-3") }
func pi4() []string       { return []string{"raspberrypi4-64"} }
func pi400() []string     { return []string{"raspberrypi400-64", "raspberrypi4-64"} }
func pi4Module() []string { return []string{"raspberrypicm4-ioboard", "raspberrypi4-64"} }
func pi5() []string       { return []string{"raspberrypi5"} }
func zero2() []string     { return []string{"raspberrypi0-2w-64"} }

// raspberryPi knows a Pi by its revision code, which the firmware gives, and without one by the device tree, as on
// kernels of other distributions (E34).
func (b Board) raspberryPi() ([]string, bool) {
	isPi := slices.ContainsFunc(b.Compatible, func(c string) bool { return strings.HasPrefix(c, "raspberrypi,") }) ||
		strings.HasPrefix(b.Model, "Raspberry Pi ")
	if !isPi {
		return nil, false
	}
	if slugs := byRevision(b.Revision); slugs != nil {
		return slugs, true
	}
	for _, c := range b.Compatible {
		if name, ok := strings.CutPrefix(c, "raspberrypi,"); ok {
			return byPiTree(name), true
		}
	}
	return nil, true
}

// newStyle marks revision codes that are made of fields (Raspberry Pi documentation, "New-style revision codes"); those
// before are numbers from 0002 to 0015 of the first generation. Higher bits tell of overvoltage and the like (S45).
const newStyle = 1 << 23

// byRevision goes by the type, bits 4 to 11.
func byRevision(code uint32) []string {
	if code&newStyle == 0 {
		if n := code & 0xffffff; n >= 2 && n <= 0x15 {
			return pi1()
		}
		return nil
	}
	switch kind := code >> 4 & 0xff; kind {
	case 0x00, 0x01, 0x02, 0x03, 0x06, 0x09, 0x0c: // A, B, A+, B+, CM1, Zero, Zero W
		return pi1()
	case 0x04:
		return pi2()
	case 0x08, 0x0d, 0x0e: // 3B, 3B+, 3A+
		return pi3()
	case 0x0a, 0x10: // CM3, CM3+
		return pi3Module()
	case 0x11:
		return pi4()
	case 0x12:
		return zero2()
	case 0x13:
		return pi400()
	case 0x14, 0x15: // CM4, CM4S
		return pi4Module()
	case 0x17, 0x18, 0x19, 0x1a: // 5, CM5, 500, CM5 Lite
		return pi5()
	}
	return nil
}

// byPiTree goes by the name after "raspberrypi," (Documentation/devicetree/bindings/arm/bcm/bcm2835.yaml).
func byPiTree(name string) []string {
	switch {
	case name == "model-zero-2-w", name == "model-zero-2":
		return zero2()
	case strings.HasPrefix(name, "model-"), name == "compute-module":
		return pi1()
	case name == "2-model-b":
		return pi2()
	case strings.HasPrefix(name, "3-compute-module"):
		return pi3Module()
	case strings.HasPrefix(name, "3-model-"):
		return pi3()
	case name == "400":
		return pi400()
	case strings.HasPrefix(name, "4-compute-module"):
		return pi4Module()
	case name == "4-model-b":
		return pi4()
	case name == "5-model-b", name == "500", strings.HasPrefix(name, "5-compute-module"):
		return pi5()
	}
	return nil
}

// byTree goes by the board's own entry alone: a BeagleBone Green claims to be compatible with a Black too. The vendor
// before the comma has changed over the years.
func byTree(board string) []string {
	_, name, _ := strings.Cut(board, ",")
	switch name {
	case "am335x-bone-black", "am335x-bone-black-wireless":
		return []string{"beaglebone-black"}
	case "am335x-bone-green", "am335x-bone-green-wireless":
		return []string{"beaglebone-green"}
	case "am335x-bone": // old kernels know no more than that
		return []string{"beaglebone-black", "beaglebone-green"}
	case "am335x-pocketbeagle":
		return []string{"beaglebone-pocket"}
	case "p2972-0000":
		return []string{"jetson-xavier"}
	}
	switch {
	case !strings.HasPrefix(board, "nvidia,"):
	case strings.HasSuffix(name, "p3668-0000"):
		return []string{"jetson-xavier-nx-devkit"}
	case strings.HasSuffix(name, "p3668-0001"):
		return []string{"jetson-xavier-nx-devkit-emmc"}
	}
	return nil
}

// Remark is what must be known of the new system for this board, empty if nothing (E36).
func (b Board) Remark() string {
	kind, revision := b.Revision>>4&0xff, b.Revision&0xf
	if b.Revision&newStyle != 0 && (kind == 0x11 && revision >= 5 || kind == 0x14 && revision >= 1) {
		return fmt.Sprintf("revision %x needs balenaOS 2.91 or later", b.Revision)
	}
	return ""
}
