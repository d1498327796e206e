package flash

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/iotest"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/flashimage"
)

// Whatever the image, the disk then holds it: data in chunks, zeros in runs, and a last sector whose rest is zero.
// Nothing behind that is touched.
func TestWrite(t *testing.T) {
	cases := map[string]struct {
		image  string
		extra  int
		sector int64
		zeroed map[int64]int64
		writes map[int64]int
	}{
		"one chunk":             {image: "x", sector: 512, writes: map[int64]int{0: chunk}},
		"only zeros":            {image: "000", sector: 512, zeroed: map[int64]int64{0: 3 * chunk}},
		"runs of zeros":         {image: "00x000x0", sector: 512, zeroed: map[int64]int64{0: 2 * chunk, 3 * chunk: 3 * chunk, 7 * chunk: chunk}, writes: map[int64]int{2 * chunk: chunk, 6 * chunk: chunk}},
		"a partial sector":      {image: "0x", extra: 513, sector: 512, zeroed: map[int64]int64{0: chunk}, writes: map[int64]int{chunk: chunk + 1024}},
		"one byte":              {extra: 1, sector: 512, writes: map[int64]int{0: 512}},
		"large sectors":         {image: "x0", sector: 4096, zeroed: map[int64]int64{chunk: chunk}, writes: map[int64]int{0: chunk}},
		"a partial large one":   {image: "x", extra: 1, sector: 4096, writes: map[int64]int{0: chunk + 4096}},
		"whole sectors, no pad": {image: "x", extra: 1024, sector: 512, writes: map[int64]int{0: chunk + 1024}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			want := raw(c.image, c.extra)
			img, gz := encode(t, want, chunk)
			for how, write := range map[string]func(d *memoryDisk, m *meter) error{
				"by its index": func(d *memoryDisk, m *meter) error { return Write(context.Background(), d, img, m.options(3)) },
				"as a stream": func(d *memoryDisk, m *meter) error {
					x, _, err := Stream(context.Background(), d, iotest.HalfReader(bytes.NewReader(want)), int64(len(want)), m.options(3))
					if err == nil && x.RawSize != int64(len(want)) {
						err = fmt.Errorf("raw size %d", x.RawSize)
					}
					return err
				},
			} {
				d := newDisk(max(pad(int64(len(want)), c.sector), flashimage.DefaultChunkSize)+2*c.sector, c.sector)
				var m meter
				if err := write(d, &m); err != nil {
					t.Fatal(how, err)
				}
				padded := make([]byte, pad(int64(len(want)), c.sector))
				copy(padded, want)
				if !bytes.Equal(d.data[:len(padded)], padded) {
					t.Error(how, "the disk does not hold the image, zeros behind it")
				}
				if rest := d.data[len(padded):]; !bytes.Equal(rest, bytes.Repeat([]byte{0xee}, len(rest))) {
					t.Error(how, "something behind the image was written")
				}
				if how == "by its index" && (!maps.Equal(spans(d.writes), orEmpty(c.writes)) || !maps.Equal(d.zeroed, orEmpty(c.zeroed))) {
					t.Errorf("wrote %v and zeroed %v, want %v and %v", d.writes, d.zeroed, c.writes, c.zeroed)
				}
				if m.largest.Load() < int64(len(want)) || m.largest.Load() > int64(len(padded)) || m.retried.Load() != 0 {
					t.Errorf("%s: progress up to %d of %d, %d retries", how, m.largest.Load(), len(padded), m.retried.Load())
				}
				if err := Compare(context.Background(), d, img.Index(), m.options(3)); err != nil {
					t.Errorf("%s: compare: %v", how, err)
				}
			}
			var m meter
			if err := Verify(context.Background(), img, m.options(3)); err != nil || len(gz) == 0 {
				t.Errorf("verify: %v", err)
			}
		})
	}
}

