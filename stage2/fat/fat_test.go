package fat

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

const deviceType = `{"slug":"genericx86-64-ext","arch":"amd64","state":"RELEASED"}`

const longest = "a name as long as a name can be in this format - " // ends after 255 characters, see content

// content is what every test image holds; the order of copying leaves gaps, so that files are in pieces.
func content() map[string][]byte {
	rng := rand.NewChaCha8([32]byte{1})
	big := make([]byte, 300_001)
	_, _ = rng.Read(big)
	many := map[string][]byte{
		"device-type.json":       []byte(deviceType), // E38
		"balena-image-flasher":   {},                 // E24
		"CONFIG.TXT":             []byte("arm_64bit=1\n"),
		"lower.txt":              []byte("short, but in lower case"),
		"EFI/BOOT/bootx64.efi":   big,
		"exactly-one-sector.bin": big[:512],
		"system-connections/Größe & Maß – 接続.nmconnection": []byte("[wifi]"),
		(longest + strings.Repeat("x", 255))[:255]:         []byte("long"),
	}
	for i := range 80 {
		many[fmt.Sprintf("overlays/overlay number %d.dtbo", i)] = []byte(fmt.Sprint(i))
	}
	return many
}

type tool struct {
	t     testing.TB
	image string
}

func (m tool) run(name string, args ...string) {
	m.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "MTOOLS_SKIP_CHECK=1", "MTOOLSRC=/dev/null")
	if out, err := cmd.CombinedOutput(); err != nil {
		m.t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}

// makeImage makes a file system with mkfs.vfat and fills it with mtools.
func makeImage(t testing.TB, bits, kib int, options ...string) []byte {
	t.Helper()
	dir := t.TempDir()
	m := tool{t, filepath.Join(dir, "fat")}
	m.run("mkfs.vfat", append(options, "-F", fmt.Sprint(bits), "-n", "RESIN-BOOT", "-i", "1234abcd", "-C", m.image, fmt.Sprint(kib))...)
	tree := filepath.Join(dir, "tree")
	write := func(name string, data []byte) {
		name = filepath.Join(tree, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	gaps := []string{}
	for i := range 20 {
		name := fmt.Sprintf("%02d deleted with a long name", i)
		write(name, make([]byte, 5000))
		gaps = append(gaps, "::"+name)
	}
	m.run("sh", "-c", "cd "+tree+" && mcopy -i "+m.image+" * ::/")
	m.run("mdel", append([]string{"-i", m.image}, gaps[0], gaps[2], gaps[4], gaps[7], gaps[11], gaps[12])...)
	if err := os.RemoveAll(tree); err != nil {
		t.Fatal(err)
	}
	for name, data := range content() {
		write(name, data)
	}
	m.run("sh", "-c", "cd "+tree+" && mcopy -s -i "+m.image+" * ::/")
	m.run("mdel", append([]string{"-i", m.image}, gaps[1], gaps[3], gaps[5], gaps[6], gaps[8], gaps[9], gaps[10], gaps[13],
		gaps[14], gaps[15], gaps[16], gaps[17], gaps[18], gaps[19])...)
	m.run("fsck.vfat", "-n", m.image)
	data, err := os.ReadFile(m.image)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func open(t testing.TB, image []byte) *FS {
	t.Helper()
	f, err := Open(bytes.NewReader(image), int64(len(image)))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// E22: the boot partition is FAT16 or FAT32; FAT12 is what mkfs.vfat makes of something small.
func TestFS(t *testing.T) {
	for _, tt := range []struct {
		bits, kib int
		options   []string
	}{
		{12, 8 << 10, nil},
		{12, 4 << 10, []string{"-s", "2"}}, // entries across sectors
		{16, 40 << 10, nil},
		{16, 200 << 10, []string{"-S", "4096"}},
		{32, 80 << 10, nil},
		{32, 40 << 10, []string{"-s", "1", "-f", "1"}},
	} {
		t.Run(fmt.Sprintf("FAT%d of %d KiB %s", tt.bits, tt.kib, tt.options), func(t *testing.T) {
			f := open(t, makeImage(t, tt.bits, tt.kib, tt.options...))
			if f.Bits() != tt.bits {
				t.Errorf("FAT%d, want FAT%d", f.Bits(), tt.bits)
			}
			if id, ok := f.ID(); id != 0x1234abcd || !ok {
				t.Errorf("id %x, %v", id, ok)
			}
			if label, err := f.Label(); label != "RESIN-BOOT" || err != nil {
				t.Errorf("label %q, error %v", label, err)
			}
			checkContent(t, f)
		})
	}
}

func checkContent(t *testing.T, f *FS) {
	t.Helper()
	want := content()
	var names []string
	for name, data := range want {
		names = append(names, name)
		for _, alias := range []string{name, strings.ToUpper(name), strings.ToLower(name)} {
			if got, err := f.ReadFile(alias); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%q has %d bytes, want %d; error %v", alias, len(got), len(data), err)
			}
		}
	}
	err := fs.WalkDir(f, ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && want[name] == nil {
			t.Errorf("%q is too much", name)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if err := fstest.TestFS(f, names...); err != nil {
		t.Error(err)
	}
}

func TestNames(t *testing.T) {
	f := open(t, makeImage(t, 16, 40<<10))
	if _, err := f.Stat("DEVICE~1.JSO"); err != nil {
		t.Errorf("short name: %v", err)
	}
	for _, name := range []string{"nothing", "device-type.json/x", "EFI/nothing", "00 deleted with a long name"} {
		if _, err := f.Open(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: %v", name, err)
		}
	}
	info, err := f.Stat("CONFIG.TXT")
	if err != nil {
		t.Fatal(err)
	}
	if age := time.Since(info.ModTime()); age > 48*time.Hour || age < -48*time.Hour {
		t.Errorf("modified %v", info.ModTime())
	}
}

func TestLabels(t *testing.T) {
	image := makeImage(t, 16, 40<<10)
	f := open(t, image)
	for _, tt := range []struct {
		root   byte // first byte of the root directory's label
		sector string
		want   string
	}{
		{'R', "OTHER      ", "RESIN-BOOT"},
		{0xe5, "OTHER      ", "OTHER"}, // deleted
		{0xe5, "NO NAME    ", ""},
		{0x99, "OTHER      ", "ÖESIN-BOOT"},
	} {
		image[f.geometry.root] = tt.root
		copy(image[43:], tt.sector)
		if got, err := open(t, image).Label(); got != tt.want || err != nil {
			t.Errorf("label %q, want %q, error %v", got, tt.want, err)
		}
	}
}

func TestShortNames(t *testing.T) {
	for _, tt := range []struct {
		raw   string
		flags byte
		want  string
	}{
		{"CONFIG  TXT", 0, "CONFIG.TXT"},
		{"CONFIG  TXT", lowerBase, "config.TXT"},
		{"CONFIG  TXT", lowerExt, "CONFIG.txt"},
		{"README     ", lowerBase, "readme"},
		{"\x05ABC    X  ", 0, "σABC.X"},
		{"GR\x99SSE  TXT", lowerBase, "grösse.TXT"},
		{"A/B     C\x00D", 0, "_A_B.C_D"},
		{".          ", 0, "."},
		{"           ", 0, "_"},
	} {
		raw := append([]byte(tt.raw), make([]byte, 21)...)
		raw[12] = tt.flags
		if got := shortName(raw); got != tt.want {
			t.Errorf("%q %#x: %q, want %q", tt.raw, tt.flags, got, tt.want)
		}
	}
}
