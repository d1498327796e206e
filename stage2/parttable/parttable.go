// Package parttable reads the partition table of a disk or a disk image: MBR with logical partitions, and GPT.
//
// It only reads, and trusts nothing it reads: chains that loop, partitions that overlap and numbers that overflow are
// errors that name the partition. Formats: UEFI specification 2.10 chapter 5, and for logical partitions what the
// kernel does (block/partitions/msdos.c).
package parttable

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Kinds of partition tables.
const (
	MBR = "mbr"
	GPT = "gpt"
)

// ErrNoTable is wrapped by the error for a disk whose first sector is no partition table at all.
var ErrNoTable = errors.New("no partition table")

// Table is a partition table. Offsets and sizes are in bytes.
type Table struct {
	Kind string
	// ID is the MBR's disk signature (8 hex digits) or the GPT's disk GUID, in lower case as udev and lsblk have it.
	ID string
	// SectorSize is the unit of the table: 512 for an MBR, 512 or 4096 for a GPT.
	SectorSize int64
	// Partitions are in the order of their numbers.
	Partitions []Partition
	// End is the first byte after the last partition, or after the backup header of a GPT: no smaller disk will do.
	End int64
	// FromBackup says that the GPT at the disk's start is damaged and the one at its end was read.
	FromBackup bool
}

// Partition is one partition; Number is the one Linux gives it.
type Partition struct {
	Number int
	// Type is two hex digits (MBR) or a GUID (GPT), in lower case.
	Type string
	// ID is the partition's own GUID, GPT only, in lower case.
	ID string
	// Name is the partition's name, GPT only.
	Name        string
	Start, Size int64
	// Bootable is MBR's active flag, or GPT's attribute "legacy BIOS bootable".
	Bootable bool
	// Extended is the MBR partition that holds the logical ones, and no file system.
	Extended bool
}

// End is the first byte after the partition.
func (p Partition) End() int64 { return p.Start + p.Size }

// Fits says whether all of the table lies within size bytes. An image that does not is truncated.
func (t *Table) Fits(size int64) error {
	for _, p := range t.Partitions {
		if p.End() > size {
			return fmt.Errorf("partition %d ends at byte %d, beyond the end at %d", p.Number, p.End(), size)
		}
	}
	if t.End > size {
		return fmt.Errorf("partition table needs %d bytes, there are %d", t.End, size)
	}
	return nil
}

const bootSector = 512

// Read reads the partition table of a disk of size bytes. A table that reaches beyond size is no error here, see
// [Table.Fits]. The error wraps ErrNoTable if there is none; anything else is damage or an error of r.
func Read(r io.ReaderAt, size int64) (*Table, error) {
	if size < bootSector {
		return nil, fmt.Errorf("%w: %d bytes, want at least %d", ErrNoTable, size, bootSector)
	}
	sector, err := readAt(r, 0, bootSector)
	if err != nil {
		return nil, fmt.Errorf("partition table: %w", err)
	}
	if sector[510] != 0x55 || sector[511] != 0xaa {
		return nil, fmt.Errorf("%w: bytes 510 and 511 are %x, want 55aa%s", ErrNoTable, sector[510:], looksLike(sector))
	}
	entries := mbrEntries(sector)
	if err := checkEntries(sector, entries); err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.kind == typeProtective {
			return readGPT(r, size)
		}
	}
	return readMBR(r, size, sector)
}

// checkEntries refuses sectors that only share the signature with an MBR: boot sectors of file systems, whose code
// lies where the entries would be. Like the kernel it goes by the status bytes.
func checkEntries(sector []byte, entries []mbrEntry) error {
	empty := true
	for i, e := range entries {
		if e.status != 0 && e.status != statusActive {
			if fs := superfloppy(sector); fs != "" {
				return superfloppyError(fs)
			}
			return fmt.Errorf("%w: entry %d has status %#02x, want 0 or 0x80", ErrNoTable, i+1, e.status)
		}
		empty = empty && !e.used()
	}
	if fs := superfloppy(sector); empty && fs != "" {
		return superfloppyError(fs)
	}
	return nil
}

func superfloppyError(fs string) error {
	return fmt.Errorf("%w: the disk begins with a %s file system, want a disk image with partitions", ErrNoTable, fs)
}

// superfloppy names the file system whose boot sector this is.
func superfloppy(sector []byte) string {
	if sector[0] != 0xeb && sector[0] != 0xe9 {
		return ""
	}
	for _, s := range []struct {
		at   int
		text string
		name string
	}{
		{3, "NTFS    ", "NTFS"}, {3, "EXFAT   ", "exFAT"},
		{54, "FAT12   ", "FAT12"}, {54, "FAT16   ", "FAT16"}, {54, "FAT     ", "FAT"}, {82, "FAT32   ", "FAT32"},
	} {
		if bytes.HasPrefix(sector[s.at:], []byte(s.text)) {
			return s.name
		}
	}
	return ""
}

// looksLike hints at what a user may have mistaken for a disk image.
func looksLike(sector []byte) string {
	for _, s := range []struct{ magic, name string }{
		{"\x1f\x8b", "a gzip file"}, {"PK\x03\x04", "a zip file"}, {"\xfd7zXZ\x00", "an xz file"},
		{"\x28\xb5\x2f\xfd", "a zstd file"}, {"BZh", "a bzip2 file"}, {"QFI\xfb", "a qcow2 image"},
		{"hsqs", "a squashfs file system"}, {"<", "a text such as HTML"}, {"{", "JSON"},
	} {
		if bytes.HasPrefix(sector, []byte(s.magic)) {
			return "; it begins like " + s.name
		}
	}
	return fmt.Sprintf("; it begins with %x", sector[:8])
}

// checkOverlap refuses partitions that share bytes. An extended partition and its logical ones are told apart
// elsewhere.
func checkOverlap(parts []Partition) error {
	sorted := slices.Clone(parts)
	slices.SortFunc(sorted, func(a, b Partition) int { return cmp.Compare(a.Start, b.Start) })
	for i := 1; i < len(sorted); i++ {
		if a, b := sorted[i-1], sorted[i]; b.Start < a.End() {
			return fmt.Errorf("partition %d (bytes %d to %d) overlaps partition %d (from %d)", a.Number, a.Start, a.End(), b.Number, b.Start)
		}
	}
	return nil
}

func readAt(r io.ReaderAt, off int64, n int) ([]byte, error) {
	buf := make([]byte, n)
	if got, err := r.ReadAt(buf, off); got < n {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("%d bytes at offset %d: %w", n, off, err)
	}
	return buf, nil
}
