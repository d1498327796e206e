// Package fsprobe says what file system lies on a partition or in an image, by its superblock: type, UUID and label,
// in the words of blkid, lsblk and /dev/disk/by-uuid.
//
// It needs no block device and no program of the host, so stage 1, stage 2 and a workstation get the same answer.
package fsprobe

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/balena-community/balena-migrate/stage2/fat"
)

// Types that Probe knows, named as blkid names them.
const (
	Ext2     = "ext2"
	Ext3     = "ext3"
	Ext4     = "ext4"
	VFAT     = "vfat"
	XFS      = "xfs"
	Btrfs    = "btrfs"
	Squashfs = "squashfs"
	Swap     = "swap"
	LVM      = "LVM2_member"
	LUKS     = "crypto_LUKS"
	RAID     = "linux_raid_member"
	// Journal is an external journal of an ext4.
	Journal = "jbd"
)

// Info is what Probe found. Type is "" for a partition that is empty or unknown. UUID and Label are filled for ext2,
// ext3, ext4, xfs, btrfs, vfat and swap only: UUID in lower case, except vfat's, which is like "1234-ABCD".
type Info struct {
	Type, UUID, Label string
}

// prober looks for one kind of content; it returns a zero Info if there is none.
type prober func(disk) (Info, error)

// Probe reads the superblocks in r. If r also has a method Size() int64, as [io.SectionReader] has, RAID members with
// their superblock at the end are recognised as well; without, they look like the file system inside.
func Probe(r io.ReaderAt) (Info, error) {
	d := disk{r: r, size: math.MaxInt64}
	if s, ok := r.(interface{ Size() int64 }); ok {
		d.size = s.Size()
	}
	// Containers first: what they hold may be visible behind their own superblock.
	for _, probe := range []prober{probeRAID, probeLUKS, probeLVM, probeXFS, probeBtrfs, probeMagic, probeExt, probeSwap, probeFAT} {
		info, err := probe(d)
		if err != nil {
			return Info{}, fmt.Errorf("file system probe: %w", err)
		}
		if info.Type != "" {
			return info, nil
		}
	}
	return Info{}, nil
}

// disk reads little pieces; what lies beyond the end is not there rather than an error.
type disk struct {
	r    io.ReaderAt
	size int64
}

// at returns n bytes, or none where the disk ends before.
func (d disk) at(off int64, n int) ([]byte, error) {
	if off < 0 || off > d.size-int64(n) {
		return nil, nil
	}
	b := make([]byte, n)
	m, err := d.r.ReadAt(b, off)
	if m == n {
		return b, nil
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, nil
	}
	return nil, fmt.Errorf("offset %d: %w", off, err)
}

// has says whether magic is at off.
func (d disk) has(off int64, magic string) (bool, error) {
	b, err := d.at(off, len(magic))
	return string(b) == magic && b != nil, err
}

// probeRAID looks where md puts its superblock (linux/raid/md_p.h): versions 1.1 and 1.2 at the start, 0.90 and 1.0
// at the end.
func probeRAID(d disk) (Info, error) {
	const magic = "\xfc\x4e\x2b\xa9"
	places := []int64{0, 4096}
	if d.size < math.MaxInt64 {
		const reserved = 64 << 10
		places = append(places, d.size&^(reserved-1)-reserved, (d.size/512-16)&^7*512)
	}
	for _, off := range places {
		if found, err := d.has(off, magic); found || err != nil {
			return Info{Type: RAID}, err
		}
	}
	return Info{}, nil
}

func probeLUKS(d disk) (Info, error) {
	found, err := d.has(0, "LUKS\xba\xbe")
	return named(LUKS, found), err
}

// probeLVM looks for the label in one of the first four sectors.
func probeLVM(d disk) (Info, error) {
	for sector := range int64(4) {
		b, err := d.at(sector*512, 32)
		if err != nil {
			return Info{}, err
		}
		if bytes.HasPrefix(b, []byte("LABELONE")) && string(b[24:]) == "LVM2 001" {
			return Info{Type: LVM}, nil
		}
	}
	return Info{}, nil
}

// probeMagic knows file systems that are only named.
func probeMagic(d disk) (Info, error) {
	for _, m := range []struct {
		off         int64
		magic, name string
	}{
		{0, "hsqs", Squashfs},
	} {
		if found, err := d.has(m.off, m.magic); found || err != nil {
			return Info{Type: m.name}, err
		}
	}
	return Info{}, nil
}

func named(name string, found bool) Info {
	if found {
		return Info{Type: name}
	}
	return Info{}
}

// probeSwap looks at the end of the first page, whatever the machine's page size was.
func probeSwap(d disk) (Info, error) {
	for _, page := range []int64{4096, 8192, 16384, 65536} {
		found, err := d.has(page-10, "SWAPSPACE2")
		if err != nil {
			return Info{}, err
		}
		if !found {
			continue
		}
		// Version 1 keeps UUID and label behind 1024 bytes of boot sector and 12 of counts.
		b, err := d.at(1024, 12+16+16)
		if err != nil || b == nil {
			return Info{Type: Swap}, err
		}
		return Info{Type: Swap, UUID: uuid(b[12:28]), Label: text(b[28:44])}, nil
	}
	return Info{}, nil
}

func probeFAT(d disk) (Info, error) {
	boot, err := d.at(0, 512)
	if err != nil || boot == nil || boot[0] != 0xeb && boot[0] != 0xe9 {
		return Info{}, err
	}
	f, err := fat.Open(d.r, math.MaxInt64)
	if errors.Is(err, fat.ErrFormat) {
		return Info{}, nil
	}
	if err != nil {
		return Info{}, err
	}
	info := Info{Type: VFAT}
	if id, ok := f.ID(); ok {
		info.UUID = fmt.Sprintf("%04X-%04X", id>>16, id&0xffff)
	}
	// A damaged root directory doesn't make it another file system; the label is then the boot sector's.
	info.Label, err = f.Label()
	if errors.Is(err, fat.ErrDamaged) {
		err = nil
	}
	return info, err
}

// uuid is the text form of a UUID; none is "".
func uuid(b []byte) string {
	if bytes.Equal(b, make([]byte, 16)) {
		return ""
	}
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// text ends at the first NUL. What is not UTF-8 is replaced: labels end up in JSON.
func text(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return strings.TrimRight(strings.ToValidUTF8(string(b), "\ufffd"), " ")
}
