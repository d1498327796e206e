package flashimage

import (
	"bytes"
	stdgzip "compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"testing"
	"testing/iotest"

	"github.com/goccy/go-json"
	"github.com/klauspost/compress/gzip"
	"github.com/santhosh-tekuri/jsonschema/v5"

	"github.com/balena-community/balena-migrate/schema"
)

const testChunk = 8192

// rawImage is n bytes of which every third chunk is zero, every third random and every third text.
func rawImage(n int) []byte {
	rng := rand.New(rand.NewPCG(1, uint64(n)))
	raw := make([]byte, n)
	for i := range raw {
		switch i / testChunk % 3 {
		case 0:
			raw[i] = byte(rng.Uint32())
		case 2:
			raw[i] = "balenaOS"[rng.Uint32()%8]
		}
	}
	return raw
}

func mustEncode(t testing.TB, raw []byte, opts Options) ([]byte, *schema.ImageIndex) {
	t.Helper()
	var out bytes.Buffer
	index, err := Encode(context.Background(), &out, bytes.NewReader(raw), opts)
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes(), index
}

func TestRoundTrip(t *testing.T) {
	for _, size := range []int{1, 511, testChunk - 1, testChunk, testChunk + 1, 2 * testChunk, 2*testChunk + 1, 37*testChunk + 123} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			raw := rawImage(size)
			var last int64
			file, index := mustEncode(t, raw, Options{ChunkSize: testChunk, Progress: func(n int64) { last = n }})
			if last != int64(size) || index.RawSize != int64(size) || index.GzipSize != int64(len(file)) {
				t.Errorf("progress %d, raw size %d, gzip size %d of %d", last, index.RawSize, index.GzipSize, len(file))
			}
			if index.RawSHA256 != hexSum(raw) || index.GzipSHA256 != hexSum(file) {
				t.Error("digest of the whole differs")
			}
			checkChunks(t, file, index, raw)
			checkStdGzip(t, file, raw)
			checkSchema(t, index)
		})
	}
}

func checkChunks(t *testing.T, file []byte, index *schema.ImageIndex, raw []byte) {
	t.Helper()
	r, err := NewReader(bytes.NewReader(file), index)
	if err != nil {
		t.Fatal(err)
	}
	var got, buf []byte
	var data int64
	for i, m := range index.Members {
		if buf, err = r.Chunk(i, buf); err != nil {
			t.Fatal(err)
		}
		if want := isZero(buf); m.Zero != want {
			t.Errorf("chunk %d: zero is %v", i, m.Zero)
		}
		if !m.Zero {
			data += int64(len(buf))
		}
		got = append(got, buf...)
	}
	if !bytes.Equal(got, raw) {
		t.Error("chunks differ from the raw image")
	}
	if index.DataSize() != data {
		t.Errorf("data size %d, want %d", index.DataSize(), data)
	}
	if err := r.VerifyAll(context.Background(), 2, nil); err != nil {
		t.Error(err)
	}
}

func checkStdGzip(t *testing.T, file, raw []byte) {
	t.Helper()
	gz, err := stdgzip.NewReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(gz); err != nil || !bytes.Equal(got, raw) {
		t.Errorf("standard gzip: %d bytes, error %v", len(got), err)
	}
}

func checkSchema(t *testing.T, index *schema.ImageIndex) {
	t.Helper()
	text, err := os.ReadFile("../../schema/image-index.json")
	if err != nil {
		t.Fatal(err)
	}
	s, err := jsonschema.CompileString("image-index.json", string(text))
	if err != nil {
		t.Fatal(err)
	}
	doc, err := json.Marshal(index)
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := json.Unmarshal(doc, &v); err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(v); err != nil {
		t.Errorf("index against its schema: %#v", err)
	}
}

func TestEncodeIsDeterministic(t *testing.T) {
	raw := rawImage(50*testChunk + 77)
	for _, level := range []int{1, 6, 9} {
		one, _ := mustEncode(t, raw, Options{ChunkSize: testChunk, Workers: 1, Level: level})
		for range 3 {
			eight, _ := mustEncode(t, raw, Options{ChunkSize: testChunk, Workers: 8, Level: level})
			if !bytes.Equal(one, eight) {
				t.Errorf("level %d: 1 and 8 workers write different files", level)
			}
		}
	}
}

func TestEncodeErrors(t *testing.T) {
	broken := errors.New("broken")
	raw := rawImage(20 * testChunk)
	cut := io.MultiReader(bytes.NewReader(raw[:3*testChunk+5]), iotest.ErrReader(broken))
	tests := []struct {
		name string
		r    io.Reader
		w    io.Writer
		opts Options
		want error
		text string
	}{
		{name: "empty", r: bytes.NewReader(nil), w: io.Discard, want: ErrEmpty},
		{name: "read error", r: cut, w: io.Discard, want: broken, text: "raw image at offset 24581: broken"},
		{name: "disk full", r: bytes.NewReader(raw), w: &fullWriter{room: 20000, err: broken}, want: broken},
		{name: "chunk size", r: bytes.NewReader(raw), w: io.Discard, opts: Options{ChunkSize: 5000},
			text: "chunk size 5000, want a multiple of 4096 up to 16777216"},
		{name: "level", r: bytes.NewReader(raw), w: io.Discard, opts: Options{Level: 10}, text: "gzip level 10, want 1 to 9"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.opts.ChunkSize == 0 {
				tt.opts.ChunkSize = testChunk
			}
			_, err := Encode(context.Background(), tt.w, tt.r, tt.opts)
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) || tt.text != "" && err.Error() != tt.text {
				t.Errorf("error %v, want %v %q", err, tt.want, tt.text)
			}
		})
	}
}

