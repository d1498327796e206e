// Package bootcode is what a BIOS starts of GRUB 2 on a disk with an MBR: boot.img, of which 440 bytes lie in the first
// sector beside the disk signature and the partition table, and core.img in the gap between there and the first partition
// (F14, E28). It knows both as grub-mkimage makes them for i386-pc, which is also what flasher images carry (E27).
//
// Offsets are those of GRUB's include/grub/i386/pc/boot.h.
package bootcode

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/balena-community/balena-migrate/stage2/parttable"
)

const (
	// Size is how much of the first sector is boot code, in bytes: the disk signature follows (S135).
	Size = 440
	// CoreOffset is where core.img lies on the disk, in bytes.
	CoreOffset = sector

	sector = 512
	// kernelSector is where boot.img has the sector of core.img, 8 bytes.
	kernelSector = 0x5c
	// blockList is where the first sector of core.img says where the others are: start (8 bytes), count (2), segment (2).
	// Further entries would lie before it, and one with a count of 0 ends the list.
	blockList = sector - 12
	// maxCore bounds core.img, in bytes. What it is unpacked to has to fit below 640 KiB.
	maxCore = 512 << 10
)

// Code is a pair that belongs together.
type Code struct {
	boot [Size]byte
	core []byte
}

// Parse reads boot.img and core.img, and refuses what would not start: nobody sees what a BIOS says about it.
func Parse(boot, core []byte) (*Code, error) {
	if err := errors.Join(checkBoot(boot), checkCore(core)); err != nil {
		return nil, err
	}
	c := &Code{core: make([]byte, (len(core)+sector-1)/sector*sector)}
	copy(c.boot[:], boot)
	copy(c.core, core)
	return c, nil
}

func checkBoot(boot []byte) error {
	if len(boot) < Size || len(boot) > sector {
		return fmt.Errorf("boot.img: %d bytes, expected %d to %d", len(boot), Size, sector)
	}
	if !isGRUB(boot) {
		return errors.New("boot.img: found other boot code, expected GRUB's for i386-pc")
	}
	if at := binary.LittleEndian.Uint64(boot[kernelSector:]); at != CoreOffset/sector {
		return fmt.Errorf("boot.img: looks for core.img in sector %d, expected %d, as grub-mkimage's does", at, CoreOffset/sector)
	}
	return nil
}

// isGRUB looks at the jump over the parameters and at the word with which its messages begin.
func isGRUB(boot []byte) bool { return boot[0] == 0xeb && bytes.Contains(boot[:Size], []byte("GRUB ")) }

func checkCore(core []byte) error {
	if len(core) <= sector || len(core) > maxCore {
		return fmt.Errorf("core.img: %d bytes, expected more than %d and at most %d", len(core), sector, maxCore)
	}
	if !bytes.Contains(core[:blockList], []byte("loading")) {
		return errors.New("core.img: found something else, expected what grub-mkimage --format=i386-pc makes, beginning with GRUB's diskboot.img")
	}
	start, count := binary.LittleEndian.Uint64(core[blockList:]), int(binary.LittleEndian.Uint16(core[blockList+8:]))
	more := binary.LittleEndian.Uint16(core[blockList-12+8:])
	if want := (len(core) - 1) / sector; start != CoreOffset/sector+1 || count != want || more != 0 {
		return fmt.Errorf("core.img: goes on with %d sectors at sector %d, expected %d at %d and no more: it is cut off, or was taken from a disk",
			count, start, want, CoreOffset/sector+1)
	}
	return nil
}

// Core is core.img in whole sectors.
func (c *Code) Core() []byte { return c.core }

// Into puts the boot code into a first sector, and leaves the disk signature and the partition table in it alone.
func (c *Code) Into(first []byte) { copy(first[:Size], c.boot[:]) }

// Fits says whether there is room for core.img on a disk with such a table.
func (c *Code) Fits(t *parttable.Table) error {
	gap, err := Gap(t)
	if err == nil && int64(len(c.core)) > gap {
		err = fmt.Errorf("core.img: %d bytes, expected at most the %d before the first partition", len(c.core), gap)
	}
	return err
}

// Gap is the room for core.img, in bytes. A GPT has its own table there.
func Gap(t *parttable.Table) (int64, error) {
	if t.Kind != parttable.MBR {
		return 0, fmt.Errorf("a partition table of kind %s: expected an MBR, only there is a gap for core.img", t.Kind)
	}
	first := int64(-1)
	for _, p := range t.Partitions {
		if first < 0 || p.Start < first {
			first = p.Start
		}
	}
	if first < 0 {
		return 0, errors.New("a partition table without partitions: expected one")
	}
	return max(first-CoreOffset, 0), nil
}

// Present says whether a first sector has boot code at all, whosever it is.
func Present(first []byte) bool {
	return len(first) >= Size && !bytes.Equal(first[:Size], make([]byte, Size))
}
