package ext4

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// node is a file of the tree that every test image is made of: content, or the target of a link.
type node struct {
	data []byte
	link string
}

func noise(n int, seed byte) []byte {
	p := make([]byte, n)
	rng := rand.NewChaCha8([32]byte{seed})
	_, _ = rng.Read(p) // never fails
	return p
}

// holes is a file of n pieces of noise with as much nothing behind each, so that it has an extent for each.
func holes(n, size int) []byte {
	p := make([]byte, 2*n*size)
	for i := range n {
		copy(p[2*i*size:], noise(size, byte(i+1)))
	}
	return p
}

// files is the tree: what a root file system has, and what is hard to read. Directories are there by their files.
func files() map[string]node {
	inner := "opt/balena-image-genericx86-64-ext.balenaos-img" // E24
	tree := map[string]node{
		inner:                            {data: noise(3<<20+17, 1)},
		"usr/lib/os-release":             {data: []byte("ID=balena-os\nVERSION_ID=6.1.2\n")},
		"etc/os-release":                 {link: "../usr/lib/os-release"},
		"etc/absolute":                   {link: "/usr/lib/os-release"},
		"etc/up":                         {link: "../../../../etc/./os-release"},
		"etc/long link":                  {link: strings.Repeat("../etc/", 20) + "os-release"},
		"etc/dir link":                   {link: "../usr"},
		"etc/dangling":                   {link: "nowhere"},
		"etc/loop":                       {link: "loop"},
		"empty":                          {data: []byte{}},
		"one byte":                       {data: []byte("1")},
		"60 bytes":                       {data: noise(60, 2)},
		"61 bytes":                       {data: noise(61, 3)},
		"150 bytes":                      {data: noise(150, 4)},
		"a block":                        {data: noise(4096, 5)},
		"sparse":                         {data: append(make([]byte, 1<<20), holes(500, 4096)...)},
		"hole at the end":                {data: append(noise(5000, 6), make([]byte, 1<<20)...)},
		"nothing but a hole":             {data: make([]byte, 300_000)},
		"Größe & Maß – 接続":               {data: []byte("a name")},
		strings.Repeat("long", 63) + "x": {data: []byte("the longest name but two")},
		"a/b/c/d/e/f":                    {data: []byte("deep")},
	}
	for i := range 600 {
		tree[fmt.Sprintf("many/file with a long enough name %04d", i)] = node{data: fmt.Append(nil, i)}
	}
	for i := range 5 {
		tree[fmt.Sprintf("few/%d", i)] = node{data: fmt.Append(nil, i)}
	}
	return tree
}

func tool(t testing.TB, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "MKE2FS_CONFIG=/dev/null")
	out, err := cmd.CombinedOutput()
	if err != nil && (name != "e2fsck" || cmd.ProcessState.ExitCode() != 1) { // e2fsck(8): 1 is "errors corrected"
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// plant writes the tree to a directory, holes as holes.
func plant(t testing.TB, tree map[string]node) string {
	t.Helper()
	dir := t.TempDir()
	for name, n := range tree {
		full := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if n.link != "" {
			if err := os.Symlink(n.link, full); err != nil {
				t.Fatal(err)
			}
			continue
		}
		f, err := os.OpenFile(full, os.O_CREATE|os.O_WRONLY, 0o640)
		if err != nil {
			t.Fatal(err)
		}
		for at := 0; at < len(n.data); at += 4096 {
			if p := n.data[at:min(at+4096, len(n.data))]; !bytes.Equal(p, make([]byte, len(p))) {
				if _, err := f.WriteAt(p, int64(at)); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := f.Truncate(int64(len(n.data))); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// format makes a file system of size MiB with mke2fs, whose own configuration is left aside: options say all.
func format(t testing.TB, dir string, mib int, options ...string) string {
	t.Helper()
	img := filepath.Join(t.TempDir(), "ext")
	args := append([]string{"-q", "-L", "flash-rootA", "-d", dir}, options...)
	tool(t, "mke2fs", append(args, img, fmt.Sprintf("%dM", mib))...)
	return img
}

func read(t testing.TB, img string) []byte {
	t.Helper()
	b, err := os.ReadFile(img)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func open(t testing.TB, image []byte) *FS {
	t.Helper()
	f, err := Open(bytes.NewReader(image), int64(len(image)))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// compare walks the file system and the tree.
func compare(t *testing.T, f *FS, tree map[string]node) {
	t.Helper()
	seen := 0
	err := fs.WalkDir(f, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		seen++
		want, ok := tree[name]
		if !ok {
			t.Errorf("%q is too much", name)
		}
		if d.Type() == fs.ModeSymlink {
			if to, err := f.ReadLink(name); err != nil || to != want.link {
				t.Errorf("%q leads to %q, want %q; error %v", name, to, want.link, err)
			}
			return nil
		}
		got, err := f.ReadFile(name)
		if err != nil || !bytes.Equal(got, want.data) {
			t.Errorf("%q: %d bytes, not the %d that it has; error %v", name, len(got), len(want.data), err)
		}
		return nil
	})
	if err != nil || seen != len(tree) {
		t.Errorf("%d of %d files, error %v", seen, len(tree), err)
	}
}
