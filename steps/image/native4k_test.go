package image

import (
	"context"
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps/steptest"
)

// native4K is an image for disks with sectors of 4096 bytes: a GPT and a FAT in such sectors (UEFI 2.10, chapter 5).
func native4K(t *testing.T) []byte {
	t.Helper()
	const sector, last, entryBytes = 4096, 18*mib/4096 - 1, 128 * 128
	dir := t.TempDir()
	boot, file := filepath.Join(dir, "boot"), filepath.Join(dir, "device-type.json")
	tool(t, "", "mkfs.vfat", "-C", "-S", "4096", "-n", "resin-boot", boot, "8192")
	if err := os.WriteFile(file, []byte(deviceTypeJSON), 0o600); err != nil {
		t.Fatal(err)
	}
	tool(t, "", "mcopy", "-i", boot, file, "::")
	fat, err := os.ReadFile(boot)
	if err != nil {
		t.Fatal(err)
	}
	raw := make([]byte, 18*mib)
	copy(raw[mib:], fat)
	raw[446+4], raw[446+8], raw[510], raw[511] = 0xee, 1, 0x55, 0xaa
	le := binary.LittleEndian
	le.PutUint32(raw[446+12:], last)
	entries := make([]byte, entryBytes)
	copy(entries, "\xa2\xa0\xd0\xeb\xe5\xb9\x33\x44\x87\xc0\x68\xb6\xb7\x26\x99\xc7unique-partition")
	le.PutUint64(entries[32:], mib/sector)
	le.PutUint64(entries[40:], (mib+uint64(len(fat)))/sector-1)
	header := func(at, other, table uint64) {
		h := raw[at*sector:][:92]
		copy(h, "EFI PART\x00\x00\x01\x00\x5c")
		for off, v := range map[int]uint64{24: at, 32: other, 40: 6, 48: last - 5, 72: table} {
			le.PutUint64(h[off:], v)
		}
		copy(h[56:], "disk-identifier!")
		for off, v := range map[int]uint32{80: 128, 84: 128, 88: crc32.ChecksumIEEE(entries)} {
			le.PutUint32(h[off:], v)
		}
		le.PutUint32(h[16:], crc32.ChecksumIEEE(h))
		copy(raw[table*sector:], entries)
	}
	header(1, last, 2)
	header(last, 1, last-4)
	return raw
}

// An image for 4Kn disks is prepared for one, packed or not, and refused for any other.
func TestNative4K(t *testing.T) {
	raw := native4K(t)
	for name, file := range map[string][]byte{"raw": raw, "gzip": pack(t, raw)} {
		b := newBench(t, file)
		onDisk(800*mib, 4096)(b.in)
		res := steptest.Laws(t, Step{}, b.run, b.in)
		if f := res.Facts.Image; f.Table != "gpt" || f.DeviceType != "genericx86-64-ext" || f.RawSHA256 != sum(raw) {
			t.Errorf("%s: facts %+v", name, f)
		}
		b = newBench(t, file)
		onDisk(800*mib, 512)(b.in)
		if res, err := b.run.Converge(context.Background(), Step{}, b.in); err != nil || res.Status != schema.BlockedBy || !strings.Contains(res.Msg, "sectors of 4096 bytes") {
			t.Errorf("%s on another disk: %s, error %v", name, res.Msg, err)
		}
	}
}
