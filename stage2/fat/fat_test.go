package fat

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"testing/iotest"
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

// entryAt finds the root directory's entry with the short name on a FAT16.
func entryAt(t testing.TB, f *FS, image []byte, short string) []byte {
	t.Helper()
	for at := f.geometry.root; at < f.geometry.root+f.geometry.rootSize; at += entrySize {
		if e := image[at : at+entrySize]; string(e[:11]) == short && e[11] != attrLong {
			return e
		}
	}
	t.Fatalf("no entry %q", short)
	return nil
}

func TestDamagedFiles(t *testing.T) {
	image := makeImage(t, 16, 40<<10)
	f := open(t, image)
	first := binary.LittleEndian.Uint16(entryAt(t, f, image, "EXACTL~1BIN")[26:])
	for _, tt := range []struct {
		name, want string
		size       uint32
		next       uint16
	}{
		{"loop", "twice in a chain", 5000, first},
		{"free cluster", "cluster 0 after 1 others", 5000, 0},
		{"bad cluster", "cluster 65527 after 1 others", 5000, 0xfff7},
		{"cluster out of range", "cluster 60000 after", 5000, 60000},
		{"short chain", "chain ends 2952 bytes before the file's size of 5000", 5000, 0xffff},
		{"too large", "size of 4294967295 bytes", 0xffffffff, 0xffff},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bad := bytes.Clone(image)
			binary.LittleEndian.PutUint32(entryAt(t, f, bad, "EXACTL~1BIN")[28:], tt.size)
			binary.LittleEndian.PutUint16(bad[f.geometry.fat+2*int64(first):], tt.next)
			_, err := open(t, bad).ReadFile("exactly-one-sector.bin")
			if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

func TestDirectoryLoops(t *testing.T) {
	image := makeImage(t, 16, 40<<10)
	f := open(t, image)
	efi := entryAt(t, f, image, "EFI        ")
	cluster := binary.LittleEndian.Uint16(efi[26:])
	inside := image[f.geometry.data+int64(cluster-2)*f.geometry.clusterSize:]

	bad := bytes.Clone(image)
	sub := bad[len(image)-len(inside)+2*entrySize:] // BOOT, after . and ..
	binary.LittleEndian.PutUint16(sub[26:], cluster)
	if err := walk(open(t, bad)); err == nil || !strings.Contains(err.Error(), "directory contains itself") {
		t.Errorf("directory in itself: %v", err)
	}

	bad = bytes.Clone(image)
	for at := len(image) - len(inside); at < len(image)-len(inside)+int(f.geometry.clusterSize); at += entrySize {
		bad[at] = entryDeleted // so that no end is seen
	}
	binary.LittleEndian.PutUint16(bad[f.geometry.fat+2*int64(cluster):], cluster)
	if _, err := open(t, bad).ReadDir("EFI"); err == nil || !strings.Contains(err.Error(), "twice in a chain") {
		t.Errorf("directory chain: %v", err)
	}
}

func walk(f *FS) error {
	return fs.WalkDir(f, ".", func(_ string, _ fs.DirEntry, err error) error { return err })
}

// A directory whose chain goes through the whole disk without an end.
func TestEndlessDirectory(t *testing.T) {
	image := makeImage(t, 16, 40<<10)
	f := open(t, image)
	for n := uint32(2); n < f.geometry.clusters+1; n++ {
		binary.LittleEndian.PutUint16(image[f.geometry.fat+2*int64(n):], uint16(n+1))
	}
	for at := f.geometry.data; at+entrySize <= int64(len(image)); at += entrySize {
		image[at] = entryDeleted
	}
	binary.LittleEndian.PutUint16(entryAt(t, f, image, "EFI        ")[26:], 2)
	if _, err := open(t, image).ReadDir("EFI"); err == nil || !strings.Contains(err.Error(), "directory of more than 2097152 bytes") {
		t.Errorf("error %v", err)
	}
}

// A bad sector is not damage of the file system, and the cause can be told.
func TestUnreadable(t *testing.T) {
	image := makeImage(t, 16, 40<<10)
	good := open(t, image)
	for name, at := range map[string]int64{"FAT": good.geometry.fat, "root": good.geometry.root, "data": good.geometry.data} {
		f, err := Open(badFrom{bytes.NewReader(image), at}, int64(len(image)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.ReadFile("device-type.json"); !errors.Is(err, iotest.ErrTimeout) || errors.Is(err, ErrDamaged) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	cut, err := Open(bytes.NewReader(image[:good.geometry.data]), int64(len(image)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cut.ReadFile("device-type.json"); !errors.Is(err, ErrDamaged) {
		t.Errorf("cut: error %v", err)
	}
}

// badFrom can't be read from offset at on.
type badFrom struct {
	io.ReaderAt
	at int64
}

func (b badFrom) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > b.at {
		return 0, iotest.ErrTimeout
	}
	return b.ReaderAt.ReadAt(p, off)
}

// Long names that are broken give way to the short name.
func TestBrokenLongNames(t *testing.T) {
	image := makeImage(t, 16, 40<<10)
	f := open(t, image)
	e := entryAt(t, f, image, "DEVICE~1JSO")
	at := bytes.Index(image, e)
	for name, edit := range map[string]func([]byte){
		"checksum":   func(lfn []byte) { lfn[13]++ },
		"ordinal":    func(lfn []byte) { lfn[0] = 5 },
		"deleted":    func(lfn []byte) { lfn[0] = entryDeleted },
		"with slash": func(lfn []byte) { lfn[3] = '/' },
	} {
		t.Run(name, func(t *testing.T) {
			bad := bytes.Clone(image)
			edit(bad[at-entrySize : at])
			f := open(t, bad)
			if got, err := f.ReadFile("device~1.jso"); err != nil || string(got) != deviceType {
				t.Errorf("%q, error %v", got, err)
			}
			if _, err := f.Stat("device-type.json"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("long name: %v", err)
			}
		})
	}
}

func TestNotFAT(t *testing.T) {
	image := makeImage(t, 16, 40<<10)
	for _, tt := range []struct {
		name string
		edit func([]byte)
	}{
		{"media", func(b []byte) { b[21] = 0 }},
		{"sector size", func(b []byte) { b[12] = 3 }},
		{"cluster size", func(b []byte) { b[13] = 3 }},
		{"no FAT", func(b []byte) { b[16] = 0 }},
		{"no reserved sector", func(b []byte) { b[14], b[15] = 0, 0 }},
		{"no data", func(b []byte) { b[15] = 0xff; b[22], b[23] = 0xff, 0xff }},
		{"zeros", func(b []byte) { clear(b) }},
	} {
		bad := bytes.Clone(image[:4096])
		tt.edit(bad)
		if _, err := Open(bytes.NewReader(bad), int64(len(image))); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: error %v, want %v", tt.name, err, ErrFormat)
		}
	}
	if _, err := Open(bytes.NewReader(image), 30<<20); err == nil || !strings.Contains(err.Error(), "is truncated to 31457280") {
		t.Errorf("truncated: error %v", err)
	}
	if _, err := Open(bytes.NewReader(image[:100]), 100); !errors.Is(err, ErrFormat) {
		t.Errorf("100 bytes: error %v", err)
	}
}

// The fuzzer has the first blocks of a file system and the rest is zero; it may break them as it likes.
func FuzzFS(f *testing.F) {
	for _, bits := range []int{12, 16, 32} {
		image := makeImage(f, bits, 40<<10, map[int][]string{12: {"-s", "64"}, 16: {"-s", "16"}, 32: {"-s", "1"}}[bits]...)
		g := open(f, image).geometry
		f.Add(bytes.Clone(image[:512]), bytes.Clone(image[g.fat:g.fat+2048]), bytes.Clone(image[g.root:g.root+4096]))
	}
	f.Fuzz(func(t *testing.T, boot, table, dir []byte) {
		g, err := parseBootSector(append(boot, make([]byte, 512)...)[:512])
		if err != nil {
			return
		}
		d := pieces{{g.data, dir}, {g.root, dir}, {g.fat, table}, {0, boot}}
		f, err := Open(d, 1<<50)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = f.Label()
		entries, _ := f.ReadDir(".")
		for _, e := range entries[:min(len(entries), 20)] {
			if !fs.ValidPath(e.Name()) || strings.Contains(e.Name(), "/") {
				t.Errorf("name %q", e.Name())
			}
			if e.IsDir() {
				_, _ = f.ReadDir(e.Name())
			} else if file, err := f.Open(e.Name()); err == nil {
				n, _ := io.CopyN(io.Discard, file, 1<<20)
				if info, _ := file.Stat(); n > info.Size() {
					t.Errorf("%q has %d bytes of %d", e.Name(), n, info.Size())
				}
			}
		}
	})
}

// pieces is a disk with content at some offsets only; the last piece counts.
type pieces []struct {
	at   int64
	data []byte
}

func (d pieces) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	for _, piece := range d {
		if piece.at <= off && off-piece.at < int64(len(piece.data)) {
			copy(p, piece.data[off-piece.at:])
		}
	}
	return len(p), nil
}
