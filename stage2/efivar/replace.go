package efivar

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/balena-community/balena-migrate/steps/host"
)

// Label is what the new system is called in the firmware's menu, as balena's flasher does (E28).
const Label = "balenaOS"

// Menu says what is to become of the entries: Want comes first, and those that died by the flash go.
type Menu struct {
	Want Option
	// Old are the partitions that the disk had before the flash, Present those of all disks now.
	Old, Present []HardDrive
}

// dead says whether an entry is ours to remove: it leads to no partition that there is, and led either to one that we
// have written over, or to an earlier balenaOS. What leads to another disk, to a network card or to a device that only
// is not attached now is not ours.
func (m Menu) dead(o Option) bool {
	d, ok := o.HardDrive()
	if !ok || slices.ContainsFunc(m.Present, d.Same) {
		return false
	}
	return slices.ContainsFunc(m.Old, d.Same) || o.Description == Label || o.Description == "resinOS"
}

// Set makes the firmware's menu so, and returns what it did. It can be run again. What could not be done is in the
// error; the entry may then be in place all the same.
func (m Menu) Set(h host.Host) (did []string, err error) {
	entries, err := List(h)
	if err != nil {
		return nil, err
	}
	order, err := Order(h)
	if err != nil {
		return nil, err
	}
	var dead []Entry
	for _, e := range entries {
		if m.dead(e.Option) {
			dead = append(dead, e)
		}
	}
	first, added, err := m.add(h, entries)
	if err != nil { // the store may be full: what leads nowhere is no loss
		removed, rmErr := remove(h, dead)
		if did = append(did, removed...); len(removed) == 0 {
			return did, errors.Join(err, rmErr)
		}
		if first, added, err = m.add(h, entries); err != nil {
			return did, errors.Join(err, rmErr)
		}
	}
	did = append(did, added...)
	if err := setOrder(h, order, first, dead); err != nil {
		return did, err
	}
	did = append(did, fmt.Sprintf("Boot%04X is first in BootOrder", first))
	removed, err := remove(h, dead)
	return append(did, removed...), err
}

// add writes the entry under the first free number, unless there is one that is the same.
func (m Menu) add(h host.Host, entries []Entry) (uint16, []string, error) {
	want := m.Want.Bytes()
	free := uint16(0)
	for _, e := range entries {
		if slices.Equal(e.Option.Bytes(), want) {
			return e.Number, nil, nil
		}
		if e.Number == free { // List is in order
			free++
		}
	}
	e := Entry{Number: free, Option: m.Want}
	if err := write(h, bootName(free), want); err != nil {
		return 0, nil, fmt.Errorf("add %s: %w", e, err)
	}
	return free, []string{"added " + e.String()}, nil
}

// setOrder puts first in front and takes the dead out; all else keeps its place.
func setOrder(h host.Host, order []uint16, first uint16, dead []Entry) error {
	out := []uint16{first}
	for _, n := range order {
		gone := slices.ContainsFunc(dead, func(e Entry) bool { return e.Number == n })
		if !gone && n != first {
			out = append(out, n)
		}
	}
	if slices.Equal(out, order) {
		return nil
	}
	var value []byte
	for _, n := range out {
		value = binary.LittleEndian.AppendUint16(value, n)
	}
	if err := write(h, "BootOrder", value); err != nil {
		return fmt.Errorf("put Boot%04X first: %w", first, err)
	}
	return nil
}

// remove removes entries, and BootNext where it names one of them.
func remove(h host.Host, dead []Entry) ([]string, error) {
	var did []string
	var errs []error
	next, nextErr := read(h, "BootNext")
	for _, e := range dead {
		if nextErr == nil && slices.Equal(numbers(next), []uint16{e.Number}) {
			errs = append(errs, h.RemoveVariable(file("BootNext")))
		}
		if err := h.RemoveVariable(file(bootName(e.Number))); err != nil {
			errs = append(errs, fmt.Errorf("remove %s: %w", e, err))
			continue
		}
		did = append(did, "removed "+e.String())
	}
	return did, errors.Join(errs...)
}
