package fat

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"strings"
	"testing"
	"testing/iotest"
)

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
