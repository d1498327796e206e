package efivar

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/balena-community/balena-migrate/steps/host/hosttest"
)

// fromFirmware is Boot0004 of a machine that Debian was installed on, as it lies in efivarfs less its attributes: the
// description "debian", HD(1,GPT,1ab00000-0b00-4000-8000-000000000003,0x800,0x20000), File(\EFI\debian\grubx64.efi).
const fromFirmware = "01000000" + "6200" + "640065006200690061006e000000" +
	"04012a00" + "01000000" + "0008000000000000" + "0000020000000000" + "0000b01a000b00408000000000000003" + "0202" +
	"04043400" + "5c004500460049005c00640065006200690061006e005c0067007200750062007800360034002e006500660069000000" +
	"7fff0400"

func partition(last byte, start uint64) HardDrive {
	d := HardDrive{Number: 1, Start: start, Size: 0x20000, GPT: true}
	copy(d.Signature[:], "\x00\x00\xb0\x1a\x00\x0b\x00\x40\x80\x00\x00\x00\x00\x00\x00")
	d.Signature[15] = last
	return d
}

func mbr(id byte, start uint64) HardDrive {
	return HardDrive{Number: 1, Start: start, Size: 81920, Signature: [16]byte{id, 0x0a, 0x1e, 0xba}}
}

// TestOption: what firmware has written is read, and what we write is the same to the last byte.
func TestOption(t *testing.T) {
	want, err := hex.DecodeString(fromFirmware)
	if err != nil {
		t.Fatal(err)
	}
	o, err := Parse(want)
	if err != nil {
		t.Fatal(err)
	}
	d, ok := o.HardDrive()
	if !ok || d != partition(3, 0x800) || o.Description != "debian" || o.Attributes != active {
		t.Errorf("%+v with %+v", o, d)
	}
	if got := New("debian", d, `\EFI\debian\grubx64.efi`).Bytes(); !slices.Equal(got, want) {
		t.Errorf("wrote\n%x, want\n%x", got, want)
	}
	m, ok := New("x", mbr(1, 8192), `\a`).HardDrive()
	if !ok || m != mbr(1, 8192) {
		t.Errorf("MBR: %+v", m)
	}
}

func TestParseRefuses(t *testing.T) {
	whole, _ := hex.DecodeString(fromFirmware)
	for name, data := range map[string][]byte{
		"nothing": nil, "too short": whole[:7], "no end of the description": whole[:14], "path cut": whole[:60],
	} {
		if o, err := Parse(data); err == nil {
			t.Errorf("%s: %+v", name, o)
		}
	}
}

func FuzzParse(f *testing.F) {
	whole, _ := hex.DecodeString(fromFirmware)
	f.Add(whole)
	f.Add(New("", HardDrive{}, "").Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		o, err := Parse(data)
		if err != nil {
			return
		}
		o.HardDrive()
		if again, err := Parse(o.Bytes()); err != nil || !slices.Equal(again.Path, o.Path) || !slices.Equal(again.Data, o.Data) {
			t.Errorf("%+v read again is %+v, %v", o, again, err)
		}
	})
}

// store is a firmware: entries by number, and the order.
func store(t *testing.T, order []uint16, entries map[uint16]Option) *firmware {
	t.Helper()
	f := &firmware{Host: hosttest.New(t, nil)}
	f.Put(file("Timeout"), "\x07\x00\x00\x00\x05\x00")
	for n, o := range entries {
		f.Put(file(bootName(n)), "\x07\x00\x00\x00"+string(o.Bytes()))
	}
	if order != nil {
		f.Put(file("BootOrder"), "\x07\x00\x00\x00"+string(words(order)))
	}
	return f
}

func words(order []uint16) []byte {
	var b []byte
	for _, n := range order {
		b = append(b, byte(n), byte(n>>8))
	}
	return b
}

// firmware counts what it is asked to do, and refuses what it is told to.
type firmware struct {
	*hosttest.Host
	refuse func(act, name string) error
	acts   []string
}

func (f *firmware) act(what, name string) error {
	name, _, _ = strings.Cut(strings.TrimPrefix(name, Dir+"/"), "-")
	if f.refuse != nil {
		if err := f.refuse(what, name); err != nil {
			return err
		}
	}
	f.acts = append(f.acts, what+" "+name)
	return nil
}

func (f *firmware) WriteVariable(name string, data []byte) error {
	if err := f.act("write", name); err != nil {
		return err
	}
	return f.Host.WriteVariable(name, data)
}

func (f *firmware) RemoveVariable(name string) error {
	if err := f.act("remove", name); err != nil {
		return err
	}
	return f.Host.RemoveVariable(name)
}

func network() Option {
	return Option{Attributes: active, Description: "UEFI PXEv4", Path: append(node(3, 11, make([]byte, 33)), node(typeEnd, subEnd, nil)...)}
}

// disks: partition 3 was on the disk and is gone, 7 is on it now, 5 is on another disk, 9 on one that is not attached.
func menu() Menu {
	return Menu{
		Want:    New(Label, mbr(7, 8192), `\EFI\BOOT\bootx64.efi`),
		Old:     []HardDrive{partition(3, 0x800), partition(4, 0x30000)},
		Present: []HardDrive{mbr(7, 8192), partition(5, 0x800)},
	}
}

