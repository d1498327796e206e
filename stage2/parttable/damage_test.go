package parttable

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

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