// spans joins writes that lie side by side: how many there are depends on who is faster.
func spans(writes map[int64]int) map[int64]int {
	out := map[int64]int{}
	end, begin := int64(-1), int64(0)
	for _, off := range slices.Sorted(maps.Keys(writes)) {
		if off != end {
			begin = off
		}
		end = off + int64(writes[off])
		out[begin] = int(end - begin)
	}
	return out
}

func orEmpty[K comparable, V any](m map[K]V) map[K]V {
	if m == nil {
		return map[K]V{}
	}
	return m
}

// Zeros are zeroed in steps, so that progress is seen and one attempt is short.
func TestZerosInSteps(t *testing.T) {
	const size = 2*zeroStep + 1<<20
	img, _ := encode(t, make([]byte, size), 1<<20)
	d := newDisk(size, 512)
	var m meter
	if err := Write(context.Background(), d, img, m.options(2)); err != nil {
		t.Fatal(err)
	}
	want := map[int64]int64{0: zeroStep, zeroStep: zeroStep, 2 * zeroStep: 1 << 20}
	if !maps.Equal(d.zeroed, want) || len(d.writes) != 0 {
		t.Errorf("zeroed %v, wrote %v; want %v", d.zeroed, d.writes, want)
	}
}

// A disk that can't zero gets zeros written, and is not asked again; one that fails at it is asked as often as any.
func TestDiskThatCannotZero(t *testing.T) {
	want := raw("x000x", 700)
	copy(want[len(want)-700:], make([]byte, 700))
	for failure, asked := range map[error]int64{syscall.EOPNOTSUPP: 1, syscall.EIO: Attempts} {
		img, _ := encode(t, want, chunk)
		d := newDisk(int64(len(want))+324, 512)
		var zeroes atomic.Int64
		d.before = func(op string, _ int64) error {
			if op == "zero" {
				zeroes.Add(1)
				return failure
			}
			return nil
		}
		var m meter
		o := m.options(1)
		o.Memory = 3 * chunk // one writer, so that nobody asks meanwhile
		if err := Write(context.Background(), d, img, o); err != nil || !bytes.Equal(d.data[:len(want)], want) {
			t.Errorf("%v: %v, want the image", failure, err)
		}
		if zeroes.Load() != asked {
			t.Errorf("%v: asked %d times to zero, want %d", failure, zeroes.Load(), asked)
		}
	}
}

