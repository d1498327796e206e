package inplace_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/inplace"
)

// strict is a disk as O_DIRECT has it: what is not aligned is refused.
type strict struct {
	data   []byte
	sector int64
}

func (d strict) ReadAt(p []byte, off int64) (int, error) {
	if off%d.sector != 0 || int64(len(p))%d.sector != 0 {
		return 0, fmt.Errorf("%d bytes at %d: not in sectors of %d", len(p), off, d.sector)
	}
	return bytes.NewReader(d.data).ReadAt(p, off)
}

func noise(n int, seed uint64) []byte {
	out := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(seed)}).Read(out) // never fails
	return out
}

// lay puts a file's extents on a disk and returns what New wants.
func lay(file []byte, disk []byte, extents []schema.Extent) (held []byte) {
	for _, e := range extents {
		copy(disk[e.DiskOffset:], file[e.Logical:e.Logical+e.Length])
	}
	for _, g := range inplace.Gaps(extents, int64(len(file))) {
		held = append(held, file[g.Off:g.Off+g.Length]...)
	}
	return held
}

func TestReaderIsTheFile(t *testing.T) {
	file := noise(300_001, 1)
	size := int64(len(file))
	for name, extents := range map[string][]schema.Extent{
		"held":             nil,
		"on the disk":      {{Logical: 0, DiskOffset: 4096, Length: size}},
		"old partition":    {{Logical: 0, DiskOffset: 63 * 512, Length: size}},
		"in pieces":        {{Logical: 4096, DiskOffset: 700_416, Length: 8192}, {Logical: 12288, DiskOffset: 4096, Length: 100_000}, {Logical: 200_000, DiskOffset: 401_408 + 17, Length: 100_001}},
		"to the very end":  {{Logical: 0, DiskOffset: 1<<20 - 300_001, Length: size}},
		"a byte at a time": {{Logical: 1, DiskOffset: 9000, Length: 1}, {Logical: 3, DiskOffset: 8999, Length: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			disk := noise(1<<20, 2)
			held := lay(file, disk, extents)
			if err := inplace.Check(extents, size, 0, int64(len(disk))); err != nil {
				t.Fatal(err)
			}
			// Small buffers, so that reads are in many parts, and two of them for many readers.
			d := inplace.NewDisk(strict{data: disk, sector: 512}, int64(len(disk)), make([]byte, 8192), make([]byte, 4096))
			r, err := inplace.New(size, extents, held, d)
			if err != nil {
				t.Fatal(err)
			}
			var wg sync.WaitGroup
			for seed := range uint64(8) {
				wg.Go(func() { readAll(t, r, file, seed) })
			}
			wg.Wait()
		})
	}
}

func readAll(t *testing.T, r *inplace.Reader, file []byte, seed uint64) {
	got, err := io.ReadAll(io.NewSectionReader(r, 0, r.Size()))
	if err != nil || !bytes.Equal(got, file) {
		t.Errorf("whole: %v, equal: %v", err, bytes.Equal(got, file))
	}
	src := rand.New(rand.NewPCG(seed, 3))
	for range 100 {
		off := src.IntN(len(file))
		p := make([]byte, src.IntN(20_000))
		n, err := r.ReadAt(p, int64(off))
		want := file[off:min(len(file), off+len(p))]
		if !bytes.Equal(p[:n], want) || (n < len(p)) != errors.Is(err, io.EOF) {
			t.Errorf("%d bytes at %d: %d, %v", len(p), off, n, err)
		}
	}
}

// What is in memory stays what it is, whatever is written to the disk before the extents.
func TestWritingBeforeTheExtentsDoesNotShow(t *testing.T) {
	file, disk := noise(200_000, 1), noise(1<<20, 2)
	const written = 300_000
	all := []schema.Extent{{Logical: 0, DiskOffset: 250_000, Length: 120_000}, {Logical: 120_000, DiskOffset: 8192, Length: 80_000}}
	for _, e := range all {
		copy(disk[e.DiskOffset:], file[e.Logical:e.Logical+e.Length])
	}
	extents := inplace.Beyond(all, int64(len(file)), written)
	if want := []schema.Extent{{Logical: 50_000, DiskOffset: written, Length: 70_000}}; !reflect.DeepEqual(extents, want) {
		t.Fatalf("beyond: %+v, want %+v", extents, want)
	}
	r, err := inplace.New(int64(len(file)), extents, lay(file, disk, extents), inplace.NewDisk(bytes.NewReader(disk), 1<<20, make([]byte, 4096)))
	if err != nil {
		t.Fatal(err)
	}
	clear(disk[:written])
	readAll(t, r, file, 1)
}

