package fsprobe

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
)

const (
	mib     = 1 << 20
	theUUID = "0a1b2c3d-4e5f-4071-8293-a4b5c6d7e8f9"
)

// mkfs makes a file system in a file of size bytes with the command, and returns the file's name.
func mkfs(t testing.TB, size int64, command ...string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "fs")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(name, size); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(command[0], append(command[1:], name)...).CombinedOutput(); err != nil {
		t.Fatalf("%q: %v\n%s", command, err, out)
	}
	return name
}

// blkid is asked as well: its words are the ones to use.
func blkid(t testing.TB, name string) Info {
	t.Helper()
	out, err := exec.Command("blkid", "-p", "-o", "export", name).Output()
	if err != nil {
		t.Fatalf("blkid: %v", err)
	}
	values := map[string]string{}
	for line := range strings.Lines(string(out)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		values[key] = strings.ReplaceAll(value, `\`, "")
	}
	return Info{values["TYPE"], values["UUID"], values["LABEL"]}
}

func TestMadeByTools(t *testing.T) {
	tests := []struct {
		name    string
		size    int64
		command []string
		want    Info
	}{
		{"ext2", 8 * mib, []string{"mke2fs", "-q", "-t", "ext2", "-L", "resin-rootA", "-U", theUUID}, Info{Ext2, theUUID, "resin-rootA"}},
		{"ext3", 8 * mib, []string{"mke2fs", "-q", "-t", "ext3", "-U", theUUID}, Info{Ext3, theUUID, ""}},
		{"ext4", 8 * mib, []string{"mke2fs", "-q", "-t", "ext4", "-L", "sixteen bytes. ä", "-U", theUUID}, Info{Ext4, theUUID, "sixteen bytes. \ufffd"}},
		{"ext4 4k", 64 * mib, []string{"mke2fs", "-q", "-t", "ext4", "-b", "4096", "-L", "resin-data", "-U", theUUID}, Info{Ext4, theUUID, "resin-data"}},
		{"ext4 without journal", 8 * mib, []string{"mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-U", theUUID}, Info{Ext4, theUUID, ""}},
		{"journal", 8 * mib, []string{"mke2fs", "-q", "-O", "journal_dev", "-U", theUUID}, Info{Journal, theUUID, ""}},
		{"FAT12", 2 * mib, []string{"mkfs.vfat", "-F12", "-n", "EFI", "-i", "00ab12cd"}, Info{VFAT, "00AB-12CD", "EFI"}},
		{"FAT16", 40 * mib, []string{"mkfs.vfat", "-F16", "-n", "resin-boot", "-i", "7ba7c0de"}, Info{VFAT, "7BA7-C0DE", "resin-boot"}},
		{"FAT32", 40 * mib, []string{"mkfs.vfat", "-F32", "-s1", "-i", "7ba7c0de"}, Info{VFAT, "7BA7-C0DE", ""}},
		{"FAT32 4Kn", 400 * mib, []string{"mkfs.vfat", "-F32", "-S4096", "-s1", "-n", "BOOT", "-i", "7ba7c0de"}, Info{VFAT, "7BA7-C0DE", "BOOT"}},
		{"xfs", 300 * mib, []string{"mkfs.xfs", "-q", "-L", "twelve bytes", "-m", "uuid=" + theUUID}, Info{XFS, theUUID, "twelve bytes"}},
		{"btrfs", 128 * mib, []string{"mkfs.btrfs", "-q", "-L", "root of all", "-U", theUUID}, Info{Btrfs, theUUID, "root of all"}},
		{"swap", 2 * mib, []string{"mkswap", "-L", "swap-A", "-U", theUUID}, Info{Swap, theUUID, "swap-A"}},
		{"swap 64k", 2 * mib, []string{"mkswap", "-p", "65536", "-U", theUUID}, Info{Swap, theUUID, ""}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			name := mkfs(t, tt.size, tt.command...)
			f, err := os.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = f.Close() })
			got, err := Probe(f)
			if got != tt.want || err != nil {
				t.Errorf("%+v, want %+v, error %v", got, tt.want, err)
			}
			want := blkid(t, name)
			if strings.ContainsRune(got.Label, '\ufffd') {
				got.Label, want.Label = "", "" // blkid writes the broken character in its own way
			}
			if got != want && tt.name != "journal" {
				t.Errorf("%+v, blkid says %+v", got, want)
			}
		})
	}
}

// Those whose tools are not asked for are made of their magic alone.
func TestByName(t *testing.T) {
	const size = 2*mib + 5*512
	at := func(pieces map[int]string) []byte {
		b := make([]byte, size)
		for off, s := range pieces {
			copy(b[off:], s)
		}
		return b
	}
	const md = "\xfc\x4e\x2b\xa9"
	tests := []struct {
		name string
		data []byte
		want string
	}{
		{"xfs", at(map[int]string{0: "XFSB"}), XFS},
		{"xfs cut off", []byte("XFSB"), ""},
		{"btrfs", at(map[int]string{0x10040: "_BHRfS_M"}), Btrfs},
		{"squashfs", at(map[int]string{0: "hsqs"}), Squashfs},
		{"LUKS", at(map[int]string{0: "LUKS\xba\xbe"}), LUKS},
		{"LVM", at(map[int]string{512: "LABELONE", 536: "LVM2 001"}), LVM},
		{"LVM in the last place", at(map[int]string{1536: "LABELONE", 1560: "LVM2 001"}), LVM},
		{"LVM of another kind", at(map[int]string{512: "LABELONE", 536: "LVM1 001"}), ""},
		{"RAID 1.1", at(map[int]string{0: md}), RAID},
		{"RAID 1.2", at(map[int]string{4096: md}), RAID},
		{"RAID 1.0 with xfs in it", at(map[int]string{0: "XFSB", (size/512 - 16) / 8 * 4096: md}), RAID},
		{"RAID 0.90 with xfs in it", at(map[int]string{0: "XFSB", 2*mib - 65536: md}), RAID},
		{"zeros", at(nil), ""},
		{"ext magic alone", at(map[int]string{1024 + 0x38: "\x53\xef"}), ""},
		{"ext magic and senseless blocks", at(map[int]string{1024 + 4: "\x01", 1024 + 0x18: "\x07", 1024 + 0x38: "\x53\xef"}), ""},
		{"boot code", at(map[int]string{0: "\xeb\x63\x90", 510: "\x55\xaa"}), ""},
		{"NTFS", at(map[int]string{0: "\xeb\x52\x90NTFS    \x00\x02\x08", 21: "\xf8", 510: "\x55\xaa"}), ""},
		{"short", []byte("XFS"), ""},
		{"nothing", nil, ""},
	}
	for _, tt := range tests {
		if got, err := Probe(bytes.NewReader(tt.data)); got.Type != tt.want || err != nil {
			t.Errorf("%s: %+v, want %q, error %v", tt.name, got, tt.want, err)
		}
	}
}

// The label of a FAT is best effort: without a root directory that of the boot sector counts.
func TestTruncatedFAT(t *testing.T) {
	data, err := os.ReadFile(mkfs(t, 40*mib, "mkfs.vfat", "-F16", "-n", "resin-boot", "-i", "7ba7c0de"))
	if err != nil {
		t.Fatal(err)
	}
	want := Info{VFAT, "7BA7-C0DE", "resin-boot"}
	if got, err := Probe(bytes.NewReader(data[:4096])); got != want || err != nil {
		t.Errorf("%+v, want %+v, error %v", got, want, err)
	}
}

func TestUnreadable(t *testing.T) {
	for _, good := range []int64{0, 1024, 4096, 0x10000} {
		if got, err := Probe(badFrom(good)); !errors.Is(err, iotest.ErrTimeout) || got != (Info{}) {
			t.Errorf("good up to %d: %+v, error %v", good, got, err)
		}
	}
}

// badFrom is zero, and unreadable from an offset on.
type badFrom int64

func (b badFrom) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > int64(b) {
		return 0, iotest.ErrTimeout
	}
	clear(p)
	return len(p), nil
}

func FuzzProbe(f *testing.F) {
	for _, command := range [][]string{
		{"mke2fs", "-q", "-t", "ext4"}, {"mke2fs", "-q", "-t", "ext2"}, {"mkfs.vfat", "-F12"}, {"mkswap"},
	} {
		data, err := os.ReadFile(mkfs(f, 2*mib, command...))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(bytes.Clone(data[:4096]))
	}
	f.Add(append([]byte("XFSB"), make([]byte, 200)...))
	f.Add(append(append(make([]byte, 0x10040), "_BHRfS_M"...), make([]byte, 0x200)...))
	f.Fuzz(func(t *testing.T, data []byte) {
		info, err := Probe(bytes.NewReader(data))
		if err != nil {
			t.Errorf("error %v", err)
		}
		if info.Type == "" && info != (Info{}) {
			t.Errorf("%+v", info)
		}
		sized, err := Probe(io.NewSectionReader(bytes.NewReader(data), 0, int64(len(data))))
		if sized != info || err != nil {
			t.Errorf("%+v, as a section %+v, error %v", info, sized, err)
		}
	})
}
