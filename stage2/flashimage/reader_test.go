package flashimage

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/goccy/go-json"

	"github.com/balena-community/balena-migrate/schema"
)

func cloneIndex(x *schema.ImageIndex) *schema.ImageIndex {
	c := *x
	c.Members = slices.Clone(x.Members)
	return &c
}

// A flipped bit in any byte of the file is noticed by VerifyAll, and Chunk never returns wrong bytes.
func TestEveryFlippedByteIsNoticed(t *testing.T) {
	const size = testChunk / 2
	raw := rawImage(3 * testChunk)[size : 5*size] // noise, two of zeros, text
	file, index := mustEncode(t, raw, Options{ChunkSize: size})
	for at := range file {
		bad := bytes.Clone(file)
		bad[at] ^= 1 << (at % 8)
		r, err := NewReader(bytes.NewReader(bad), index)
		if err != nil {
			t.Fatal(err)
		}
		err = r.VerifyAll(context.Background(), 1, nil)
		var chunk *ChunkError
		var whole *FileError
		if !errors.As(err, &chunk) && !errors.As(err, &whole) {
			t.Fatalf("byte %d flipped: error %v", at, err)
		}
		i, _ := slices.BinarySearchFunc(index.Members, int64(at), func(m schema.ImageMember, at int64) int {
			if at >= m.Offset+m.Length {
				return -1
			}
			return max(0, int(m.Offset-at))
		})
		if chunk != nil && chunk.Chunk != i {
			t.Errorf("byte %d flipped in member %d: %v", at, i, err)
		}
		got, err := r.Chunk(i, nil)
		if err == nil && !bytes.Equal(got, raw[i*size:(i+1)*size]) {
			t.Fatalf("byte %d flipped: chunk %d has wrong bytes", at, i)
		}
	}
}

func TestDamageIsNamed(t *testing.T) {
	raw := rawImage(6 * testChunk)
	file, index := mustEncode(t, raw, Options{ChunkSize: testChunk})
	m := index.Members[2] // text
	sum := index.Members[2].SHA256
	other := strings.Repeat("0", 64)
	tests := []struct {
		name   string
		file   func([]byte) []byte
		index  func(*schema.ImageIndex)
		damage Damage
		text   string
	}{
		{name: "magic", file: flip(m.Offset), damage: DamageHeader},
		{name: "method", file: flip(m.Offset + 2), damage: DamageHeader},
		{name: "checksum", file: flip(m.Offset + m.Length - 8), damage: DamageChecksum},
		{name: "size field", file: flip(m.Offset + m.Length - 4), damage: DamageChecksum},
		{name: "truncated", file: func(p []byte) []byte { return p[:m.Offset+m.Length-1] }, damage: DamageTruncated},
		{name: "gone", file: func(p []byte) []byte { return p[:m.Offset] }, damage: DamageTruncated},
		{name: "digest", index: func(x *schema.ImageIndex) { x.Members[2].SHA256 = other }, damage: DamageDigest, text: "got " + sum + ", want " + other},
		{name: "zero", index: func(x *schema.ImageIndex) {
			x.Members[2] = schema.ImageMember{Offset: m.Offset, Length: m.Length, Zero: true}
		}, damage: DamageNotZero},
		{name: "cut early", index: func(x *schema.ImageIndex) { x.Members[2].Length--; x.Members[3].Offset--; x.Members[3].Length++ }, damage: DamageData},
		{name: "cut late", index: func(x *schema.ImageIndex) { x.Members[2].Length++; x.Members[3].Offset++; x.Members[3].Length-- }, damage: DamageTrailing},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bad, x := bytes.Clone(file), cloneIndex(index)
			if tt.file != nil {
				bad = tt.file(bad)
			}
			if tt.index != nil {
				tt.index(x)
			}
			r, err := NewReader(bytes.NewReader(bad), x)
			if err != nil {
				t.Fatal(err)
			}
			_, err = r.Chunk(2, nil)
			checkDamage(t, err, tt.damage, tt.text)
			checkDamage(t, r.VerifyAll(context.Background(), 4, nil), tt.damage, tt.text)
		})
	}
}

func flip(at int64) func([]byte) []byte {
	return func(p []byte) []byte { p[at] ^= 0x10; return p }
}

func checkDamage(t *testing.T, err error, want Damage, text string) {
	t.Helper()
	var e *ChunkError
	if !errors.As(err, &e) || e.Damage != want || e.Chunk != 2 || e.RawOffset != 2*testChunk {
		t.Fatalf("error %v, want %q in chunk 2", err, want)
	}
	if !strings.Contains(err.Error(), text) {
		t.Errorf("error %v, want %q in it", err, text)
	}
}

