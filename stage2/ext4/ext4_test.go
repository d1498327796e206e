package ext4

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

const (
	modern = "has_journal,extent,64bit,flex_bg,metadata_csum,dir_index,filetype,sparse_super,large_file,huge_file,dir_nlink,extra_isize,resize_inode"
	old    = "filetype,sparse_super,dir_index,^extent,^64bit,^flex_bg,^metadata_csum"
)

// Whatever mke2fs is told to make, what comes out is what went in.
func TestFileSystems(t *testing.T) {
	tree := files()
	dir := plant(t, tree)
	for _, tt := range []struct {
		name    string
		mib     int
		options []string
		repair  bool // e2fsck makes hashed directories
	}{
		{"modern 4k", 64, []string{"-b", "4096", "-I", "256", "-O", modern}, false},
		{"modern 4k hashed", 64, []string{"-b", "4096", "-I", "256", "-O", modern}, true},
		{"modern 2k hashed", 64, []string{"-b", "2048", "-I", "256", "-O", modern}, true},
		{"modern 1k hashed", 64, []string{"-b", "1024", "-I", "256", "-O", modern}, true},
		{"64k", 256, []string{"-F", "-b", "65536", "-I", "256", "-O", modern}, false},
		{"without checksums", 64, []string{"-b", "4096", "-I", "256", "-O", modern + ",^metadata_csum,uninit_bg"}, true},
		{"without 64bit", 64, []string{"-b", "4096", "-I", "256", "-O", modern + ",^64bit"}, true},
		{"seed of its own", 64, []string{"-b", "4096", "-I", "256", "-O", modern + ",metadata_csum_seed"}, true},
		{"inline data 1k", 64, []string{"-b", "1024", "-I", "256", "-O", modern + ",inline_data"}, false},
		{"inline data 4k", 64, []string{"-b", "4096", "-I", "512", "-O", modern + ",inline_data"}, true},
		{"meta_bg", 64, []string{"-b", "1024", "-g", "1024", "-I", "256", "-O", modern + ",meta_bg,^resize_inode,^flex_bg"}, false},
		{"sparse_super2", 64, []string{"-b", "1024", "-g", "1024", "-I", "256", "-O", modern + ",meta_bg,^resize_inode,^flex_bg,sparse_super2"}, false},
		{"many groups", 96, []string{"-b", "1024", "-g", "512", "-N", "6000", "-I", "256", "-O", modern + ",^resize_inode", "-G", "4"}, false},
		{"ext3", 64, []string{"-b", "4096", "-I", "256", "-O", old + ",has_journal"}, true},
		{"ext2 4k", 64, []string{"-b", "4096", "-I", "128", "-O", old}, false},
		{"ext2 1k", 64, []string{"-b", "1024", "-I", "128", "-O", old}, true},
		{"ext2 without file types", 64, []string{"-b", "2048", "-I", "128", "-O", old + ",^filetype"}, false},
		{"revision 0", 64, []string{"-b", "1024", "-r", "0", "-O", "none"}, false},
		{"small inodes with checksums", 64, []string{"-b", "4096", "-I", "128", "-O", modern + ",^extra_isize"}, false},
		{"quota, project, large_dir, ea_inode, mmp", 64, []string{"-b", "4096", "-I", "256", "-O", modern + ",quota,project,large_dir,ea_inode,mmp,verity"}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tree, dir := tree, dir
			if strings.HasPrefix(tt.name, "inline data") { // mke2fs 1.47.0 forgets holes at the end then
				tree = files()
				delete(tree, "sparse")
				delete(tree, "hole at the end")
				dir = plant(t, tree)
			}
			img := format(t, dir, tt.mib, tt.options...)
			if tt.repair {
				tool(t, "e2fsck", "-fyD", img)
			}
			f := open(t, read(t, img))
			if f.Label() != "flash-rootA" {
				t.Errorf("label %q", f.Label())
			}
			withLostFound(t, tree, f)
		})
	}
}

// withLostFound compares; mke2fs adds a directory without files.
func withLostFound(t *testing.T, tree map[string]node, f *FS) {
	t.Helper()
	if entries, err := f.ReadDir("lost+found"); err != nil || len(entries) != 0 {
		t.Errorf("lost+found holds %v, error %v", entries, err)
	}
	compare(t, f, tree)
}

