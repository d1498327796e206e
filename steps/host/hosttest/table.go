package hosttest

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
	"testing"
)

// tableEntry is a partition, in bytes.
type tableEntry struct {
	number      int
	start, size int64
	fat         bool
}

func atoi(t testing.TB, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// partitionTable is what lies in a disk's first sectors, by offset.
func partitionTable(t testing.TB, kind, id string, size int64, entries []tableEntry) map[int64][]byte {
	t.Helper()
	if kind == "GPT" {
		return gptTable(t, id, size, entries)
	}
	b := bootRecord()
	binary.LittleEndian.PutUint32(b[440:], uint32(hexNumber(t, id)))
	out := map[int64][]byte{0: b}
	var logical []tableEntry
	for _, e := range entries {
		if e.number > 4 {
			logical = append(logical, e)
			continue
		}
		e.put(b[446+16*(e.number-1):], 0)
	}
	if len(logical) > 0 {
		extended(b, out, logical, size)
	}
	return out
}

func bootRecord() []byte {
	b := make([]byte, 512)
	b[510], b[511] = 0x55, 0xaa
	return b
}

// put writes an entry of a boot record whose sectors count from an offset.
func (e tableEntry) put(p []byte, from int64) {
	if p[4] = 0x83; e.fat {
		p[4] = 0x0c
	}
	binary.LittleEndian.PutUint32(p[8:], uint32((e.start-from)/512))
	binary.LittleEndian.PutUint32(p[12:], uint32(e.size/512))
}

// extended puts logical partitions behind an extended one, number 2. Each has a boot record of its own in the MiB before it,
// which also leads to the next one.
func extended(mbr []byte, disk map[int64][]byte, logical []tableEntry, size int64) {
	const ahead = 1 << 20
	first := logical[0].start - ahead
	p := mbr[446+16:]
	p[4] = 0x0f
	binary.LittleEndian.PutUint32(p[8:], uint32(first/512))
	binary.LittleEndian.PutUint32(p[12:], uint32((size-first)/512))
	for i, e := range logical {
		b := bootRecord()
		e.put(b[446:], e.start-ahead)
		if i+1 < len(logical) {
			p := b[446+16:]
			p[4] = 0x05
			binary.LittleEndian.PutUint32(p[8:], uint32((logical[i+1].start-ahead-first)/512))
			binary.LittleEndian.PutUint32(p[12:], uint32((logical[i+1].size+ahead)/512))
		}
		disk[e.start-ahead] = b
	}
}

func hexNumber(t testing.TB, s string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(s, 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// gptTable is a protective MBR, a header and its entries (UEFI 2.10, 5.3). The partitions' GUIDs are the disk's, with
// their number at the end.
func gptTable(t testing.TB, id string, size int64, entries []tableEntry) map[int64][]byte {
	t.Helper()
	const (
		entrySize, count = 128, 128
		efiSystem        = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
		linux            = "0fc63daf-8483-4772-8e79-3d69d8477de4"
	)
	list := make([]byte, entrySize*count)
	for _, e := range entries {
		b := list[entrySize*(e.number-1):]
		kind := linux
		if e.fat {
			kind = efiSystem
		}
		copy(b, guid(t, kind))
		copy(b[16:], guid(t, id))
		b[31] = byte(e.number)
		binary.LittleEndian.PutUint64(b[32:], uint64(e.start/512))
		binary.LittleEndian.PutUint64(b[40:], uint64((e.start+e.size)/512-1))
	}
	last := uint64(size/512 - 1)
	h := make([]byte, 512)
	copy(h, "EFI PART\x00\x00\x01\x00\x5c\x00\x00\x00")
	for at, n := range map[int]uint64{24: 1, 32: last, 40: 34, 48: last - 33, 72: 2} {
		binary.LittleEndian.PutUint64(h[at:], n)
	}
	copy(h[56:], guid(t, id))
	binary.LittleEndian.PutUint32(h[80:], count)
	binary.LittleEndian.PutUint32(h[84:], entrySize)
	binary.LittleEndian.PutUint32(h[88:], crc32.ChecksumIEEE(list))
	binary.LittleEndian.PutUint32(h[16:], crc32.ChecksumIEEE(h[:92]))
	protective := make([]byte, 512)
	protective[446+4] = 0xee
	binary.LittleEndian.PutUint32(protective[446+8:], 1)
	binary.LittleEndian.PutUint32(protective[446+12:], uint32(last))
	protective[510], protective[511] = 0x55, 0xaa
	return map[int64][]byte{0: protective, 512: h, 1024: list}
}

// guid is a GUID as it lies on a disk.
func guid(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(text, "-", ""))
	if err != nil || len(b) != 16 {
		t.Fatalf("GUID %q: %v", text, err)
	}
	b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7] = b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6]
	return b
}

// fatSector is the first sector of a FAT32 file system with a volume id such as "50C8-AEAE".
func fatSector(id, label string) []byte {
	b := make([]byte, 512)
	copy(b, "\xeb\x58\x90mkfs.fat")
	binary.LittleEndian.PutUint16(b[11:], 512)
	b[13], b[14], b[16] = 1, 32, 2
	b[21] = 0xf8
	binary.LittleEndian.PutUint32(b[32:], 63<<11)
	binary.LittleEndian.PutUint32(b[36:], 1008)
	b[66] = 0x29
	n, _ := strconv.ParseUint(strings.ReplaceAll(id, "-", ""), 16, 32)
	binary.LittleEndian.PutUint32(b[67:], uint32(n))
	copy(b[71:], "NO NAME    FAT32   ")
	if label != "" {
		copy(b[71:], fmt.Sprintf("%-11s", label))
	}
	b[510], b[511] = 0x55, 0xaa
	return b
}

// elfHeader is the beginning of a program for an architecture, as Debian names it.
func elfHeader(t testing.TB, arch string) string {
	t.Helper()
	kinds := map[string]struct {
		class   byte
		machine uint16
		flags   uint32
	}{
		"amd64": {2, 62, 0}, "i386": {1, 3, 0}, "arm64": {2, 183, 0}, "armhf": {1, 40, 0x5000400}, "armel": {1, 40, 0x5000200},
	}
	k, ok := kinds[arch]
	if !ok {
		t.Fatalf("userland %q is unknown", arch)
	}
	b := make([]byte, 64)
	copy(b, "\x7fELF")
	b[4], b[5], b[6] = k.class, 1, 1
	binary.LittleEndian.PutUint16(b[16:], 2)
	binary.LittleEndian.PutUint16(b[18:], k.machine)
	binary.LittleEndian.PutUint32(b[36:], k.flags)
	return string(b)
}
