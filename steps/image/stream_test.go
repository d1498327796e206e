package image

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
)

// inputOf makes content the operator's file.
func inputOf(t testing.TB, content []byte) input {
	t.Helper()
	name := filepath.Join(t.TempDir(), "in")
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return input{name: name, f: f, size: int64(len(content))}
}

// unpackAll returns the raw bytes and what of the file was seen by the digest.
func unpackAll(s stream) (raw, seen []byte, err error) {
	var tee bytes.Buffer
	r, err := s.unpack(context.Background(), &tee)
	if err != nil {
		return nil, nil, err
	}
	raw, err = io.ReadAll(r)
	return raw, tee.Bytes(), err
}

// Wherever a gzip file is cut, it is noticed, but for the seam between two members, which nobody can see.
func TestEveryCutIsNoticed(t *testing.T) {
	one := gzipWithHeader(t, noise(700))
	file := append(bytes.Clone(one), gzipWithHeader(t, noise(900))...)
	for n := range file {
		if n == len(one) {
			continue
		}
		_, _, err := unpackAll(gzipStream{inputOf(t, file[:n])})
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("cut at %d of %d: error %v", n, len(file), err)
		}
	}
	deflated := zipped(t, zip.Deflate, noise(500), "a")
	for n := range deflated {
		if src, err := openZip(inputOf(t, deflated[:n])); err == nil {
			t.Fatalf("zip cut at %d of %d: %v", n, len(deflated), src)
		}
	}
}

// gzipWithHeader uses every optional field of RFC 1952 that Go writes.
func gzipWithHeader(t testing.TB, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Name, w.Comment, w.Extra = "name", "comment", []byte("extra")
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// The digest of the operator's file covers every byte of it, once.
func TestTeeSeesTheWholeFile(t *testing.T) {
	raw := noise(3 * mib)
	stored := inputOf(t, zipped(t, zip.Store, raw, "d/", "d/a"))
	src, err := openZip(stored)
	if err != nil {
		t.Fatal(err)
	}
	streams := map[string]stream{"raw": rawStream{inputOf(t, raw)}, "gzip": gzipStream{inputOf(t, pack(t, raw, raw[:5]))}, "zip": src.(streamed).stream}
	for name, s := range streams {
		got, seen, err := unpackAll(s)
		file := make([]byte, len(seen))
		var in input
		switch s := s.(type) {
		case rawStream:
			in = s.input
		case gzipStream:
			in = s.input
		case zipStream:
			in = s.input
		}
		if _, err := in.f.ReadAt(file, 0); err != nil {
			t.Fatal(err)
		}
		if err != nil || !bytes.HasPrefix(got, raw) || int64(len(seen)) != in.size || !bytes.Equal(seen, file) {
			t.Errorf("%s: %d bytes, %d of %d seen, error %v", name, len(got), len(seen), in.size, err)
		}
	}
}

// A zip directory that says something else than the file is a lie, whichever of its fields it is.
func TestZipDirectoryIsCompared(t *testing.T) {
	good := zipped(t, zip.Deflate, bytes.Repeat([]byte("balena "), 1000), "a")
	at := bytes.LastIndex(good, []byte("PK\x01\x02"))
	for field, off := range map[string]int{"crc": 16, "size below": 24, "size above": 25, "packed size": 20} {
		bad := bytes.Clone(good)
		if bad[at+off]++; field == "size below" || field == "packed size" {
			bad[at+off] -= 2
		}
		src, err := openZip(inputOf(t, bad))
		if err == nil {
			_, _, err = unpackAll(src.(streamed).stream)
		}
		if err == nil {
			t.Errorf("%s: no error", field)
		}
	}
}

func TestWindow(t *testing.T) {
	content := noise(3*windowBlock + 1234)
	starts := 0
	w := newWindow(func() (io.Reader, error) { starts++; return iotest.HalfReader(bytes.NewReader(content)), nil })
	rng := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		off, n := rng.Int64N(int64(len(content))+100), rng.IntN(2*windowBlock)
		got := make([]byte, n)
		m, err := w.ReadAt(got, off)
		want := content[min(off, int64(len(content))):min(off+int64(n), int64(len(content)))]
		if !bytes.Equal(got[:m], want) || (m < n) != (err == io.EOF) {
			t.Fatalf("%d at %d: %d bytes, error %v", n, off, m, err)
		}
	}
	if starts > 4 {
		t.Errorf("the stream was started %d times for 4 blocks", starts)
	}
	if _, err := w.ReadAt(make([]byte, 1), reach); !errors.Is(err, errReach) {
		t.Errorf("beyond its reach: error %v", err)
	}
}

