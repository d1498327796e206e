package main

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps/host/hosttest"
)

const (
	// piece is what the big images are made of: a first with the image, then zeros, then one with data again. Packed
	// pieces one after the other are a file of the same format, which saves the time of packing gigabytes.
	piece = 64 << 20
	zeros = 64
	// bigSize is beyond 2^32, where gzip's own field for the size starts again (S52).
	bigSize = (zeros + 2) * piece
	// promised is the memory that an image of any size and format may take, in MB.
	promised = 64
)

// pieces makes the first, a middle and the last one.
func pieces(t *testing.T, dir string) {
	t.Helper()
	noise := make([]byte, 4<<20)
	_, _ = rand.NewChaCha8([32]byte{7}).Read(noise) // never fails
	for name, data := range map[string]map[int64][]byte{"first": {0: hosttest.Image(t), 32 << 20: noise}, "zero": nil, "last": {piece - 1<<20: noise[:1<<20]}} {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		for at, data := range data {
			if _, err := f.WriteAt(data, at); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(f.Truncate(piece), f.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// bigZip makes a zip file of one large file, which is what zip64 is for.
func bigZip(t *testing.T, dir string) {
	t.Helper()
	sum, packed := crc32.NewIEEE(), map[string][]byte{}
	for _, name := range []string{"first", "zero", "last"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		w, err := flate.NewWriter(&b, 1)
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.Write(data)
		if err = errors.Join(err, w.Flush()); name == "last" { // flushed, so that another piece can follow
			err = errors.Join(err, w.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
		packed[name] = b.Bytes()
		for range map[string]int{"first": 1, "zero": zeros, "last": 1}[name] {
			_, _ = sum.Write(data) // never fails
		}
	}
	body := slices.Concat(packed["first"], bytes.Repeat(packed["zero"], zeros), packed["last"])
	f, err := os.Create(filepath.Join(dir, "in"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z := zip.NewWriter(f)
	w, err := z.CreateRaw(&zip.FileHeader{Name: "big.img", Method: zip.Deflate, CRC32: sum.Sum32(), CompressedSize64: uint64(len(body)), UncompressedSize64: bigSize})
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Write(body)
	if err = errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
}

// pipeline runs a shell command in dir.
func pipeline(t *testing.T, dir, command string) {
	t.Helper()
	cmd := exec.Command("bash", "-e", "-o", "pipefail", "-c", command)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
}

// Whatever the size and the format of an image, the program as it is shipped takes less memory than is promised, also
// where the format asks for the largest dictionary that is accepted. The same big image comes out each time.
func TestMemoryOfBigImages(t *testing.T) {
	dir := t.TempDir()
	program := buildProgram(t, dir)
	pieces(t, dir)
	join := func(pack string) string {
		return fmt.Sprintf("for p in first zero last; do %s <$p >$p.p; done; { cat first.p; for i in {1..%d}; do cat zero.p; done; cat last.p; } >in", pack, zeros)
	}
	tests := []struct {
		name, make string
		size       int64
	}{
		{"raw", fmt.Sprintf("cp first in; truncate -s %d in; tail -c 1M last | dd of=in bs=1M seek=%d conv=notrunc status=none", bigSize, bigSize>>20-1), bigSize},
		{"gzip", join("gzip -1 -c"), bigSize},
		{"zip", "", bigSize},
		{"zstd", "cat first zero | zstd -q --long=23 -c >in", 2 * piece},
		{"xz", "cat first zero | xz -0 --lzma2=preset=0,dict=8MiB -c >in", 2 * piece},
		{"xz in blocks", "xz -0 --lzma2=preset=0,dict=8MiB --block-size=4MiB -c <first >in", piece},
		{"bzip2", "bzip2 -9 -c <first >in", piece},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			work := filepath.Join(dir, "work")
			pipeline(t, dir, "rm -rf work in; "+tt.make)
			if tt.name == "zip" {
				bigZip(t, dir)
			}
			input := filepath.Join(dir, "m.json")
			doc := `{"schema":"migration/1","config":{"image":{"path":"in"},"disk":{"min_free_mb":0}}}`
			if err := os.WriteFile(input, []byte(doc), 0o600); err != nil {
				t.Fatal(err)
			}
			args := []string{"step", "prepare-image", "--json", "--root", t.TempDir(), "--work-dir", work, "--input", input}
			if mb := peakOf(t, program, args); mb >= promised {
				t.Errorf("%.1f MB of memory, %d are promised", mb, promised)
			} else {
				t.Logf("%.1f MB of memory", mb)
			}
			index := readIndexFile(t, filepath.Join(work, "image.index.json"))
			if index.RawSize != tt.size {
				t.Errorf("%d bytes raw, want %d", index.RawSize, tt.size)
			}
			if last := index.Members[len(index.Members)-1]; tt.size == bigSize && last.Zero {
				t.Error("the data at the end got lost")
			}
		})
	}
}

func readIndexFile(t *testing.T, name string) *schema.ImageIndex {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var data bytes.Buffer
	if _, err := io.Copy(&data, f); err != nil {
		t.Fatal(err)
	}
	var index schema.ImageIndex
	if err := schema.Decode(data.Bytes(), name, "image-index", &index); err != nil {
		t.Fatal(err)
	}
	return &index
}
