package bootcode

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/balena-community/balena-migrate/stage2/parttable"
)

// pair is made like GRUB's files, with so many bytes of core.img.
func pair(size int) (boot, core []byte) {
	boot = make([]byte, sector)
	copy(boot, "\xeb\x63\x90")
	boot[kernelSector] = 1
	copy(boot[0x180:], "GRUB \x00Geom\x00")
	copy(boot[Size:], strings.Repeat("T", sector-Size)) // where the table will be
	core = bytes.Repeat([]byte{0xc0}, size)
	copy(core, "RV\xbe\x1b")
	copy(core[0x11b:], "loading\x00")
	clear(core[0x140:sector])
	core[blockList] = 2
	binary.LittleEndian.PutUint16(core[blockList+8:], uint16((size-1)/sector))
	return boot, core
}

func mbr(starts ...int64) *parttable.Table {
	t := &parttable.Table{Kind: parttable.MBR}
	for _, s := range starts {
		t.Partitions = append(t.Partitions, parttable.Partition{Start: s, Size: 1 << 20})
	}
	return t
}

// The table and the disk signature in the first sector are not the boot code's.
func TestTableIsKept(t *testing.T) {
	code, err := Parse(pair(30_001))
	if err != nil {
		t.Fatal(err)
	}
	first := bytes.Repeat([]byte{0xaa}, sector)
	code.Into(first)
	if !bytes.HasPrefix(first, []byte("\xeb\x63\x90")) || !bytes.Equal(first[Size:], bytes.Repeat([]byte{0xaa}, sector-Size)) {
		t.Errorf("first sector % x", first)
	}
	if n := len(code.Core()); n != 59*sector {
		t.Errorf("core.img in %d bytes, want whole sectors", n)
	}
	if !Present(first) || Present(make([]byte, sector)) {
		t.Error("boot code is not told from none")
	}
}

func TestFits(t *testing.T) {
	code, err := Parse(pair(62 * sector))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		table *parttable.Table
		want  string
	}{
		"the old gap, to the byte": {table: mbr(4<<20, 63*sector)},
		"one sector less":          {table: mbr(62 * sector), want: "at most the 31232 before"},
		"no gap":                   {table: mbr(sector), want: "at most the 0 before"},
		"GPT":                      {table: &parttable.Table{Kind: parttable.GPT}, want: "expected an MBR"},
		"empty":                    {table: mbr(), want: "without partitions"},
	} {
		err := code.Fits(c.table)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// TestRealGRUB takes Debian's GRUB: boot.img as its package has it, core.img by the command that a blocker names.
func TestRealGRUB(t *testing.T) {
	boot, err := os.ReadFile("/usr/lib/grub/i386-pc/boot.img")
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "core.img")
	for _, modules := range [][]string{
		{"biosdisk", "part_msdos", "fat"}, // fits the gap of 62 sectors that old tables have
		{"biosdisk", "part_msdos", "fat", "ext2", "normal", "configfile", "linux", "serial", "terminal", "echo", "search", "search_label"},
	} {
		args := append([]string{"--format=i386-pc", "--prefix=(hd0,msdos1)/grub", "--output=" + name}, modules...)
		if out, err := exec.Command("grub-mkimage", args...).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		core, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		code, err := Parse(boot, core)
		if err != nil || len(modules) == 3 && code.Fits(mbr(63*sector)) != nil {
			t.Errorf("%d modules, %d bytes: %v", len(modules), len(core), err)
		}
		if _, err := Parse(boot, core[:len(core)-sector]); err == nil {
			t.Error("one sector less is not seen")
		}
	}
}

// What would leave a machine that says nothing but GRUB is refused.
func TestDamage(t *testing.T) {
	for name, c := range map[string]struct {
		change func(boot, core []byte) ([]byte, []byte)
		want   string
	}{
		"a boot sector of DOS":        {func(b, c []byte) ([]byte, []byte) { copy(b[0x180:], "NTLDR"); return b, c }, "other boot code"},
		"boot.img too short":          {func(b, c []byte) ([]byte, []byte) { return b[:Size-1], c }, "439 bytes"},
		"boot.img is core.img":        {func(b, c []byte) ([]byte, []byte) { return c, c }, "30000 bytes"},
		"boot.img installed by lists": {func(b, c []byte) ([]byte, []byte) { b[kernelSector+2] = 9; return b, c }, "sector 589825"},
		"core.img is boot.img":        {func(b, c []byte) ([]byte, []byte) { return b, b }, "512 bytes"},
		"core.img of EFI":             {func(b, c []byte) ([]byte, []byte) { copy(c[0x11b:], "MZMZMZM"); return b, c }, "something else"},
		"core.img cut off":            {func(b, c []byte) ([]byte, []byte) { return b, c[:20_000] }, "58 sectors at sector 2, expected 39"},
		"core.img too large":          {func(b, c []byte) ([]byte, []byte) { return b, append(c, make([]byte, maxCore)...) }, "at most 524288"},
		"core.img in two pieces":      {func(b, c []byte) ([]byte, []byte) { c[blockList-4] = 1; return b, c }, "no more"},
	} {
		_, err := Parse(c.change(pair(30_000)))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, size := range []int{1000, 30_000} {
		boot, core := pair(size)
		f.Add(boot, core)
	}
	f.Fuzz(func(t *testing.T, boot, core []byte) {
		code, err := Parse(boot, core)
		if err != nil {
			return
		}
		first := make([]byte, sector)
		code.Into(first)
		if !Present(first) || len(code.Core())%sector != 0 || len(code.Core()) < len(core) || !bytes.HasPrefix(code.Core(), core) {
			t.Error("what was accepted is not what would be written")
		}
	})
}
