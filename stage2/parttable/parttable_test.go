package parttable

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"
)

const mib = 1 << 20

// balenaMBR is the layout of E20 in sectors; p4 is the extended partition.
const balenaMBR = `label: dos
label-id: 0x1234abcd
8192,16384,c,*
24576,8192,83
32768,8192,83
40960,57344,f
45056,8192,83
57344,32768,83
`

const balenaGPT = `label: gpt
label-id: 3B8F8425-20E0-4F3B-907F-1A25A76F98E8
first-lba: 34
name="resin-boot", start=8192, size=16384, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, attrs="LegacyBIOSBootable"
name="resin-rootA", start=24576, size=8192, type=L
name="resin-rootB", start=32768, size=8192, type=L
name="resin-state", start=40960, size=8192, type=L
name="resin-däta", start=49152, size=32768, type=L
`

// sfdisk makes an image of size bytes with the partition table of script.
func sfdisk(t testing.TB, script string, size int64) []byte {
	t.Helper()
	name := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(name, size); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", name)
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("sfdisk: %v\n%s", err, out)
	}
	disk, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return disk
}

func read(disk []byte) (*Table, error) { return Read(bytes.NewReader(disk), int64(len(disk))) }

func checkTable(t *testing.T, got *Table, want Table) {
	t.Helper()
	if got.Kind != want.Kind || got.ID != want.ID || got.SectorSize != want.SectorSize || got.End != want.End || got.FromBackup != want.FromBackup {
		t.Errorf("table %+v, want %+v", *got, want)
	}
	if !slices.Equal(got.Partitions, want.Partitions) {
		t.Errorf("partitions\n%+v, want\n%+v", got.Partitions, want.Partitions)
	}
}

func wantMBR() Table {
	return Table{Kind: MBR, ID: "1234abcd", SectorSize: 512, End: 48 * mib, Partitions: []Partition{
		{Number: 1, Type: "0c", Start: 4 * mib, Size: 8 * mib, Bootable: true},
		{Number: 2, Type: "83", Start: 12 * mib, Size: 4 * mib},
		{Number: 3, Type: "83", Start: 16 * mib, Size: 4 * mib},
		{Number: 4, Type: "0f", Start: 20 * mib, Size: 28 * mib, Extended: true},
		{Number: 5, Type: "83", Start: 22 * mib, Size: 4 * mib},
		{Number: 6, Type: "83", Start: 28 * mib, Size: 16 * mib},
	}}
}

func wantGPT(sector int64, size int64) Table {
	const linux = "0fc63daf-8483-4772-8e79-3d69d8477de4"
	return Table{Kind: GPT, ID: "3b8f8425-20e0-4f3b-907f-1a25a76f98e8", SectorSize: sector, End: size, Partitions: []Partition{
		{Number: 1, Type: "c12a7328-f81f-11d2-ba4b-00a0c93ec93b", Name: "resin-boot", Start: 8192 * sector, Size: 16384 * sector, Bootable: true},
		{Number: 2, Type: linux, Name: "resin-rootA", Start: 24576 * sector, Size: 8192 * sector},
		{Number: 3, Type: linux, Name: "resin-rootB", Start: 32768 * sector, Size: 8192 * sector},
		{Number: 4, Type: linux, Name: "resin-state", Start: 40960 * sector, Size: 8192 * sector},
		{Number: 5, Type: linux, Name: "resin-däta", Start: 49152 * sector, Size: 32768 * sector},
	}}
}

// E20, msdos: four primary ones of which the last is extended, two logical ones.
func TestMBR(t *testing.T) {
	got, err := read(sfdisk(t, balenaMBR, 64*mib))
	if err != nil {
		t.Fatal(err)
	}
	checkTable(t, got, wantMBR())
	if err := got.Fits(48 * mib); err != nil {
		t.Error(err)
	}
	for size, want := range map[int64]string{
		48*mib - 1: "partition 4 ends at byte 50331648, beyond the end at 50331647",
		20 * mib:   "partition 4 ends",
		5 * mib:    "partition 1 ends",
	} {
		if err := got.Fits(size); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("fits in %d: %v, want %q", size, err, want)
		}
	}
}