// fullWriter is a disk with room bytes left.
type fullWriter struct {
	room int
	err  error
}

func (w *fullWriter) Write(p []byte) (int, error) {
	if len(p) > w.room {
		return 0, w.err
	}
	w.room -= len(p)
	return len(p), nil
}

func TestEncodeStopsWhenCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	endless := zeroReader{}
	opts := Options{ChunkSize: testChunk, Progress: func(n int64) {
		if n > 100*testChunk {
			cancel()
		}
	}}
	if _, err := Encode(ctx, io.Discard, endless, opts); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// A device with bad memory must not make a bad image, even though gzip's own checksum was made of the bad bytes.
func TestEncodeNoticesBadMemory(t *testing.T) {
	raw := rawImage(30 * testChunk)
	tests := map[string]compressor{
		"while packing": func(gz *gzip.Writer, dst *bytes.Buffer, p []byte) error {
			bad := bytes.Clone(p)
			if bytes.Equal(p, raw[21*testChunk:22*testChunk]) {
				bad[100] ^= 4
			}
			return deflate(gz, dst, bad)
		},
		"in the packed member": func(gz *gzip.Writer, dst *bytes.Buffer, p []byte) error {
			err := deflate(gz, dst, p)
			if bytes.Equal(p, raw[21*testChunk:22*testChunk]) {
				dst.Bytes()[dst.Len()/2] ^= 4
			}
			return err
		},
		"in the member of zeros": func(gz *gzip.Writer, dst *bytes.Buffer, p []byte) error {
			err := deflate(gz, dst, p)
			if isZero(p) {
				dst.Bytes()[dst.Len()-6] ^= 4
			}
			return err
		},
	}
	for name, pack := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := encode(context.Background(), io.Discard, bytes.NewReader(raw), Options{ChunkSize: testChunk}, pack)
			if !errors.Is(err, ErrMachine) {
				t.Errorf("error %v, want %v", err, ErrMachine)
			}
		})
	}
}

func TestZeroMemberChangedInMemory(t *testing.T) {
	e := &encoder{pack: deflate, opts: Options{ChunkSize: testChunk, Level: 6}}
	if err := e.makeZeroMember(); err != nil {
		t.Fatal(err)
	}
	j := chunkJob{raw: make([]byte, testChunk)}
	if err := e.packChunk(nil, &j); err != nil || !j.member.Zero {
		t.Fatalf("chunk of zeros: %+v, error %v", j.member, err)
	}
	e.zero[12] ^= 1
	if err := e.packChunk(nil, &j); !errors.Is(err, ErrMachine) {
		t.Errorf("error %v, want %v", err, ErrMachine)
	}
}

func TestPipelineSurvivesPanic(t *testing.T) {
	n := 0
	p := pipeline[int]{
		feed:   func(j *int) (bool, error) { n++; *j = n; return true, nil },
		worker: func() func(*int) error { return func(j *int) error { _ = []int{0}[*j/50]; return nil } },
		sink:   func(*int) error { return nil },
	}
	if err := p.run(context.Background(), 3); err == nil || err.Error() != "panic: runtime error: index out of range [1] with length 1" {
		t.Errorf("error %v", err)
	}
}

func BenchmarkEncode(b *testing.B) {
	raw := benchImage(64 << 20)
	for _, level := range []int{1, 3, 5, 6, 7, 9} {
		b.Run(fmt.Sprintf("level=%d", level), func(b *testing.B) {
			b.SetBytes(int64(len(raw)))
			for b.Loop() {
				_, index := mustEncode(b, raw, Options{Level: level})
				b.ReportMetric(float64(index.GzipSize)/float64(len(raw))*100, "%size")
			}
		})
	}
}

func BenchmarkVerifyAll(b *testing.B) {
	raw := benchImage(64 << 20)
	file, index := mustEncode(b, raw, Options{})
	r, err := NewReader(bytes.NewReader(file), index)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(raw)))
	for b.Loop() {
		if err := r.VerifyAll(context.Background(), 0, nil); err != nil {
			b.Fatal(err)
		}
	}
}

// benchImage is one third zero, one third noise that gzip can do nothing about, and one third this test's own
// machine code over and over, in stretches of 4 MiB.
func benchImage(size int) []byte {
	code, err := os.ReadFile(os.Args[0])
	if err != nil {
		panic(err)
	}
	rng := rand.NewChaCha8([32]byte{})
	raw := make([]byte, size)
	for at, i := 0, 0; at < size; at, i = at+4<<20, i+1 {
		part := raw[at:min(at+4<<20, size)]
		switch i % 3 {
		case 0:
			copy(part, code[i<<19%(len(code)/2):])
		case 1:
			_, _ = rng.Read(part)
		}
	}
	return raw
}
