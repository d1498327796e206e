// Package devicetype says which balena device types a machine can be. Several may be right for one board, so the answer
// is a set, and the fleet's config.json chooses (E37).
package devicetype

import (
	"strings"

	"github.com/balena-community/balena-migrate/steps/host"
)

// The firmwares that start machines.
const (
	BIOS = "bios"
	EFI  = "efi"
)

// Type is a row of balena's contracts (E5).
type Type struct {
	Slug string
	// Arch is balena's name of the architecture.
	Arch string
	// Machine is what uname -m prints on the old system.
	Machine string
	// Vendor, if not empty, is the DMI system vendor it takes.
	Vendor string
	// Firmware, if not empty, is the only one that its image is made for.
	Firmware string
}

// types lists what this version knows, the most usual first.
func types() []Type {
	return []Type{
		{Slug: "genericx86-64-ext", Arch: "amd64", Machine: "x86_64"},
		{Slug: "generic-amd64", Arch: "amd64", Machine: "x86_64", Firmware: EFI},
		{Slug: "intel-nuc", Arch: "amd64", Machine: "x86_64"},
		{Slug: "qemux86-64", Arch: "amd64", Machine: "x86_64", Vendor: "QEMU"},
	}
}

// Detect lists the types that a machine can be.
func Detect(r host.Reader) []Type {
	machine, vendor := r.Machine(), vendor(r)
	var out []Type
	for _, t := range types() {
		if t.Machine == machine && (t.Vendor == "" || t.Vendor == vendor) {
			out = append(out, t)
		}
	}
	return out
}

// vendor is DMI's system vendor (Documentation/ABI/testing/sysfs-class-dmi), empty on boards without DMI.
func vendor(r host.Reader) string {
	data, err := r.ReadFile("/sys/class/dmi/id/sys_vendor")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}