// Chunks of another size: a raw size that the index gets wrong by one byte, in both directions.
func TestLastChunkOfWrongSize(t *testing.T) {
	file, index := mustEncode(t, rawImage(2*testChunk+100), Options{ChunkSize: testChunk})
	for _, size := range []int64{2*testChunk + 99, 2*testChunk + 101} {
		x := cloneIndex(index)
		x.RawSize = size
		r, err := NewReader(bytes.NewReader(file), x)
		if err != nil {
			t.Fatal(err)
		}
		_, err = r.Chunk(2, nil)
		checkDamage(t, err, DamageSize, "")
	}
}

func TestUnreadable(t *testing.T) {
	file, index := mustEncode(t, rawImage(4*testChunk), Options{ChunkSize: testChunk})
	bad := &badSector{data: file, at: index.Members[2].Offset + 7}
	r, err := NewReader(bad, index)
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.Chunk(2, nil)
	checkDamage(t, err, DamageRead, "")
	err = r.VerifyAll(context.Background(), 2, nil)
	checkDamage(t, err, DamageRead, "")
	if !errors.Is(err, iotest.ErrTimeout) {
		t.Errorf("error %v, want the cause in it", err)
	}
}

// badSector can't read the byte at.
type badSector struct {
	data []byte
	at   int64
}

func (b *badSector) ReadAt(p []byte, off int64) (int, error) {
	if off <= b.at && b.at < off+int64(len(p)) {
		return 0, iotest.ErrTimeout
	}
	return bytes.NewReader(b.data).ReadAt(p, off)
}

func TestVerifyAllOfTheWhole(t *testing.T) {
	file, index := mustEncode(t, rawImage(4*testChunk), Options{ChunkSize: testChunk})
	other := strings.Repeat("0", 64)
	tests := []struct {
		what string
		edit func(x *schema.ImageIndex, file []byte) []byte
	}{
		{"gzip file", func(x *schema.ImageIndex, f []byte) []byte { x.GzipSHA256 = other; return f }},
		{"gzip file", func(_ *schema.ImageIndex, f []byte) []byte { f[4] = 1; return f }}, // time stamp in the first header
		{"raw image", func(x *schema.ImageIndex, f []byte) []byte { x.RawSHA256 = other; return f }},
		{"gzip file size", func(_ *schema.ImageIndex, f []byte) []byte { return append(f, 0) }},
	}
	for _, tt := range tests {
		x := cloneIndex(index)
		r, err := NewReader(bytes.NewReader(tt.edit(x, bytes.Clone(file))), x)
		if err != nil {
			t.Fatal(err)
		}
		var e *FileError
		if err := r.VerifyAll(context.Background(), 2, nil); !errors.As(err, &e) || e.What != tt.what || e.Got == e.Want {
			t.Errorf("error %v, want one about %s", err, tt.what)
		}
	}
}

