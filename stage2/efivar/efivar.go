// Package efivar puts the new system into the boot menu of EFI firmware, through the files of efivarfs, with no program
// but ourselves (E28, D13).
//
// After the flash the firmware's entry of the old system leads to a partition that is gone. The firmware then falls back
// to \EFI\BOOT\bootx64.efi of the disk, which every image has, but some do so only after a delay, a question, or never.
// So the new system gets an entry of its own, first in the order; what is dead since the flash is removed after that. At
// no moment is there less to boot from than before: the new entry is written and read back, then the order, and only
// then is anything removed.
//
// Two of E28's other acts are left out on purpose. The flasher zeroes the boot code of the MBR and deletes the directory
// grub on EFI machines, and the directory EFI on others; here both stay, as they are in the image: they do not disturb
// each other, the read-back of the disk stays exact, and a firmware that is switched to legacy mode, or back, still boots.
package efivar

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"

	"github.com/balena-community/balena-migrate/steps/host"
)

// Dir is where the variables are.
const Dir = "/sys/firmware/efi/efivars"

// global is EFI_GLOBAL_VARIABLE, the vendor of the boot menu's variables (UEFI 2.10, 3.3).
const global = "8be4df61-93ca-11d2-aa0d-00e098032b8c"

// attributes are NON_VOLATILE, BOOTSERVICE_ACCESS and RUNTIME_ACCESS: what 3.3 asks of Boot#### and BootOrder.
const attributes = 7

// Entry is a Boot#### variable.
type Entry struct {
	Number uint16
	Option Option
}

// String is the number as the firmware writes it, and the description.
func (e Entry) String() string { return fmt.Sprintf("Boot%04X %q", e.Number, e.Option.Description) }

func file(name string) string { return path.Join(Dir, name+"-"+global) }

func bootName(n uint16) string { return fmt.Sprintf("Boot%04X", n) }

// read returns a variable's value without its attributes, which are the first four bytes of the file.
func read(r host.Reader, name string) ([]byte, error) {
	data, err := r.ReadFile(file(name))
	if err != nil {
		return nil, err
	}
	if len(data) < 4 {
		return nil, fmt.Errorf("%s: %d bytes, expected at least 4", file(name), len(data))
	}
	return data[4:], nil
}

// write sets a variable and reads it back: there are firmwares that say yes and do nothing.
func write(h host.Host, name string, value []byte) error {
	data := append(binary.LittleEndian.AppendUint32(nil, attributes), value...)
	if err := h.WriteVariable(file(name), data); err != nil {
		return err
	}
	got, err := read(h, name)
	if err != nil {
		return err
	}
	if !slices.Equal(got, value) {
		return fmt.Errorf("%s: the firmware did not keep what was written", name)
	}
	return nil
}

var bootFile = regexp.MustCompile("^Boot([0-9A-F]{4})-" + global + "$")

// List returns the entries, by number. One that is not a load option is left out: nothing is done with it.
func List(r host.Reader) ([]Entry, error) {
	files, err := r.ReadDir(Dir)
	if err != nil {
		return nil, err
	}
	var out []Entry
	for _, f := range files {
		m := bootFile.FindStringSubmatch(f.Name())
		if m == nil {
			continue
		}
		n, err := strconv.ParseUint(m[1], 16, 16)
		if err != nil {
			return nil, err
		}
		data, err := read(r, bootName(uint16(n)))
		if err != nil {
			return nil, err
		}
		option, err := Parse(data)
		if err != nil {
			option = Option{}
		}
		out = append(out, Entry{Number: uint16(n), Option: option})
	}
	return out, nil
}

// Order returns BootOrder; a firmware without one has an empty one.
func Order(r host.Reader) ([]uint16, error) {
	data, err := read(r, "BootOrder")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return numbers(data), nil
}

func numbers(data []byte) []uint16 {
	var out []uint16
	for ; len(data) >= 2; data = data[2:] {
		out = append(out, binary.LittleEndian.Uint16(data))
	}
	return out
}
