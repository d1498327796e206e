package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf16"

	"golang.org/x/sys/unix"
)

// bootVariables is the vendor of the boot menu's variables.
const bootVariables = "-8be4df61-93ca-11d2-aa0d-00e098032b8c"

// firmware is the boot menu of EFI firmware; all is empty where a BIOS has started the system.
type firmware struct {
	Current string   `json:"current"` // description of the entry that was started
	Entries []string `json:"entries"` // descriptions in BootOrder's order
	All     int      `json:"all"`     // how many Boot#### there are
}

// lookFirmware reads the boot menu through efivarfs.
func (r *report) lookFirmware(dir string) error {
	r.Firmware.Entries = []string{}
	if _, err := os.Stat(dir); err != nil {
		return nil
	}
	vars := filepath.Join(dir, "efivars")
	if err := unix.Mount("efivarfs", vars, "efivarfs", unix.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("mount of efivarfs: %w", err)
	}
	all, err := filepath.Glob(filepath.Join(vars, "Boot[0-9A-F][0-9A-F][0-9A-F][0-9A-F]"+bootVariables))
	if err != nil {
		return err
	}
	r.Firmware.All = len(all)
	value := func(name string) []byte { // without the attributes
		data, _ := os.ReadFile(filepath.Join(vars, name+bootVariables))
		return data[min(4, len(data)):]
	}
	describe := func(number []byte) string {
		option := value(fmt.Sprintf("Boot%04X", binary.LittleEndian.Uint16(number)))
		return description(option[min(6, len(option)):])
	}
	if current := value("BootCurrent"); len(current) == 2 {
		r.Firmware.Current = describe(current)
	}
	for order := value("BootOrder"); len(order) >= 2; order = order[2:] {
		r.Firmware.Entries = append(r.Firmware.Entries, describe(order))
	}
	return nil
}

// description is UCS-2 up to its NUL.
func description(b []byte) string {
	var text []uint16
	for ; len(b) >= 2 && (b[0] != 0 || b[1] != 0); b = b[2:] {
		text = append(text, binary.LittleEndian.Uint16(b))
	}
	return strings.TrimSpace(string(utf16.Decode(text)))
}
