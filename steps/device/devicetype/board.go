package devicetype

import (
	"strconv"
	"strings"

	"github.com/balena-community/balena-migrate/steps/host"
)

// Board is what a machine says of itself. Texts are empty where it says nothing: boards with a device tree mostly have no
// DMI, and the other way round.
type Board struct {
	// Machine is the kernel's architecture, as uname -m prints it. It says how stage 2 must be built, but not which board
	// this is: a 64-bit kernel may run under a 32-bit userland (E35).
	Machine string
	// Model and Compatible are the device tree's; the first of Compatible is the board, the last the processor (E33).
	Model      string
	Compatible []string
	// Revision is a Raspberry Pi's revision code from /proc/cpuinfo, 0 if there is none.
	Revision uint32
	// Vendor and Product are DMI's (Documentation/ABI/testing/sysfs-class-dmi).
	Vendor, Product string
	// Firmware is what started the machine.
	Firmware string
	// Long says that an x86 processor has a 64-bit mode, whatever kernel runs on it.
	Long bool
}

// Look reads what identifies the machine.
func Look(r host.Reader) Board {
	b := Board{
		Machine: r.Machine(), Vendor: host.Line(r, "/sys/class/dmi/id/sys_vendor"), Product: host.Line(r, "/sys/class/dmi/id/product_name"), Firmware: BIOS,
	}
	if _, err := r.Stat("/sys/firmware/efi"); err == nil {
		b.Firmware = EFI
	}
	// The second is a link to the first, or on kernels before 3.13 the only one.
	for _, tree := range []string{"/sys/firmware/devicetree/base/", "/proc/device-tree/"} {
		if model := texts(r, tree+"model"); len(model) > 0 {
			b.Model, b.Compatible = model[0], texts(r, tree+"compatible")
			break
		}
	}
	if b.Model != "" && b.Firmware == BIOS {
		b.Firmware = "" // a board's own boot loader
	}
	data, err := r.ReadFile("/proc/cpuinfo")
	if err == nil {
		b.readCPU(string(data))
	}
	return b
}

// texts reads a list of strings, each with a NUL at its end (Devicetree Specification 0.4, 2.2.4).
func texts(r host.Reader, name string) []string {
	data, err := r.ReadFile(name)
	if err != nil {
		return nil
	}
	var out []string
	for s := range strings.SplitSeq(string(data), "\x00") {
		if s = strings.ToValidUTF8(strings.TrimSpace(s), "?"); s != "" {
			out = append(out, s)
		}
	}
	return out
}

// readCPU reads /proc/cpuinfo (proc_cpuinfo(5)): "Revision" of a Raspberry Pi, and the flag lm of x86.
func (b *Board) readCPU(text string) {
	for l := range strings.SplitSeq(text, "\n") {
		key, value, _ := strings.Cut(l, ":")
		switch value = strings.TrimSpace(value); strings.TrimSpace(key) {
		case "Revision":
			if n, err := strconv.ParseUint(value, 16, 32); err == nil {
				b.Revision = uint32(n)
			}
		case "flags":
			b.Long = b.Long || strings.Contains(" "+value+" ", " lm ")
		}
	}
}

// String names the machine for a person.
func (b Board) String() string {
	switch {
	case b.Model != "":
		return b.Model
	case b.Vendor+b.Product != "":
		return strings.TrimSpace(b.Vendor+" "+b.Product) + " (" + b.Machine + ")"
	case b.Machine == "":
		return "a machine of unknown architecture"
	}
	return "a machine with " + b.Machine + " kernel"
}

// Executable is the build of this program that the machine's kernel runs natively, as `make dist` names it: stage 2 has
// no userland. Empty for what there is none for.
func (b Board) Executable() string {
	switch {
	case b.Machine == "x86_64":
		return "linux-amd64"
	case len(b.Machine) == 4 && b.Machine[0] == 'i' && strings.HasSuffix(b.Machine, "86"):
		return "linux-386"
	case b.Machine == "aarch64":
		return "linux-arm64"
	case strings.HasPrefix(b.Machine, "armv7") || strings.HasPrefix(b.Machine, "armv8"): // a 32-bit process on arm64
		return "linux-armv7"
	case strings.HasPrefix(b.Machine, "armv6"):
		return "linux-armv6"
	}
	return ""
}
