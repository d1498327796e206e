// Package inplace reads a file of the old system from where it lies on the disk, while another part of that disk is being
// written: what lies beyond the written area stays there, and only the rest has to be held in memory.
//
// Nothing of it trusts a file system: extents are offsets on the whole disk, read past the page cache, and what is read
// is worth what its digest says. Nobody may write to the file system any more when that digest is taken, and the disk
// beyond the written area stays as it is from then on: the image holds every partition of the new system.
package inplace

import (
	"fmt"

	"github.com/balena-community/balena-migrate/schema"
)

// margin is what the written area is rounded up to, in bytes: above any sector, erase block or stripe worth a thought.
const margin = 1 << 20

// Written is how much of the disk a flash writes, from its beginning: raw bytes of image, and their last sector. A
// GPT's backup header lies at the end of the image and is written there, not moved to the end of the disk.
func Written(raw int64) int64 { return (raw + margin - 1) / margin * margin }

// Beyond keeps what lies beyond the written area of the extents of a file of size bytes, and cuts those that begin in it.
func Beyond(all []schema.Extent, size, written int64) []schema.Extent {
	var out []schema.Extent
	for _, e := range all {
		e.Length = min(e.Length, size-e.Logical) // the last block of a file is longer than what is in it
		if cut := written - e.DiskOffset; cut > 0 {
			e = schema.Extent{Logical: e.Logical + cut, DiskOffset: e.DiskOffset + cut, Length: e.Length - cut}
		}
		if e.Length > 0 {
			out = append(out, e)
		}
	}
	return out
}

// Total is the length of all extents together.
func Total(all []schema.Extent) int64 {
	var n int64
	for _, e := range all {
		n += e.Length
	}
	return n
}

// Check proves that the extents can be read whatever is written before the offset written: they are in the file's order,
// inside the file, beyond the written area and on the disk.
func Check(all []schema.Extent, size, written, disk int64) error {
	at := int64(0)
	for i, e := range all {
		switch {
		case e.Logical < at || e.Length < 1 || e.Length > size-e.Logical:
			return fmt.Errorf("extent %d: bytes %d to %d of the file: expected them behind %d and before its end at %d",
				i, e.Logical, e.Logical+e.Length, at, size)
		case e.DiskOffset < written:
			return fmt.Errorf("extent %d: at %d on the disk: overlaps the %d bytes that will be written", i, e.DiskOffset, written)
		case e.DiskOffset > disk || e.Length > disk-e.DiskOffset:
			return fmt.Errorf("extent %d: %d bytes at %d: the disk ends at %d", i, e.Length, e.DiskOffset, disk)
		}
		at = e.Logical + e.Length
	}
	return nil
}

// Contains says whether every byte of the wanted extents lies where the other list has it too. Both are in order.
func Contains(all, wanted []schema.Extent) bool {
	i := 0
	for _, w := range wanted {
		for w.Length > 0 {
			for i < len(all) && all[i].Logical+all[i].Length <= w.Logical {
				i++
			}
			if i == len(all) || all[i].Logical > w.Logical || all[i].DiskOffset-all[i].Logical != w.DiskOffset-w.Logical {
				return false
			}
			n := min(w.Length, all[i].Logical+all[i].Length-w.Logical)
			w.Logical, w.DiskOffset, w.Length = w.Logical+n, w.DiskOffset+n, w.Length-n
		}
	}
	return true
}

// Gap is a run of a file's bytes that no extent has.
type Gap struct{ Off, Length int64 }

// Gaps lists what has to be held in memory, in the file's order.
func Gaps(all []schema.Extent, size int64) []Gap {
	var out []Gap
	at := int64(0)
	for _, e := range append(append([]schema.Extent{}, all...), schema.Extent{Logical: size}) {
		if e.Logical > at {
			out = append(out, Gap{Off: at, Length: e.Logical - at})
		}
		at = e.Logical + e.Length
	}
	return out
}