// E20, gpt; and the backup for every kind of damage at the disk's start.
func TestGPT(t *testing.T) {
	disk := sfdisk(t, balenaGPT, 64*mib)
	for _, tt := range []struct {
		name   string
		at     int
		backup bool
	}{
		{"good", -1, false},
		{"magic", 512, true},
		{"header", 512 + 40, true},
		{"header size", 512 + 13, true},
		{"header checksum", 512 + 16, true},
		{"entries", 1024 + 128 + 32, true},
		{"entry that is not used", 1024 + 127*128 + 5, true},
		{"backup header", 64*mib - 512, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bad := bytes.Clone(disk)
			if tt.at >= 0 {
				bad[tt.at] ^= 1
			}
			got, err := read(bad)
			if err != nil {
				t.Fatal(err)
			}
			want := wantGPT(512, 64*mib)
			want.FromBackup = tt.backup
			checkTable(t, got, want)
		})
	}
}

func TestGPTBothDamaged(t *testing.T) {
	disk := sfdisk(t, balenaGPT, 64*mib)
	disk[1024+32] ^= 1
	disk[64*mib-512+20] ^= 1
	_, err := read(disk)
	if err == nil || errors.Is(err, ErrNoTable) {
		t.Fatalf("error %v", err)
	}
	for _, want := range []string{"checksum of the entries", "header at offset 67108352: checksum is"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q in it", err, want)
		}
	}
}

// An image that was cut after its last partition still has its table, but doesn't fit.
func TestGPTTruncated(t *testing.T) {
	disk := sfdisk(t, balenaGPT, 64*mib)[:50*mib]
	got, err := read(disk)
	if err != nil {
		t.Fatal(err)
	}
	if err := got.Fits(50 * mib); err == nil || err.Error() != "partition table needs 67108864 bytes, there are 52428800" {
		t.Errorf("error %v", err)
	}
}

// 4Kn disks: sfdisk of Debian 12 makes no table for them in a file, so it is made here.
func TestGPT4096(t *testing.T) {
	const size = 400 * mib
	disk := gpt4096(size)
	for _, backup := range []bool{false, true} {
		want := wantGPT(4096, size)
		if want.FromBackup = backup; backup {
			disk.head[4096+24]++
		}
		got, err := Read(disk, size)
		if err != nil {
			t.Fatal(err)
		}
		checkTable(t, got, want)
	}
}

// sparseDisk has content only at its head and tail.
type sparseDisk struct {
	head, tail []byte
	size       int64
}

func (d *sparseDisk) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	if off < int64(len(d.head)) {
		copy(p, d.head[off:])
	}
	if at := off - (d.size - int64(len(d.tail))); at >= 0 {
		copy(p, d.tail[at:])
	}
	return len(p), nil
}

func gpt4096(size int64) *sparseDisk {
	d := &sparseDisk{head: make([]byte, 6*4096), tail: make([]byte, 5*4096), size: size}
	binary.LittleEndian.PutUint32(d.head[446+8:], 1)
	binary.LittleEndian.PutUint32(d.head[446+12:], 0xffffffff)
	d.head[446+4] = 0xee
	d.head[510], d.head[511] = 0x55, 0xaa

	entries := make([]byte, 128*128)
	for i, p := range wantGPT(4096, size).Partitions {
		e := entries[128*i:]
		copy(e, parseGUID(p.Type))
		e[16] = byte(i + 1)
		binary.LittleEndian.PutUint64(e[32:], uint64(p.Start/4096))
		binary.LittleEndian.PutUint64(e[40:], uint64(p.End()/4096-1))
		if p.Bootable {
			e[48] = 4
		}
		for j, u := range utf16.Encode([]rune(p.Name)) {
			binary.LittleEndian.PutUint16(e[56+2*j:], u)
		}
	}
	last := uint64(size/4096 - 1)
	copy(d.head[2*4096:], entries)
	copy(d.head[4096:], gptHeader4096(1, last, 2, entries))
	copy(d.tail, entries)
	copy(d.tail[4*4096:], gptHeader4096(last, 1, last-4, entries))
	return d
}