func TestCheckRefuses(t *testing.T) {
	const size, written, disk = 10_000, 1 << 20, 2 << 20
	for _, c := range []struct {
		want    string
		extents []schema.Extent
	}{
		{"", nil},
		{"", []schema.Extent{{Logical: 0, DiskOffset: written, Length: size}}},
		{"overlaps", []schema.Extent{{Logical: 0, DiskOffset: written - 1, Length: size}}},
		{"overlaps", []schema.Extent{{Logical: 0, DiskOffset: -5, Length: size}}},
		{"the disk ends", []schema.Extent{{Logical: 0, DiskOffset: disk - size + 1, Length: size}}},
		{"the disk ends", []schema.Extent{{Logical: 0, DiskOffset: 1<<63 - 1, Length: size}}},
		{"before its end", []schema.Extent{{Logical: 1, DiskOffset: written, Length: size}}},
		{"before its end", []schema.Extent{{Logical: 0, DiskOffset: written, Length: 0}}},
		{"before its end", []schema.Extent{{Logical: 5, DiskOffset: written, Length: 1<<63 - 1}}},
		{"expected them behind 100", []schema.Extent{{Logical: 0, DiskOffset: written, Length: 100}, {Logical: 99, DiskOffset: written + 200, Length: 10}}},
		{"expected them behind 0", []schema.Extent{{Logical: -1, DiskOffset: written, Length: 10}}},
	} {
		err := inplace.Check(c.extents, size, written, disk)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.extents, err, c.want)
		}
	}
}

func TestContains(t *testing.T) {
	all := []schema.Extent{{Logical: 0, DiskOffset: 100, Length: 50}, {Logical: 50, DiskOffset: 150, Length: 50}, {Logical: 100, DiskOffset: 900, Length: 10}}
	for _, c := range []struct {
		want   bool
		wanted []schema.Extent
	}{
		{true, nil},
		{true, all},
		{true, []schema.Extent{{Logical: 10, DiskOffset: 110, Length: 80}}}, // merged
		{true, []schema.Extent{{Logical: 105, DiskOffset: 905, Length: 5}}},
		{false, []schema.Extent{{Logical: 10, DiskOffset: 111, Length: 10}}},
		{false, []schema.Extent{{Logical: 90, DiskOffset: 190, Length: 20}}}, // moved in the middle
		{false, []schema.Extent{{Logical: 105, DiskOffset: 905, Length: 6}}},
		{false, []schema.Extent{{Logical: 200, DiskOffset: 1000, Length: 1}}},
	} {
		if got := inplace.Contains(all, c.wanted); got != c.want {
			t.Errorf("%+v: %v, want %v", c.wanted, got, c.want)
		}
	}
}

func TestErrors(t *testing.T) {
	whole := []schema.Extent{{Logical: 0, DiskOffset: 0, Length: 10_000}}
	if _, err := inplace.New(10_000, nil, make([]byte, 9_999), nil); err == nil {
		t.Error("a byte is missing, and nobody noticed")
	}
	r, err := inplace.New(10_000, whole, nil, inplace.NewDisk(bytes.NewReader(make([]byte, 8192)), 1<<20, make([]byte, 4096)))
	if err != nil {
		t.Fatal(err)
	}
	if n, err := r.ReadAt(make([]byte, 10_000), 0); err == nil || n != 0 {
		t.Errorf("a disk that is shorter than it says: %d, %v", n, err)
	}
	if _, err := r.ReadAt(make([]byte, 1), -1); err == nil {
		t.Error("negative offset")
	}
}

// FuzzExtents: any list of extents is refused, or reads as it was laid.
func FuzzExtents(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1, 0, 16, 0, 32, 1, 0, 0, 16}, uint16(9000))
	f.Fuzz(func(t *testing.T, raw []byte, n uint16) {
		const written, diskSize = 1 << 14, 1 << 17
		var all []schema.Extent
		for ; len(raw) >= 6 && len(all) < 16; raw = raw[6:] {
			all = append(all, schema.Extent{
				Logical: int64(int16(binary.LittleEndian.Uint16(raw))), DiskOffset: 2 * int64(binary.LittleEndian.Uint16(raw[2:])),
				Length: int64(int16(binary.LittleEndian.Uint16(raw[4:]))),
			})
		}
		file, disk := noise(int(n), 1), make([]byte, diskSize)
		if inplace.Check(all, int64(n), 0, diskSize) != nil {
			return
		}
		extents := inplace.Beyond(all, int64(n), written)
		if err := inplace.Check(extents, int64(n), written, diskSize); err != nil {
			t.Fatalf("beyond of %+v is %+v: %v", all, extents, err)
		}
		if !inplace.Contains(all, extents) {
			t.Fatalf("%+v is not in %+v", extents, all)
		}
		held := lay(file, disk, extents)
		r, err := inplace.New(int64(n), extents, held, inplace.NewDisk(strict{disk, 512}, diskSize, make([]byte, 4096)))
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, n)
		if m, err := r.ReadAt(got, 0); m != len(got) || err != nil {
			t.Fatalf("%d of %d bytes, %v", m, n, err)
		}
		want := append([]byte{}, file...)
		for _, e := range extents { // two extents at one place hold what was laid last
			copy(want[e.Logical:e.Logical+e.Length], disk[e.DiskOffset:])
		}
		if !bytes.Equal(got, want) {
			t.Error("not the file")
		}
	})
}