func TestVerifyAllStopsWhenCancelled(t *testing.T) {
	file, index := mustEncode(t, rawImage(40*testChunk), Options{ChunkSize: testChunk})
	r, err := NewReader(bytes.NewReader(file), index)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	err = r.VerifyAll(ctx, 1, func(int64) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
}

func TestChunkNumber(t *testing.T) {
	file, index := mustEncode(t, rawImage(10), Options{ChunkSize: testChunk})
	r, err := NewReader(bytes.NewReader(file), index)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{-1, 1} {
		if _, err := r.Chunk(i, nil); err == nil {
			t.Errorf("chunk %d: no error", i)
		}
	}
}

func TestView(t *testing.T) {
	raw := rawImage(11*testChunk + 9)
	file, index := mustEncode(t, raw, Options{ChunkSize: testChunk})
	r, err := NewReader(bytes.NewReader(file), index)
	if err != nil {
		t.Fatal(err)
	}
	v := r.View()
	if err := iotest.TestReader(io.NewSectionReader(v, 0, v.Size()), raw); err != nil {
		t.Error(err)
	}
	for _, at := range []int{0, 90000, 5, 30000, 8190, 60000, 0, 16384, 8191} {
		got := make([]byte, 100)
		n, err := v.ReadAt(got, int64(at))
		if want := raw[at:min(at+100, len(raw))]; !bytes.Equal(got[:n], want) || (n < 100) != errors.Is(err, io.EOF) {
			t.Errorf("at %d: %d bytes, error %v", at, n, err)
		}
	}
	if _, err := v.ReadAt(make([]byte, 1), -1); err == nil {
		t.Error("negative offset: no error")
	}
	file[index.Members[5].Offset] = 0
	if _, err := r.View().ReadAt(make([]byte, 2), 5*testChunk-1); err == nil {
		t.Error("damaged chunk: no error")
	}
}

func TestIndexIsRefused(t *testing.T) {
	_, index := mustEncode(t, rawImage(3*testChunk+1), Options{ChunkSize: testChunk})
	tests := []struct {
		want string
		edit func(*schema.ImageIndex)
	}{
		{`schema is "image-index/2", want "image-index/1"`, func(x *schema.ImageIndex) { x.Schema = "image-index/2" }},
		{"chunk_size is 0,", func(x *schema.ImageIndex) { x.ChunkSize = 0 }},
		{"chunk_size is 8193,", func(x *schema.ImageIndex) { x.ChunkSize++ }},
		{"chunk_size is 1073741824,", func(x *schema.ImageIndex) { x.ChunkSize = 1 << 30 }},
		{"raw_size is -1,", func(x *schema.ImageIndex) { x.RawSize = -1 }},
		{"4 members, want 1125899906842624 for", func(x *schema.ImageIndex) { x.RawSize = 1<<63 - 1 }},
		{"3 members, want 4 for", func(x *schema.ImageIndex) { x.Members = x.Members[:3] }},
		{`gzip_sha256 is ""`, func(x *schema.ImageIndex) { x.GzipSHA256 = "" }},
		{"raw_sha256 is", func(x *schema.ImageIndex) { x.RawSHA256 = strings.ToUpper(x.RawSHA256) }},
		{"members end at", func(x *schema.ImageIndex) { x.GzipSize++ }},
		{"member 2: offset is", func(x *schema.ImageIndex) { x.Members[2].Offset++ }},
		{"member 0: offset is 1, want 0", func(x *schema.ImageIndex) { x.Members[0].Offset = 1 }},
		{"member 1: length is 19 at offset", func(x *schema.ImageIndex) { x.Members[1].Length = 19 }},
		{"member 1: length is -5", func(x *schema.ImageIndex) { x.Members[1].Length = -5 }},
		{"member 1: length is 4611686018427387904", func(x *schema.ImageIndex) { x.Members[1].Length = 1 << 62 }},
		{"member 1: zero and sha256", func(x *schema.ImageIndex) { x.Members[1].SHA256 = x.RawSHA256 }},
		{`member 0: sha256 is ""`, func(x *schema.ImageIndex) { x.Members[0].SHA256 = "" }},
	}
	for _, tt := range tests {
		x := cloneIndex(index)
		tt.edit(x)
		if _, err := NewReader(bytes.NewReader(nil), x); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("error %v, want %q", err, tt.want)
		}
	}
}

// A fuzzed index either is refused or describes a file that can be read without surprises.
func FuzzIndex(f *testing.F) {
	file, index := mustEncode(f, rawImage(2*testChunk+5), Options{ChunkSize: testChunk})
	doc, err := json.Marshal(index)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(doc)
	f.Add([]byte(`{"schema":"image-index/1","raw_size":9223372036854775807,"chunk_size":4096,"members":[{"length":9223372036854775807}]}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		var x schema.ImageIndex
		if json.Unmarshal(doc, &x) != nil {
			return
		}
		r, err := NewReader(bytes.NewReader(file), &x)
		if err != nil {
			return
		}
		if r.VerifyAll(context.Background(), 1, nil) == nil && x.GzipSHA256 != index.GzipSHA256 {
			t.Errorf("another index verifies: %s", doc)
		}
	})
}

// Whatever is in the file: a chunk is either the right one or an error.
func FuzzChunk(f *testing.F) {
	raw := rawImage(3 * testChunk)
	file, index := mustEncode(f, raw, Options{ChunkSize: testChunk})
	for i, m := range index.Members {
		f.Add(i, file[m.Offset:m.Offset+m.Length])
	}
	f.Fuzz(func(t *testing.T, i int, member []byte) {
		x := cloneIndex(index)
		if i < 0 || i > 2 || len(member) < 20 || int64(len(member)) > x.MaxMember() {
			return
		}
		x.Members[i].Length = int64(len(member))
		r := &Reader{r: bytes.NewReader(append(make([]byte, x.Members[i].Offset), member...)), index: x}
		r.pool.New = func() any { return new(decoder) }
		got, err := r.Chunk(i, nil)
		if err == nil && !bytes.Equal(got, raw[i*testChunk:(i+1)*testChunk]) {
			t.Errorf("chunk %d has wrong bytes", i)
		}
	})
}