func gptHeader4096(self, other, entriesLBA uint64, entries []byte) []byte {
	h := make([]byte, 92)
	copy(h, "EFI PART\x00\x00\x01\x00")
	h[12] = 92
	last := max(self, other)
	for at, v := range map[int]uint64{24: self, 32: other, 40: 6, 48: last - 5, 72: entriesLBA} {
		binary.LittleEndian.PutUint64(h[at:], v)
	}
	copy(h[56:], parseGUID("3b8f8425-20e0-4f3b-907f-1a25a76f98e8"))
	binary.LittleEndian.PutUint32(h[80:], 128)
	binary.LittleEndian.PutUint32(h[84:], 128)
	binary.LittleEndian.PutUint32(h[88:], crc32.ChecksumIEEE(entries))
	binary.LittleEndian.PutUint32(h[16:], crc32.ChecksumIEEE(h))
	return h
}

func parseGUID(s string) []byte {
	var a uint32
	var b, c uint16
	var d []byte
	if _, err := fmt.Sscanf(strings.ReplaceAll(s, "-", " "), "%x %x %x", &a, &b, &c); err != nil {
		panic(err)
	}
	if _, err := fmt.Sscanf(s[19:23]+s[24:], "%x", &d); err != nil {
		panic(err)
	}
	g := binary.LittleEndian.AppendUint32(nil, a)
	g = binary.LittleEndian.AppendUint16(g, b)
	return append(binary.LittleEndian.AppendUint16(g, c), d...)
}

