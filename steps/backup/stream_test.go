package backup

import (
	"bytes"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"

	"github.com/klauspost/compress/gzip"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps/host"
	"github.com/balena-community/balena-migrate/steps/steptest"
)

// Whatever is written, long and short runs of zeros at the start, in the middle and at the end too, comes out again, by
// the standard's gzip, GNU's and BusyBox's.
func TestStreamIsGzip(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // test data
	zeros := func(n int) []byte { return make([]byte, n) }
	noise := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		return b
	}
	for name, writes := range map[string][][]byte{
		"nothing":        {},
		"a byte":         {noise(1)},
		"zeros":          {zeros(blockSize)},
		"long zeros":     {zeros(40 * blockSize)},
		"odd zeros":      {zeros(17*blockSize + 3)},
		"data and zeros": {noise(700_000), zeros(33 * blockSize), noise(5), zeros(16 * blockSize), zeros(15 * blockSize), noise(blockSize), zeros(100)},
		"zeros and data": {zeros(16 * blockSize), noise(3 * blockSize), zeros(15 * blockSize), noise(1)},
	} {
		var out, all bytes.Buffer
		s, err := newStream(&out)
		must(t, err)
		for _, w := range writes {
			for b := range slicesOf(w, blockSize) {
				n, err := s.Write(b)
				if must(t, err); n != len(b) {
					t.Errorf("%s: %d of %d bytes written", name, n, len(b))
				}
			}
			all.Write(w)
		}
		must(t, s.Close())
		gz, err := gzip.NewReader(bytes.NewReader(out.Bytes()))
		if all.Len() == 0 {
			continue // tar never writes nothing
		}
		must(t, err)
		if got, err := io.ReadAll(gz); err != nil || !bytes.Equal(got, all.Bytes()) {
			t.Errorf("%s: %d bytes, %v; expected %d", name, len(got), err, all.Len())
		}
		for _, program := range [][]string{{"gzip", "-dc"}, {"busybox", "gunzip", "-c"}} {
			cmd := exec.Command(program[0], program[1:]...)
			cmd.Stdin = bytes.NewReader(out.Bytes())
			if got, err := cmd.Output(); err != nil || !bytes.Equal(got, all.Bytes()) {
				t.Errorf("%s by %v: %d bytes, %v; expected %d", name, program, len(got), err, all.Len())
			}
		}
	}
}

// slicesOf cuts b into parts of at most n bytes.
func slicesOf(b []byte, n int) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(b) > 0 {
			part := b[:min(n, len(b))]
			if b = b[len(part):]; !yield(part) {
				return
			}
		}
	}
}

// A hole is zeros: the archive depends on the content, and not on how the file system keeps it.
func TestHolesAreZeros(t *testing.T) {
	digests := map[string]bool{}
	for _, mode := range []string{"--sparse=always", "--sparse=never"} {
		h := device(t, "- volume: v\n  items:\n  - source: /srv/sparse\n")
		must(t, os.MkdirAll(put(h, "/srv/sparse"), 0o755))
		sparseFile(t, put(h, "/srv/disk"))
		command(t, "cp", mode, put(h, "/srv/disk"), put(h, "/srv/sparse/disk"))
		for _, name := range []string{"/srv/sparse/disk", "/srv/sparse"} {
			must(t, os.Chtimes(put(h, name), h.Clock, h.Clock))
		}
		res := converge(t, steptest.RunOn(h), define(), schema.Converged)
		if warned := len(res.Warnings) == 1; warned != (mode == "--sparse=always") {
			t.Errorf("%s: warnings %q", mode, res.Warnings)
		}
		digests[res.Facts.Backup.SHA256] = true
	}
	if len(digests) != 1 {
		t.Errorf("%d different archives", len(digests))
	}
}

// counted counts what is read of a file.
type counted struct {
	host.File
	read int64
}

func (c *counted) ReadAt(p []byte, at int64) (int, error) {
	n, err := c.File.ReadAt(p, at)
	c.read += int64(n)
	return n, err
}

// Holes are not read.
func TestHolesAreSkipped(t *testing.T) {
	name := t.TempDir() + "/disk"
	sparseFile(t, name)
	f, err := host.At("/").Open(name)
	must(t, err)
	defer f.Close()
	want, err := os.ReadFile(name)
	must(t, err)
	file := &counted{File: f}
	c := newContent(file)
	var got bytes.Buffer
	for got.Len() < len(want) {
		block := make([]byte, min(blockSize, len(want)-got.Len()))
		n, err := c.next(block)
		must(t, err)
		got.Write(block[:n])
	}
	if !bytes.Equal(got.Bytes(), want) || file.read > 3*blockSize {
		t.Errorf("%d bytes, %d of them read; the same: %v", got.Len(), file.read, bytes.Equal(got.Bytes(), want))
	}
}
