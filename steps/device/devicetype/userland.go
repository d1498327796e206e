package devicetype

import (
	"debug/elf"

	"github.com/balena-community/balena-migrate/steps/host"
)

// hardFloat is EF_ARM_ABI_FLOAT_HARD (ELF for the Arm Architecture, 5.3.1).
const hardFloat = 0x400

// Userland is the architecture of the system's programs, as Debian names it, by the header of its shell; empty where that
// can't be read. It differs from the kernel's on Raspberry Pi OS (E35).
func Userland(r host.Reader) string {
	f, err := r.Open("/bin/sh")
	if err != nil {
		return ""
	}
	defer f.Close()
	header := make([]byte, 64)
	if n, _ := f.ReadAt(header, 0); n < 52 || string(header[:4]) != elf.ELFMAG || header[elf.EI_DATA] != byte(elf.ELFDATA2LSB) {
		return ""
	}
	machine := elf.Machine(uint16(header[18]) | uint16(header[19])<<8)
	long := header[elf.EI_CLASS] == byte(elf.ELFCLASS64)
	switch {
	case machine == elf.EM_X86_64 && long:
		return "amd64"
	case machine == elf.EM_386:
		return "i386"
	case machine == elf.EM_AARCH64 && long:
		return "arm64"
	case machine == elf.EM_ARM && (uint32(header[36])|uint32(header[37])<<8)&hardFloat != 0: // e_flags of a 32-bit header
		return "armhf"
	case machine == elf.EM_ARM:
		return "armel"
	}
	return ""
}