func TestFits(t *testing.T) {
	cases := []struct {
		raw, chunkSize, size, sector int64
		want                         string
	}{
		{raw: 8192, chunkSize: 4096, size: 8192, sector: 512},
		{raw: 8191, chunkSize: 4096, size: 8192, sector: 4096},
		{raw: 8193, chunkSize: 4096, size: 8192, sector: 512, want: "image of 8193 bytes: the disk has 8192"},
		{raw: 8192, chunkSize: 4096, size: 1 << 20, sector: 8192, want: "not a multiple of the disk's sectors of 8192"},
		{raw: 1030, chunkSize: 4096, size: 1031, sector: 512, want: "ends within the disk's last sector"},
	}
	for _, c := range cases {
		d := newDisk(c.size, c.sector)
		err := Fits(d, &schema.ImageIndex{RawSize: c.raw, ChunkSize: c.chunkSize})
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	img, _ := encode(t, raw("xx", 0), chunk)
	d := newDisk(chunk, 512)
	var m meter
	if err := Write(context.Background(), d, img, m.options(1)); err == nil || len(d.writes)+len(d.zeroed) > 0 {
		t.Errorf("an image that does not fit: %v, wrote %v", err, d.writes)
	}
}

// A chunk that fails is tried again by itself, as often as Attempts says; a panic is such a failure too, for it would
// end PID 1.
func TestRetries(t *testing.T) {
	want := raw("x0x0", 0)
	img, _ := encode(t, want, chunk)
	for what, failure := range map[string]func() error{
		"error": func() error { return syscall.EIO },
		"panic": func() error { panic("bad memory") },
	} {
		for failures := range Attempts + 1 {
			for _, op := range []string{"write", "zero"} {
				t.Run(fmt.Sprintf("%s %d times, %s", what, failures, op), func(t *testing.T) {
					d := newDisk(int64(len(want)), 512)
					var failed atomic.Int64
					at := map[string]int64{"write": 2 * chunk, "zero": chunk}[op]
					d.before = func(did string, off int64) error {
						if did == op && off == at && failed.Add(1) <= int64(failures) {
							return failure()
						}
						return nil
					}
					var m meter
					err := Write(context.Background(), d, img, m.options(2))
					if op == "zero" && failures == Attempts {
						if err != nil || !bytes.Equal(d.data, want) || m.retried.Load() != Attempts {
							t.Errorf("%v after %d retries; want zeros written, and word of it", err, m.retried.Load())
						}
						return
					}
					if failures < Attempts {
						if err != nil || !bytes.Equal(d.data, want) || m.retried.Load() != int64(failures) {
							t.Errorf("%v after %d retries; want the image on the disk after %d", err, m.retried.Load(), failures)
						}
						return
					}
					if err == nil || what == "error" && !errors.Is(err, syscall.EIO) || failed.Load() != Attempts {
						t.Errorf("%v after %d attempts, want an error after %d", err, failed.Load(), Attempts)
					}
					if what == "panic" && !strings.Contains(fmt.Sprint(err), "bad memory") {
						t.Errorf("%v, want what the panic said", err)
					}
				})
			}
		}
	}
}

// The first chunk that can't be written ends all: what is under way is finished, nothing else is begun.
func TestFirstErrorStopsAll(t *testing.T) {
	const slots, bad = 12, 10
	want := raw(strings.Repeat("x", 200), 0)
	img, _ := encode(t, want, chunk)
	d := newDisk(int64(len(want)), 512)
	var m meter
	d.before = func(_ string, off int64) error {
		if off == bad*chunk {
			return syscall.EIO
		}
		return nil
	}
	o := m.options(3)
	o.Memory = slots * chunk
	err := Write(context.Background(), d, img, o)
	if !errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), fmt.Sprintf("write %d bytes at %d:", chunk, bad*chunk)) {
		t.Errorf("%v, want %v and where, to the chunk", err, syscall.EIO)
	}
	for off, n := range d.writes {
		if end := off + int64(n); end > (bad+slots)*chunk {
			t.Errorf("written up to %d: the ring ends at %d, whose first chunk is the bad one", end, (bad+slots)*chunk)
		}
	}
}

// An interruption is noticed between two chunks and is the error.
func TestCancelled(t *testing.T) {
	want := raw(strings.Repeat("x", 100), 0)
	img, _ := encode(t, want, chunk)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	d := newDisk(int64(len(want)), 512)
	d.before = func(_ string, off int64) error {
		if off == 5*chunk {
			cancel()
		}
		return nil
	}
	var m meter
	if err := Write(ctx, d, img, m.options(1)); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want %v", err, context.Canceled)
	}
	if end := d.end(); end < 5*chunk || end > (5+leastSlots)*chunk {
		t.Errorf("written up to %d, want up to about the interruption at %d", end, 5*chunk)
	}
	before := len(d.writes)
	if err := Write(ctx, d, img, m.options(1)); !errors.Is(err, context.Canceled) || len(d.writes) != before {
		t.Errorf("begun after the interruption: %v, %d chunks", err, len(d.writes)-before)
	}
}

