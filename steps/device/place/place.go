// Package place brings a file to where stage 2 can leave it: on the disk that is flashed, but beyond what the flash writes.
//
// Where a file lies is for the file system to decide. So a file is given another place by asking for a new one until it
// is far enough, which costs no writing, and only then copied; and where it lies is asked again by whoever relies on it.
package place

import (
	"strings"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/blockdev"
	"github.com/balena-community/balena-migrate/stage2/inplace"
	"github.com/balena-community/balena-migrate/steps/device/boot"
	"github.com/balena-community/balena-migrate/steps/device/target"
	"github.com/balena-community/balena-migrate/steps/host"
)

// File is a file that stage 2 needs, on a device whose disk will be written up to the offset Written.
type File struct {
	Site    boot.Site
	Files   host.Reader
	Disk    schema.Disk
	Name    string
	Written int64
}

// InPlace lists the parts of the file, which has size bytes, that can be read on the disk while it is flashed. note says
// why the rest can't be, empty when there is none.
func (f File) InPlace(size int64) (list []schema.Extent, note string) {
	partition, fstype, note := f.partition()
	if note != "" {
		return nil, note
	}
	all, doubts, err := blockdev.Extents(f.Files, f.Name, partition, fstype)
	if err != nil {
		return nil, err.Error()
	}
	list = inplace.Beyond(all, size, f.Written)
	if err := inplace.Check(list, size, f.Written, f.Disk.Size); err != nil {
		return nil, err.Error()
	}
	var why []string
	if doubts != "" {
		why = append(why, "extents that are "+doubts)
	}
	if inplace.Total(list) < inplace.Total(inplace.Beyond(all, size, 0)) {
		why = append(why, "part of it lies where the flash will write")
	}
	if len(why) == 0 && inplace.Total(list) < size {
		why = append(why, "it has holes")
	}
	return list, strings.Join(why, ", and ")
}

// partition is the kernel name and the type of the file system that holds the file; note says why it is of no use.
func (f File) partition() (name, fstype, note string) {
	fsys, _, err := target.Place(f.Site, f.Files, f.Name)
	if err != nil {
		return "", "", err.Error()
	}
	disk, err := blockdev.DiskOf(f.Site, fsys.Device)
	if err != nil {
		return "", "", err.Error()
	}
	if disk != f.Disk.Name {
		return "", "", "it lies on another disk, " + disk
	}
	return fsys.Device, fsys.Type, ""
}

// Room bounds how many of the free bytes of the file system lie beyond the written area: at least and at most so many.
func (f File) Room(free int64) (least, most int64) {
	partition, fstype, note := f.partition()
	if note != "" || !blockdev.Mappable(fstype) || free < 0 {
		return 0, 0
	}
	start, err := blockdev.Start(f.Site, partition)
	if err != nil {
		return 0, 0
	}
	size, err := blockdev.Size(f.Site, partition)
	if err != nil {
		return 0, 0
	}
	low := min(max(0, f.Written-start), size)
	return max(0, free-low), min(free, size-low)
}

// Look says where the file lies.
func (f File) Look(size int64) *schema.Placement {
	list, note := f.InPlace(size)
	in := inplace.Total(list)
	return &schema.Placement{Written: f.Written, InPlace: in, Held: size - in, Note: note}
}

// Movable says whether the file system can be asked for another place at all: it tells where files lie.
func (f File) Movable() bool {
	partition, fstype, note := f.partition()
	if note != "" {
		return false
	}
	// The partition itself tells; a file that is not there yet has no extents.
	_, err := blockdev.Start(f.Site, partition)
	return err == nil && blockdev.Mappable(fstype)
}

// worth is how much memory is worth a copy of a file, in bytes.
const worth = 256 << 10

// Settled compares where the file lies now with what was recorded after a move, nil for none. When nothing is to be gained
// by another move, it returns the placement with the reason on record.
func (f File) Settled(size int64, record *schema.Placement) (now *schema.Placement, settled bool) {
	now = f.Look(size)
	if now.Held < worth {
		return now, true
	}
	if record == nil || record.Written != now.Written || now.Held > record.Held {
		return now, !f.Movable()
	}
	if now.Held == record.Held {
		now.Note = record.Note
	}
	return now, true
}