func entries() map[uint16]Option {
	return map[uint16]Option{
		0: network(),
		1: New("debian", partition(3, 0x800), `\EFI\debian\shimx64.efi`),
		2: New("resinOS", partition(9, 0x800), `\EFI\BOOT\bootx64.efi`),  // an earlier life of this disk
		3: New("balenaOS", partition(5, 0x800), `\EFI\BOOT\bootx64.efi`), // another disk's
		4: New("USB stick", partition(9, 0x800), `\EFI\BOOT\bootx64.efi`),
		6: New("Windows Boot Manager", partition(5, 0x800), `\EFI\Microsoft\Boot\bootmgfw.efi`),
	}
}

// TestSet is E28 and D13: ours first, what died removed, everybody else's in its place; and nothing is removed before the
// new entry and its order are in place.
func TestSet(t *testing.T) {
	f := store(t, []uint16{1, 2, 0, 3, 4, 6}, entries())
	f.Put(file("BootNext"), "\x07\x00\x00\x00\x01\x00")
	if _, err := menu().Set(f); err != nil {
		t.Fatal(err)
	}
	wantMenu(t, f, []uint16{5, 0, 3, 4, 6}, 0, 3, 4, 5, 6)
	want := []string{"write Boot0005", "write BootOrder", "remove BootNext", "remove Boot0001", "remove Boot0002"}
	if !slices.Equal(f.acts, want) {
		t.Errorf("did %v, want %v", f.acts, want)
	}
	f.acts = nil
	if did, err := menu().Set(f); err != nil || len(f.acts) != 0 {
		t.Errorf("the second time did %v %v, %v; want nothing", did, f.acts, err)
	}
}

// wantMenu wants this order and exactly these entries, the first of the order being ours.
func wantMenu(t *testing.T, f *firmware, order []uint16, numbers ...uint16) {
	t.Helper()
	if got, err := Order(f); err != nil || !slices.Equal(got, order) {
		t.Errorf("BootOrder %v, %v; want %v", got, err, order)
	}
	all, err := List(f)
	if err != nil {
		t.Fatal(err)
	}
	var got []uint16
	for _, e := range all {
		got = append(got, e.Number)
		if e.Number == order[0] && !slices.Equal(e.Option.Bytes(), menu().Want.Bytes()) {
			t.Errorf("%s is not ours", e)
		}
	}
	if !slices.Equal(got, numbers) {
		t.Errorf("entries %v, want %v", got, numbers)
	}
}

func TestSetOnEmptyFirmware(t *testing.T) {
	f := store(t, nil, nil)
	if _, err := menu().Set(f); err != nil {
		t.Fatal(err)
	}
	wantMenu(t, f, []uint16{0}, 0)
}

// A full store takes the new entry once the dead ones are gone.
func TestFullStore(t *testing.T) {
	f := store(t, []uint16{1, 0}, entries())
	removed := 0
	f.refuse = func(act, name string) error {
		if act == "remove" {
			removed++
		}
		if act == "write" && name == "Boot0005" && removed == 0 {
			return syscall.ENOSPC
		}
		return nil
	}
	if _, err := menu().Set(f); err != nil {
		t.Fatal(err)
	}
	wantMenu(t, f, []uint16{5, 0}, 0, 3, 4, 5, 6)
}

// TestRefused: whatever the firmware refuses, an entry that leads somewhere stays, and the error says what.
func TestRefused(t *testing.T) {
	for _, what := range []string{"write Boot0005", "write BootOrder", "remove Boot0001"} {
		f := store(t, []uint16{1, 0, 3}, entries())
		f.refuse = func(act, name string) error {
			if act+" "+name == what {
				return syscall.EIO
			}
			return nil
		}
		_, err := menu().Set(f)
		if !errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), strings.Fields(what)[1][:4]) {
			t.Errorf("%s: %v", what, err)
		}
		order, _ := Order(f)
		if !slices.Contains(order, 0) || !slices.Contains(order, 3) {
			t.Errorf("%s: BootOrder %v lost what was alive", what, order)
		}
	}
}

// There are firmwares that say yes and keep nothing.
func TestForgetfulFirmware(t *testing.T) {
	f := forgetful{store(t, []uint16{1, 0}, entries())}
	if _, err := menu().Set(f); err == nil {
		t.Error("a variable that was not kept went unnoticed")
	}
}

type forgetful struct{ *firmware }

func (f forgetful) WriteVariable(name string, data []byte) error {
	return f.firmware.WriteVariable(name, data[:min(len(data), 5)])
}

// Something else under a name like ours is left alone.
func TestForeignVariables(t *testing.T) {
	f := store(t, []uint16{0}, map[uint16]Option{0: network()})
	f.Put(Dir+"/Boot0001-00000000-0000-0000-0000-000000000000", "x")
	f.Put(file("BootCurrent"), "\x06\x00\x00\x00\x00\x00")
	f.Put(file("Boot0002"), "\x07\x00\x00\x00\x01")
	if _, err := menu().Set(f); err != nil {
		t.Fatal(err)
	}
	wantMenu(t, f, []uint16{1, 0}, 0, 1, 2)
	if fmt.Sprint(f.acts) != "[write Boot0001 write BootOrder]" {
		t.Errorf("did %v", f.acts)
	}
}
