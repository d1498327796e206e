package parttable

import (
	"bytes"
	"encoding/binary"
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
	parts := slices.Clone(got.Partitions)
	seen := map[string]bool{}
	for i := range parts {
		if id := parts[i].ID; (got.Kind == GPT) != (len(id) == 36) || seen[id] && id != "" {
			t.Errorf("partition %d has the GUID %q, want one of its own on a GPT", parts[i].Number, id)
		}
		seen[parts[i].ID] = true
		parts[i].ID = "" // made up by sfdisk
	}
	if !slices.Equal(parts, want.Partitions) {
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

func TestEmptyTable(t *testing.T) {
	got, err := read(sfdisk(t, "label: dos\nlabel-id: 0x00000001\n", mib))
	if err != nil {
		t.Fatal(err)
	}
	checkTable(t, got, Table{Kind: MBR, ID: "00000001", SectorSize: 512, End: 512})
}