// The standard library's own idea of a file system.
func TestIsFS(t *testing.T) {
	tree := files()
	for name := range tree { // TestFS opens whatever it is shown, dangling links as well
		if n := tree[name]; n.link != "" && (n.link == "nowhere" || n.link == "loop") || strings.HasPrefix(name, "many/") {
			delete(tree, name)
		}
	}
	f := open(t, read(t, format(t, plant(t, tree), 32, "-O", modern)))
	if err := fstest.TestFS(f, "usr/lib/os-release", "etc/os-release", "a/b/c/d/e/f"); err != nil {
		t.Error(err)
	}
	info, err := f.Stat("usr/lib/os-release")
	if err != nil {
		t.Fatal(err)
	}
	if age := time.Since(info.ModTime()); age > time.Hour || age < -time.Hour || info.Mode() != 0o640 {
		t.Errorf("modified %v, mode %v", info.ModTime(), info.Mode())
	}
}

func TestLinks(t *testing.T) {
	f := open(t, read(t, format(t, plant(t, files()), 64, "-O", modern)))
	for _, name := range []string{"etc/os-release", "etc/absolute", "etc/up", "etc/long link", "etc/dir link/lib/os-release"} {
		if got, err := f.ReadFile(name); err != nil || !strings.HasPrefix(string(got), "ID=balena-os") {
			t.Errorf("%s: %q, error %v", name, got, err)
		}
	}
	for name, want := range map[string]error{
		"etc/dangling": fs.ErrNotExist, "etc/loop": ErrLoop, "etc/os-release/x": fs.ErrNotExist, "one byte/x": fs.ErrNotExist, "none": fs.ErrNotExist,
		"/etc": fs.ErrInvalid, "etc/../etc": fs.ErrInvalid,
	} {
		if _, err := f.Open(name); !errors.Is(err, want) {
			t.Errorf("%s: error %v, want %v", name, err, want)
		}
	}
	if _, err := f.ReadLink("empty"); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("a file as a link: %v", err)
	}
	if info, err := f.Lstat("etc/loop"); err != nil || info.Mode().Type() != fs.ModeSymlink {
		t.Errorf("%v, error %v", info, err)
	}
}

// Blocks that were allocated and never written are zeros, whatever lies there.
func TestUnwritten(t *testing.T) {
	img := format(t, plant(t, map[string]node{"x": {data: noise(4*4096, 1)}}), 16, "-b", "4096", "-O", modern)
	before := read(t, img)
	tool(t, "debugfs", "-w", "-R", "fallocate /x 2 100", img)
	tool(t, "debugfs", "-w", "-R", "sif /x size 400000", img)
	tool(t, "debugfs", "-w", "-R", "zap_block -f /x -p 170 50", img)
	if now := read(t, img); bytes.Count(now, bytes.Repeat([]byte{170}, 4096)) != 1 {
		t.Fatal("debugfs wrote nothing to the unwritten block")
	}
	f := open(t, read(t, img))
	want := append(noise(4*4096, 1), make([]byte, 400000-4*4096)...)
	if got, err := f.ReadFile("x"); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, error %v", len(got), err)
	}
	if out := tool(t, "debugfs", "-R", "ex /x", img); !strings.Contains(out, "Uninit") {
		t.Fatalf("no unwritten extent in\n%s", out)
	}
	if bytes.Equal(before, read(t, img)) {
		t.Error("debugfs changed nothing")
	}
}