// A file system laid out backwards costs a bounded amount of memory and work.
func TestWindowIsBounded(t *testing.T) {
	read := int64(0)
	w := newWindow(func() (io.Reader, error) { return io.TeeReader(zeros{}, (*total)(&read)), nil })
	var err error
	for at := int64(100); at > 0 && err == nil; at-- {
		_, err = w.ReadAt(make([]byte, 1), at*windowBlock)
	}
	if !errors.Is(err, errReach) {
		t.Errorf("error %v", err)
	}
	if len(w.recent) > windowBlocks || read > maxRewinds*101*windowBlock {
		t.Errorf("%d blocks kept, %d bytes unpacked", len(w.recent), read)
	}
	boom := errors.New("boom")
	w = newWindow(func() (io.Reader, error) { return iotest.ErrReader(boom), nil })
	if _, err := w.ReadAt(make([]byte, 1), 5); !errors.Is(err, boom) {
		t.Errorf("error %v", err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

type total int64

func (t *total) Write(p []byte) (int, error) { *t += total(len(p)); return len(p), nil }

// Any bytes: what our reader makes of a gzip file is what Go's makes of it.
func FuzzGzip(f *testing.F) {
	f.Add(gzipWithHeader(f, []byte("hello")))
	f.Add(append(gzipWithHeader(f, nil), gzipWithHeader(f, []byte("hello"))...))
	f.Add([]byte("\x1f\x8b\x08"))
	f.Add([]byte("\x1f\x8b\bx\x00\x00\xff\x05\x00e\x1ctraname\x00comment\x00\xcaH\xcd\xc9\xc9\a\x04\x00\x00\xff\xff\x86\xa6\x106\x05\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, file []byte) {
		raw, _, err := unpackAll(gzipStream{inputOf(t, file)})
		var want []byte
		gz, wantErr := gzip.NewReader(bytes.NewReader(file))
		if wantErr == nil {
			want, wantErr = io.ReadAll(io.LimitReader(gz, 64*mib))
		}
		// RFC 1952 wants an error for reserved flags, which the standard library lets pass.
		if err != nil && wantErr == nil && strings.Contains(err.Error(), "invalid header") {
			return
		}
		if (err == nil) != (wantErr == nil) || err == nil && !bytes.Equal(raw, want) {
			t.Errorf("%d bytes, error %v; want %d bytes, error %v", len(raw), err, len(want), wantErr)
		}
	})
}

// Any bytes: a zip file gives its one file whole or an error, and reads nothing outside of itself.
func FuzzZip(f *testing.F) {
	f.Add(zipped(f, zip.Deflate, []byte("hello"), "a"))
	f.Add(zipped(f, zip.Store, []byte("hello"), "d/", "d/a"))
	f.Fuzz(func(t *testing.T, file []byte) {
		src, err := openZip(inputOf(t, file))
		if err != nil {
			return
		}
		raw, seen, err := unpackAll(src.(streamed).stream)
		if err == nil && (int64(len(raw)) != src.rawSize() || !bytes.Equal(seen, file)) {
			t.Errorf("%d bytes of %d, %d of %d seen", len(raw), src.rawSize(), len(seen), len(file))
		}
	})
}

// memory is a raw image in memory.
type memory struct {
	source
	data []byte
}

func (m memory) rawSize() int64                   { return int64(len(m.data)) }
func (m memory) view(context.Context) io.ReaderAt { return bytes.NewReader(m.data) }

// Any bytes: looking at them ends, and gives a table or a word.
func FuzzSurvey(f *testing.F) {
	f.Add(tinyDisk(f, "resin-boot"))
	f.Add(tinyDisk(f, "flash-boot"))
	f.Fuzz(func(t *testing.T, image []byte) {
		found, err := job{source: "x"}.glance(context.Background(), memory{data: image})
		var r *refusal
		if err == nil && found.table == "" || err != nil && !errors.As(err, &r) {
			t.Errorf("%+v, error %v", found, err)
		}
	})
}

// tinyDisk is an MBR right before the smallest file system, so that mutations hit what is read.
func tinyDisk(t testing.TB, label string) []byte {
	t.Helper()
	dir := t.TempDir()
	boot, file := filepath.Join(dir, "boot"), filepath.Join(dir, "device-type.json")
	tool(t, "", "mkfs.vfat", "-C", "-F", "12", "-r", "16", "-n", label, boot, "64")
	if err := os.WriteFile(file, []byte(deviceTypeJSON), 0o600); err != nil {
		t.Fatal(err)
	}
	tool(t, "", "mcopy", "-i", boot, file, "::")
	fat, err := os.ReadFile(boot)
	if err != nil {
		t.Fatal(err)
	}
	mbr := make([]byte, 512)
	mbr[446+4], mbr[446+8], mbr[446+12], mbr[510], mbr[511] = 0x0e, 1, byte(len(fat)/512), 0x55, 0xaa
	return append(mbr, fat...)
}

func TestTinyDisk(t *testing.T) {
	found, err := job{source: "x"}.glance(context.Background(), memory{data: tinyDisk(t, "resin-boot")})
	found.parts = nil
	if err != nil || !reflect.DeepEqual(found, findings{table: "mbr", deviceType: "genericx86-64-ext", arch: "amd64"}) {
		t.Errorf("%+v, error %v", found, err)
	}
}

// BenchmarkPrepare packs an image of which a third holds data that compresses to half, as an image of balenaOS is.
func BenchmarkPrepare(b *testing.B) {
	raw := make([]byte, 192*mib)
	words := noise(1 << 16)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := 0; i < len(raw)/3; i += 16 {
		copy(raw[i:i+16], words[rng.IntN(1<<12)*16:][:16])
	}
	for _, s := range []struct {
		name   string
		stream stream
	}{{"raw", rawStream{inputOf(b, raw)}}, {"gzip", gzipStream{inputOf(b, pack(b, raw))}}} {
		b.Run(fmt.Sprintf("%s-%dMiB", s.name, len(raw)/mib), func(b *testing.B) {
			b.SetBytes(int64(len(raw)))
			for b.Loop() {
				p := packing{w: io.Discard, tee: io.Discard, limit: maxRaw}
				if _, err := (streamed{s.stream}).pack(context.Background(), p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
