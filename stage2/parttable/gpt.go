package parttable

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"unicode/utf16"
)

const (
	gptHeaderMin = 92
	// maxGPTEntries bounds the memory for the entries, in bytes; 128 entries of 128 bytes are usual.
	maxGPTEntries = 1 << 20
	// attrLegacyBoot is attribute bit 2, "legacy BIOS bootable".
	attrLegacyBoot = 1 << 2
	// maxLBA keeps offsets in bytes within an int64.
	maxLBA = math.MaxInt64/4096 - 1
)

// gptHeader is what is needed of a header; LBAs are in sectors.
type gptHeader struct {
	sector             int64
	self, other        uint64
	firstLBA, lastLBA  uint64
	id                 string
	entriesLBA         uint64
	entries, entrySize uint32
	entriesCRC         uint32
}

// readGPT reads the table at the disk's start, or the one at its end if that is damaged. The sector size is the one
// at which a header is found.
func readGPT(r io.ReaderAt, size int64) (*Table, error) {
	var causes []error
	for _, sector := range []int64{512, 4096} {
		t, err := gptAt(r, size, sector, 1)
		if err == nil {
			return t, nil
		}
		causes = append(causes, fmt.Errorf("with sectors of %d bytes: %w", sector, err))
	}
	for _, sector := range []int64{512, 4096} {
		if size < 3*sector || size%sector != 0 {
			continue
		}
		t, err := gptAt(r, size, sector, uint64(size/sector-1))
		if err == nil {
			t.FromBackup = true
			return t, nil
		}
		causes = append(causes, fmt.Errorf("backup with sectors of %d bytes: %w", sector, err))
	}
	return nil, fmt.Errorf("gpt: %w", errors.Join(causes...))
}

// gptAt reads the table whose header is in sector lba.
func gptAt(r io.ReaderAt, size, sector int64, lba uint64) (*Table, error) {
	if int64(lba) > size/sector-1 {
		return nil, fmt.Errorf("header at offset %d, beyond the end at %d", int64(lba)*sector, size)
	}
	buf, err := readAt(r, int64(lba)*sector, int(sector))
	if err != nil {
		return nil, err
	}
	h, err := parseGPTHeader(buf, lba)
	if err != nil {
		return nil, fmt.Errorf("header at offset %d: %w", int64(lba)*sector, err)
	}
	parts, err := h.readEntries(r, size)
	if err != nil {
		return nil, err
	}
	end := int64(max(h.self, h.other, h.lastLBA)+1) * sector
	return &Table{Kind: GPT, ID: h.id, SectorSize: sector, Partitions: parts, End: end}, nil
}

func parseGPTHeader(b []byte, lba uint64) (*gptHeader, error) {
	if string(b[:8]) != "EFI PART" {
		return nil, fmt.Errorf("begins with %q, want %q", b[:8], "EFI PART")
	}
	n := binary.LittleEndian.Uint32(b[12:])
	if n < gptHeaderMin || int64(n) > int64(len(b)) {
		return nil, fmt.Errorf("header size %d, want %d to %d", n, gptHeaderMin, len(b))
	}
	covered := bytes.Clone(b[:n])
	clear(covered[16:20])
	if got, want := crc32.ChecksumIEEE(covered), binary.LittleEndian.Uint32(b[16:]); got != want {
		return nil, fmt.Errorf("checksum is %08x, want %08x", got, want)
	}
	h := &gptHeader{
		sector: int64(len(b)),
		self:   binary.LittleEndian.Uint64(b[24:]), other: binary.LittleEndian.Uint64(b[32:]),
		firstLBA: binary.LittleEndian.Uint64(b[40:]), lastLBA: binary.LittleEndian.Uint64(b[48:]),
		id:         guid(b[56:72]),
		entriesLBA: binary.LittleEndian.Uint64(b[72:]),
		entries:    binary.LittleEndian.Uint32(b[80:]), entrySize: binary.LittleEndian.Uint32(b[84:]), entriesCRC: binary.LittleEndian.Uint32(b[88:]),
	}
	if h.self != lba {
		return nil, fmt.Errorf("header is of sector %d, want %d", h.self, lba)
	}
	return h, h.check()
}

func (h *gptHeader) check() error {
	if h.other > maxLBA || h.lastLBA > maxLBA || h.entriesLBA > maxLBA || h.firstLBA > h.lastLBA {
		return fmt.Errorf("sector numbers out of range: usable %d to %d, entries %d, other header %d",
			h.firstLBA, h.lastLBA, h.entriesLBA, h.other)
	}
	if h.entrySize < 128 || h.entrySize%128 != 0 {
		return fmt.Errorf("entry size %d, want a multiple of 128", h.entrySize)
	}
	if total := uint64(h.entries) * uint64(h.entrySize); total > maxGPTEntries {
		return fmt.Errorf("%d entries of %d bytes, want at most %d bytes", h.entries, h.entrySize, maxGPTEntries)
	}
	return nil
}

func (h *gptHeader) readEntries(r io.ReaderAt, size int64) ([]Partition, error) {
	n := int(h.entries * h.entrySize)
	off := int64(h.entriesLBA) * h.sector
	if off > size-int64(n) {
		return nil, fmt.Errorf("entries at offset %d, beyond the end at %d", off, size)
	}
	b, err := readAt(r, off, n)
	if err != nil {
		return nil, err
	}
	if got := crc32.ChecksumIEEE(b); got != h.entriesCRC {
		return nil, fmt.Errorf("checksum of the entries is %08x, want %08x", got, h.entriesCRC)
	}
	var parts []Partition
	for i := range int(h.entries) {
		e := b[i*int(h.entrySize):][:h.entrySize]
		if isUnused(e[:16]) {
			continue
		}
		p, err := h.partition(i+1, e)
		if err != nil {
			return nil, err
		}
		parts = append(parts, p)
	}
	return parts, checkOverlap(parts)
}

func (h *gptHeader) partition(number int, e []byte) (Partition, error) {
	first, last := binary.LittleEndian.Uint64(e[32:]), binary.LittleEndian.Uint64(e[40:])
	if first > last || first < h.firstLBA || last > h.lastLBA {
		return Partition{}, fmt.Errorf("partition %d has sectors %d to %d, want them within %d to %d", number, first, last, h.firstLBA, h.lastLBA)
	}
	return Partition{
		Number:   number,
		Type:     guid(e[:16]),
		ID:       guid(e[16:32]),
		Name:     utf16Name(e[56:128]),
		Start:    int64(first) * h.sector,
		Size:     int64(last-first+1) * h.sector,
		Bootable: binary.LittleEndian.Uint64(e[48:])&attrLegacyBoot != 0,
	}, nil
}

func isUnused(typeGUID []byte) bool {
	return bytes.Equal(typeGUID, make([]byte, 16))
}

// guid is the mixed-endian text form: the first three groups are little-endian.
func guid(b []byte) string {
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint16(b[4:]), binary.LittleEndian.Uint16(b[6:]), b[8:10], b[10:16])
}

// utf16Name decodes a name that ends at the first NUL.
func utf16Name(b []byte) string {
	units := make([]uint16, 0, len(b)/2)
	for ; len(b) >= 2 && binary.LittleEndian.Uint16(b) != 0; b = b[2:] {
		units = append(units, binary.LittleEndian.Uint16(b))
	}
	return string(utf16.Decode(units))
}
