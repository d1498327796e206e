package packed

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// tool packs content by the program that everybody uses.
func tool(t testing.TB, content []byte, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(name, append(args, "-c")...)
	cmd.Stdin = bytes.NewReader(content)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %v: %v", name, args, err)
	}
	return out
}

func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b) // never fails
	return b
}

// unpackAll is what a user of the package does.
func unpackAll(file []byte) (int64, []byte, error) {
	f, ok := Detect(file)
	if !ok {
		return 0, nil, errors.New("format not known")
	}
	size, err := f.RawSize(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		return 0, nil, err
	}
	r, err := f.Reader(bytes.NewReader(file))
	if err != nil {
		return 0, nil, err
	}
	raw, err := io.ReadAll(r)
	return size, raw, err
}

func TestWhatTheProgramsMake(t *testing.T) {
	raw := slices.Concat(noise(300_000), make([]byte, 3_000_000), noise(100_000))
	a, b := raw[:123_457], raw[123_457:]
	size := int64(len(raw))
	tests := []struct {
		name string
		file []byte
		size int64
	}{
		{"xz", tool(t, raw, "xz"), size},
		{"xz in blocks", tool(t, raw, "xz", "--block-size=65536"), size},
		{"xz by threads", tool(t, raw, "xz", "-T2", "--block-size=1000000"), size},
		{"xz with another check", tool(t, raw, "xz", "-C", "sha256"), size},
		{"xz, two streams and padding", slices.Concat(tool(t, a, "xz"), make([]byte, 8), tool(t, b, "xz", "-C", "crc32"), make([]byte, 4)), size},
		{"xz with all the dictionary there is", tool(t, raw, "xz", "-6"), size},
		{"zstd", tool(t, raw, "zstd"), -1},
		{"zstd, two frames and one to be skipped", slices.Concat([]byte("\x50\x2a\x4d\x18\x03\x00\x00\x00abc"), tool(t, a, "zstd"), tool(t, b, "zstd", "-19")), -1},
		{"zstd with all the window there is", tool(t, raw, "zstd", "--long=23"), -1},
		{"bzip2", tool(t, raw, "bzip2"), -1},
		{"bzip2, two streams", slices.Concat(tool(t, a, "bzip2"), tool(t, b, "bzip2", "-1")), -1},
	}
	for _, tt := range tests {
		size, got, err := unpackAll(tt.file)
		if err != nil || size != tt.size || !bytes.Equal(got, raw) {
			t.Errorf("%s: size %d, want %d; %d bytes, error %v", tt.name, size, tt.size, len(got), err)
		}
	}
}

// What would take too much memory, or what the libraries don't know, is told from damage.
func TestUnsupported(t *testing.T) {
	raw := noise(1 << 20)
	big := slices.Concat(raw, make([]byte, 40<<20))
	tests := []struct {
		file []byte
		want string
	}{
		{tool(t, raw, "xz", "-8"), "an xz dictionary of 32 MiB"},
		{slices.Concat(tool(t, raw, "xz"), tool(t, raw, "xz", "-9")), "an xz dictionary of 64 MiB"},
		{tool(t, raw, "xz", "--x86", "--lzma2"), "an xz filter other than LZMA2"},
		{tool(t, raw, "xz", "--delta=dist=4", "--lzma2"), "an xz filter other than LZMA2"},
		{tool(t, big, "zstd", "--long=25"), "a zstd window of more than 8 MiB"},
		{slices.Concat(tool(t, raw, "zstd"), tool(t, big, "zstd", "--long=27")), "a zstd window of more than 8 MiB"},
	}
	for _, tt := range tests {
		if _, _, err := unpackAll(tt.file); !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("error %v, want %s", err, tt.want)
		}
	}
}

// Wherever a file is cut, it is noticed, and so is a changed byte.
func TestDamageIsNoticed(t *testing.T) {
	raw := slices.Concat(noise(200), make([]byte, 5000))
	for _, args := range [][]string{{"xz", "--block-size=4096", "--lzma2=dict=64KiB"}, {"zstd"}, {"bzip2", "-1"}} {
		file := tool(t, raw, args[0], args[1:]...)
		for n := 0; n < len(file); n += 1 + len(file)/200 {
			if _, _, err := unpackAll(file[:n]); err == nil {
				t.Fatalf("%s cut at %d of %d: no error", args[0], n, len(file))
			}
			bad := bytes.Clone(file)
			bad[n] ^= 0x10
			if _, got, err := unpackAll(bad); err == nil && !bytes.Equal(got, raw) {
				t.Fatalf("%s with another byte at %d: other bytes come out and no error", args[0], n)
			}
		}
	}
}

// An index that lies about the file is an error and no endless work.
func TestLyingIndex(t *testing.T) {
	good := tool(t, noise(500), "xz")
	indexSize := (int(binary.LittleEndian.Uint32(good[len(good)-8:])) + 1) * 4
	at := len(good) - 12 - indexSize
	for _, field := range []int{1, 2, 3, 4} {
		for _, value := range []byte{0, 1, 0x7f, 0xff} {
			bad := bytes.Clone(good)
			index := bad[at : at+indexSize]
			index[field] = value
			binary.LittleEndian.PutUint32(index[indexSize-4:], crc32.ChecksumIEEE(index[:indexSize-4]))
			if _, _, err := unpackAll(bad); err == nil && !bytes.Equal(bad, good) {
				t.Errorf("field %d is %d: no error", field, value)
			}
		}
	}
}

func FuzzXZ(f *testing.F) {
	f.Add(tool(f, []byte("hello"), "xz"))
	f.Add(tool(f, make([]byte, 9000), "xz", "--block-size=4096"))
	f.Add(slices.Concat(tool(f, []byte("a"), "xz"), make([]byte, 4), tool(f, []byte("b"), "xz")))
	f.Fuzz(func(t *testing.T, file []byte) {
		format, ok := Detect(file)
		if !ok || format.Name != "xz" {
			return
		}
		size, err := format.RawSize(bytes.NewReader(file), int64(len(file)))
		if err != nil {
			return
		}
		r, err := format.Reader(bytes.NewReader(file))
		if err != nil {
			return
		}
		if n, err := io.Copy(io.Discard, io.LimitReader(r, 1<<20)); err == nil && n < 1<<20 && n != size {
			t.Errorf("%d bytes come out, the index says %d", n, size)
		}
	})
}

// Any bytes: unpacking them ends, without a panic and without more memory than is promised.
func FuzzStreams(f *testing.F) {
	f.Add(tool(f, []byte("hello"), "zstd"))
	f.Add(tool(f, make([]byte, 9000), "bzip2"))
	f.Fuzz(func(_ *testing.T, file []byte) {
		format, ok := Detect(file)
		if !ok || format.Name == "xz" {
			return
		}
		if r, err := format.Reader(bytes.NewReader(file)); err == nil {
			_, _ = io.Copy(io.Discard, io.LimitReader(r, 1<<20)) // any error will do
		}
	})
}