// Every byte of the image's range counts, the rest of the last sector's does not.
func TestCompareFindsEachDifference(t *testing.T) {
	want := raw("x00x", 100)
	img, _ := encode(t, want, chunk)
	cases := map[string]struct {
		at    int
		bad   bool
		wants string
	}{
		"first byte":          {0, true, "chunk 0 at 0"},
		"last of a chunk":     {chunk - 1, true, "chunk 0 at 0"},
		"first zero":          {chunk, true, "at 4096: expected 4096 zeros"},
		"last zero":           {3*chunk - 1, true, "at 8192: expected 4096 zeros"},
		"chunk behind zeros":  {3 * chunk, true, "chunk 3 at 12288"},
		"last byte":           {4*chunk + 99, true, "chunk 4 at 16384"},
		"behind the last one": {4*chunk + 100, false, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			d := newDisk(5*chunk, 512)
			var m meter
			if err := Write(context.Background(), d, img, m.options(2)); err != nil {
				t.Fatal(err)
			}
			d.data[c.at] ^= 0x10
			err := Compare(context.Background(), d, img.Index(), m.options(2))
			if errors.Is(err, ErrDiffers) != c.bad || c.bad && !strings.Contains(err.Error(), c.wants) {
				t.Errorf("%v, want a difference: %v, %q", err, c.bad, c.wants)
			}
		})
	}
	d := newDisk(5*chunk, 512)
	var m meter
	if err := Write(context.Background(), d, img, m.options(2)); err != nil {
		t.Fatal(err)
	}
	d.before = func(op string, off int64) error {
		if off == 2*chunk {
			return syscall.EIO
		}
		return nil
	}
	err := Compare(context.Background(), d, img.Index(), m.options(2))
	if !errors.Is(err, syscall.EIO) || errors.Is(err, ErrDiffers) {
		t.Errorf("unreadable: %v, want %v", err, syscall.EIO)
	}
}

// Before the first write, a rotten image is found, wherever the rot is in a chunk with data.
func TestVerifyFindsRot(t *testing.T) {
	img, gz := encode(t, raw("x0x", 10), chunk)
	for i, member := range img.Index().Members {
		if member.Zero {
			continue
		}
		gz[member.Offset+member.Length/2] ^= 1
		var m meter
		if err := Verify(context.Background(), img, m.options(2)); err == nil {
			t.Errorf("chunk %d is rotten, but verified", i)
		}
		gz[member.Offset+member.Length/2] ^= 1
	}
}

// Memory is what was granted, whatever the size of the image.
func TestMemoryIsBounded(t *testing.T) {
	for _, chunks := range []int{1, 500} {
		want := raw(strings.Repeat("x", chunks), 0)
		img, _ := encode(t, want, chunk)
		d := newDisk(int64(len(want)), 512)
		copy(d.data, want)
		for what, work := range map[string]func(Options) error{
			"write":   func(o Options) error { return Write(context.Background(), d, img, o) },
			"compare": func(o Options) error { return Compare(context.Background(), d, img.Index(), o) },
			"verify":  func(o Options) error { return Verify(context.Background(), img, o) },
		} {
			var m meter
			o := m.options(3)
			o.Memory = 7*chunk + 5
			if err := work(o); err != nil {
				t.Fatal(err)
			}
			if m.buffers.Load() != 1 || m.allocated.Load() != 7*chunk+blankSize {
				t.Errorf("%s of %d chunks: %d buffers of %d bytes together, want a ring of 7 chunks", what, chunks, m.buffers.Load(), m.allocated.Load())
			}
		}
	}
}

// sink is a disk that costs nothing.
type sink struct{ size int64 }

func (s sink) ReadAt(p []byte, _ int64) (int, error)  { return len(p), nil }
func (s sink) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }
func (s sink) ZeroRange(_, _ int64) error             { return nil }
func (s sink) Flush() error                           { return nil }
func (s sink) Size() int64                            { return s.size }
func (s sink) SectorSize() int64                      { return 512 }

// BenchmarkWrite is what inflating and checking costs, the disk left out: half of the image is noise, half is text.
func BenchmarkWrite(b *testing.B) {
	data := make([]byte, 64<<20)
	for i := 0; i < len(data); i += 2 << 20 {
		if _, err := rand.Read(data[i : i+1<<20]); err != nil {
			b.Fatal(err)
		}
		copy(data[i+1<<20:i+2<<20], bytes.Repeat([]byte("the quick brown fox jumps\n"), 1<<20/26+1))
	}
	img, _ := encode(b, data, 1<<20)
	var m meter
	o := m.options(runtime.NumCPU())
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if err := Write(context.Background(), sink{int64(len(data))}, img, o); err != nil {
			b.Fatal(err)
		}
	}
}