func TestMBRDamage(t *testing.T) {
	disk := sfdisk(t, balenaMBR, 64*mib)
	const ebr1 = 20 * mib // the boot record of p5, which links to that of p6
	ebr2 := ebr1 + 512*int(binary.LittleEndian.Uint32(disk[ebr1+462+8:]))
	put := binary.LittleEndian.PutUint32
	tests := []struct {
		name, want string
		edit       func([]byte)
	}{
		{"loop to itself", "linked twice", func(d []byte) { put(d[ebr1+462+8:], 0) }},
		{"loop to the first", "linked twice", func(d []byte) { copy(d[ebr2+462:], d[ebr1+462:ebr1+478]); put(d[ebr2+462+8:], 0) }},
		{"link beyond", "beyond the extended partition's end", func(d []byte) { put(d[ebr1+462+8:], 0xffffffff) }},
		{"no signature", "ends with 00aa, want 55aa", func(d []byte) { d[ebr2+510] = 0 }},
		{"logical too long", "partition 6 has bytes 29360128 to", func(d []byte) { put(d[ebr2+446+12:], 0xffffffff) }},
		{"logical at its record", "partition 6 has bytes", func(d []byte) { put(d[ebr2+446+8:], 0) }},
		{"logical overlap", "partition 5 (bytes 23068672 to 31457280) overlaps partition 6", func(d []byte) { put(d[ebr1+446+12:], 16384) }},
		{"primary overlap", "partition 1 (bytes 4194304 to 12583424) overlaps partition 2", func(d []byte) { put(d[446+12:], 16385) }},
		{"begins at sector 0", "partition 1 begins at the partition table", func(d []byte) { put(d[446+8:], 0) }},
		{"extended beyond the end", "beyond the end at 67108864", func(d []byte) { put(d[446+48+8:], 64*mib/512) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bad := bytes.Clone(disk)
			tt.edit(bad)
			if _, err := read(bad); err == nil || !strings.Contains(err.Error(), tt.want) || errors.Is(err, ErrNoTable) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

// A chain without a loop that goes on for ever: each record links to the next sector.
func TestMBRLongChain(t *testing.T) {
	disk := make([]byte, 1000*512)
	entry := func(at int, kind byte, start, size uint32) {
		disk[at+4] = kind
		binary.LittleEndian.PutUint32(disk[at+8:], start)
		binary.LittleEndian.PutUint32(disk[at+12:], size)
	}
	disk[510], disk[511] = 0x55, 0xaa
	entry(446, 5, 1, 999)
	for i := 1; i < 999; i++ {
		disk[512*i+510], disk[512*i+511] = 0x55, 0xaa
		entry(512*i+462, 5, uint32(i), 1)
	}
	if _, err := read(disk); err == nil || !strings.Contains(err.Error(), "more than 256 boot records") {
		t.Errorf("error %v", err)
	}
}

func TestEmptyTable(t *testing.T) {
	got, err := read(sfdisk(t, "label: dos\nlabel-id: 0x00000001\n", mib))
	if err != nil {
		t.Fatal(err)
	}
	checkTable(t, got, Table{Kind: MBR, ID: "00000001", SectorSize: 512, End: 512})
}

func TestNoTable(t *testing.T) {
	dir := t.TempDir()
	mkfs := func(args ...string) []byte {
		name := filepath.Join(dir, "fs")
		if err := os.WriteFile(name, make([]byte, 40*mib), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(args[0], append(args[1:], name)...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", args, err, out)
		}
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	ntfs := make([]byte, 4096)
	copy(ntfs, "\xeb\x52\x90NTFS    ")
	copy(ntfs[446:], "BOOTMGR is compressed")
	ntfs[510], ntfs[511] = 0x55, 0xaa
	code := bytes.Repeat([]byte{0x90}, 512)
	code[510], code[511] = 0x55, 0xaa
	tests := []struct {
		name, want string
		disk       []byte
	}{
		{"too short", "100 bytes, want at least 512", make([]byte, 100)},
		{"zeros", "bytes 510 and 511 are 0000, want 55aa; it begins with 0000000000000000", make([]byte, 4096)},
		{"gzip", "begins like a gzip file", append([]byte{0x1f, 0x8b}, make([]byte, 4096)...)},
		{"zip", "begins like a zip file", append([]byte("PK\x03\x04"), make([]byte, 4096)...)},
		{"FAT12", "the disk begins with a FAT12 file system", mkfs("mkfs.vfat", "-F12", "-s32")},
		{"FAT16", "the disk begins with a FAT16 file system", mkfs("mkfs.vfat", "-F16")},
		{"FAT32", "the disk begins with a FAT32 file system", mkfs("mkfs.vfat", "-F32")},
		{"NTFS", "the disk begins with a NTFS file system", ntfs},
		{"boot code", "entry 1 has status 0x90, want 0 or 0x80", code},
		{"ext4", "bytes 510 and 511 are 0000", mkfs("mke2fs", "-q", "-t", "ext4")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := read(tt.disk); !errors.Is(err, ErrNoTable) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

// Nothing that is read from a table may lead outside of what the table itself says. Checksums are made good when
// fix is set, so that the fuzzer gets past them.
func FuzzRead(f *testing.F) {
	f.Add(sfdisk(f, "label: dos\ngrain: 512\n1,8\n9,8\n17,8\n25,60,f\n26,8\n36,8\n46,8\n", 50<<10), false)
	gpt := sfdisk(f, "label: gpt\ngrain: 512\nfirst-lba: 34\nstart=34,size=8,name=one\nstart=42,size=10,name=two\n", 50<<10)
	f.Add(gpt, false)
	f.Add(gpt, true)
	f.Fuzz(func(t *testing.T, disk []byte, fix bool) {
		if fix {
			fixGPT(disk)
		}
		table, err := read(disk)
		if err != nil {
			return
		}
		numbers := map[int]bool{}
		for _, p := range table.Partitions {
			if p.Start <= 0 || p.Size <= 0 || p.End() <= p.Start || p.End() > table.End || numbers[p.Number] {
				t.Errorf("partition %+v in %+v", p, table)
			}
			numbers[p.Number] = true
		}
	})
}

// fixGPT makes the checksums of the first header good, if it makes sense.
func fixGPT(disk []byte) {
	if len(disk) < 34*512 {
		return
	}
	h := disk[512:1024]
	put := binary.LittleEndian.PutUint32
	put(h[88:], crc32.ChecksumIEEE(disk[1024:34*512]))
	put(h[16:], 0)
	put(h[16:], crc32.ChecksumIEEE(h[:min(512, binary.LittleEndian.Uint32(h[12:]))]))
}