// Read by its extents the file is what it is read by itself, and debugfs agrees.
func TestExtents(t *testing.T) {
	tree := files()
	for _, options := range [][]string{{"-b", "4096", "-O", modern}, {"-b", "1024", "-O", old}} {
		image := read(t, format(t, plant(t, tree), 64, options...))
		f := open(t, image)
		for _, name := range []string{"opt/balena-image-genericx86-64-ext.balenaos-img", "sparse", "nothing but a hole", "empty", "hole at the end"} {
			file, err := f.OpenFile(name)
			if err != nil {
				t.Fatal(err)
			}
			extents, err := file.Extents()
			if err != nil {
				t.Fatal(err)
			}
			got := make([]byte, file.Size()+f.BlockSize())
			for _, e := range extents {
				if e.Length == 0 || e.Offset%f.BlockSize() != 0 || e.Place%f.BlockSize() != 0 || e.Length%f.BlockSize() != 0 {
					t.Errorf("%s: extent %+v", name, e)
				}
				copy(got[e.Offset:], image[e.Place:e.Place+e.Length])
			}
			if !bytes.Equal(got[:file.Size()], tree[name].data) {
				t.Errorf("%s by its extents %v is another file", name, extents)
			}
		}
	}
	f := open(t, read(t, format(t, plant(t, tree), 64, "-I", "256", "-O", modern+",inline_data")))
	file, err := f.OpenFile("one byte")
	if err != nil {
		t.Fatal(err)
	}
	if e, err := file.Extents(); err == nil {
		t.Errorf("inline data has extents %v", e)
	}
}

func TestReadAnywhere(t *testing.T) {
	tree := files()
	f := open(t, read(t, format(t, plant(t, tree), 64, "-O", modern)))
	file, err := f.OpenFile("sparse")
	if err != nil {
		t.Fatal(err)
	}
	want := tree["sparse"].data
	for _, r := range [][2]int{{0, 1}, {1<<20 - 1, 4099}, {len(want) - 5, 100}, {len(want), 1}, {len(want) + 5, 1}, {3, 3 << 20}} {
		p := make([]byte, r[1])
		n, err := file.ReadAt(p, int64(r[0]))
		left := want[min(r[0], len(want)):]
		if n != min(len(left), r[1]) || !bytes.Equal(p[:n], left[:n]) || (n < r[1]) != errors.Is(err, io.EOF) {
			t.Errorf("%d bytes from %d: %d, error %v", r[1], r[0], n, err)
		}
	}
	if err := file.Close(); err != nil {
		t.Error(err)
	}
	if _, err := file.Read(make([]byte, 1)); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("read after close: %v", err)
	}
	if _, err := f.OpenFile("etc"); err == nil {
		t.Error("a directory was opened as a file")
	}
}

// A file larger than all memory costs nothing until it is read.
func TestHugeSparseFile(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "huge")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(name, 1<<40); err != nil {
		t.Fatal(err)
	}
	f := open(t, read(t, format(t, dir, 8, "-b", "4096", "-O", modern)))
	file, err := f.OpenFile("huge")
	if err != nil || file.Size() != 1<<40 {
		t.Fatalf("size %d, error %v", file.Size(), err)
	}
	if n, err := file.ReadAt(make([]byte, 10), 1<<39); n != 10 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := f.ReadFile("huge"); err == nil || !strings.Contains(err.Error(), "1099511627776 bytes, expected at most 67108864") {
		t.Errorf("error %v", err)
	}
}

// What can't be read is refused by its name, and everything that is refused is named.
func TestUnsupported(t *testing.T) {
	dir := plant(t, map[string]node{"x": {data: []byte("x")}})
	for name, options := range map[string][]string{
		"encrypt":     {"-O", modern + ",encrypt"},
		"casefold":    {"-O", modern + ",casefold", "-E", "encoding=utf8"},
		"bigalloc":    {"-O", modern + ",bigalloc"},
		"journal_dev": {"-O", "journal_dev"},
	} {
		if name == "journal_dev" {
			img := filepath.Join(t.TempDir(), "journal")
			tool(t, "mke2fs", append(slices.Clone(options), "-q", "-b", "4096", img, "16M")...)
			refused(t, name, read(t, img))
			continue
		}
		refused(t, name, read(t, format(t, dir, 32, options...)))
	}
	plain := read(t, format(t, dir, 32, "-O", old))
	plain[superOffset+0x60] |= 0x4
	plain[superOffset+0x62] |= 0x80
	refused(t, "needs_recovery, incompatible features 0x800000", plain)
}

func refused(t *testing.T, name string, image []byte) {
	t.Helper()
	_, err := Open(bytes.NewReader(image), int64(len(image)))
	if !errors.Is(err, ErrUnsupported) || !strings.HasSuffix(err.Error(), ": "+name) {
		t.Errorf("%s: error %v", name, err)
	}
}
