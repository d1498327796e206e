package flash

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"

	"github.com/balena-community/balena-migrate/stage2/flashimage"
)

// faultyDisk does something wrong on some of its operations, as its seed says, and says that all is well unless the fault is
// an error.
type faultyDisk struct {
	*memoryDisk
	mu    sync.Mutex
	rng   *rand.Rand
	kind  string
	left  int // faults still to come
	every int // one operation in so many
	did   []string
}

// faults are what disks do wrong.
var faults = []string{
	"write fails", "write is short", "write is torn", "write is dropped", "write is corrupted", "write goes elsewhere",
	"zero fails", "zero is dropped", "zero leaves ones", "zero goes elsewhere", "zero is torn",
	"read fails", "read is short", "read is corrupted", "read comes from elsewhere", "flush fails",
}

// strikes says whether this operation is one that goes wrong, and notes it.
func (d *faultyDisk) strikes(op string, off int64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !strings.HasPrefix(d.kind, op) || d.left == 0 || d.rng.IntN(d.every) != 0 {
		return false
	}
	d.left--
	d.did = append(d.did, fmt.Sprintf("%s at %d", d.kind, off))
	return true
}

func (d *faultyDisk) intn(n int64) int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rng.Int64N(n)
}

// elsewhere is another place for as many bytes.
func (d *faultyDisk) elsewhere(length int64) int64 {
	return d.intn((d.Size()-length)/d.sector+1) * d.sector
}

func (d *faultyDisk) WriteAt(p []byte, off int64) (int, error) {
	if !d.strikes("write", off) {
		return d.memoryDisk.WriteAt(p, off)
	}
	n := int64(len(p))
	part := d.intn(n/d.sector) * d.sector
	switch strings.TrimPrefix(d.kind, "write ") {
	case "fails":
		return 0, syscall.EIO
	case "is short":
		if part > 0 {
			_, _ = d.memoryDisk.WriteAt(p[:part], off)
		}
		return int(part), nil
	case "is torn":
		if part > 0 {
			_, _ = d.memoryDisk.WriteAt(p[:part], off)
		}
	case "is corrupted":
		bad := bytes.Clone(p)
		bad[d.intn(n)] ^= 1 << d.intn(8)
		return d.memoryDisk.WriteAt(bad, off)
	case "goes elsewhere":
		return d.memoryDisk.WriteAt(p, d.elsewhere(n))
	}
	return len(p), nil
}

func (d *faultyDisk) ZeroRange(off, length int64) error {
	if !d.strikes("zero", off) {
		return d.memoryDisk.ZeroRange(off, length)
	}
	part := d.intn(length/d.sector) * d.sector
	switch strings.TrimPrefix(d.kind, "zero ") {
	case "fails":
		return syscall.EIO
	case "leaves ones":
		_, err := d.memoryDisk.WriteAt(bytes.Repeat([]byte{0xff}, int(length)), off)
		return err
	case "goes elsewhere":
		return d.memoryDisk.ZeroRange(d.elsewhere(length), length)
	case "is torn":
		if part > 0 {
			return d.memoryDisk.ZeroRange(off, part)
		}
	}
	return nil
}

func (d *faultyDisk) ReadAt(p []byte, off int64) (int, error) {
	if !d.strikes("read", off) {
		return d.memoryDisk.ReadAt(p, off)
	}
	switch strings.TrimPrefix(d.kind, "read ") {
	case "fails":
		return 0, syscall.EIO
	case "is short":
		return len(p) / 2, nil
	case "comes from elsewhere":
		return d.memoryDisk.ReadAt(p, d.elsewhere(int64(len(p))))
	}
	n, err := d.memoryDisk.ReadAt(p, off)
	p[d.intn(int64(len(p)))] ^= 1 << d.intn(8)
	return n, err
}

func (d *faultyDisk) Flush() error {
	if d.strikes("flush", 0) {
		return syscall.EIO
	}
	return nil
}

// Whatever one disk does wrong, once, a few times or for ever: either the exact image is on it in the end, or there is an
// error. What goes wrong a few times is mended. The seed of a failure is in the name of its test.
func TestFaultsNeverPassInSilence(t *testing.T) {
	const seeds = 60
	want := raw("xx0x000xxx00x0xxxxx0", 700)
	img, _ := encode(t, want, chunk)
	mended := map[string]int{}
	for _, kind := range faults {
		for _, left := range []int{1, 2, -1} {
			for seed := range uint64(seeds) {
				t.Run(fmt.Sprintf("%s/%d times/seed %d", kind, left, seed), func(t *testing.T) {
					d := &faultyDisk{memoryDisk: newDisk(int64(len(want))+324, 512), rng: rand.New(rand.NewPCG(seed, 7)), kind: kind, left: left, every: 1 + int(seed%5)}
					var m meter
					o := m.options(2)
					o.Memory = int64(3+seed%7) * chunk
					rep, err := Flash(context.Background(), d, img, o)
					exact := bytes.Equal(d.data[:len(want)], want)
					if err == nil && !exact {
						t.Fatalf("a bad image in silence; the disk did: %v", d.did)
					}
					if err != nil && !named(err) {
						t.Errorf("%v: names no place", err)
					}
					if left == 1 && kind != "flush fails" && err != nil {
						t.Errorf("%v: not mended; the disk did: %v", err, d.did)
					}
					if err == nil && len(d.did) > 0 {
						mended[kind] += 1 + rep.Mended
					}
				})
			}
		}
		if mended[kind] == 0 && kind != "flush fails" {
			t.Errorf("%s: no run in which it came to that and was mended", kind)
		}
	}
}

// named says whether an error tells where, or is that of the flush, which is of all places.
func named(err error) bool {
	text := err.Error()
	return strings.Contains(text, " at ") || strings.Contains(text, "offset") || text == syscall.EIO.Error()
}

// The same for an image that comes as a stream: a chunk of it can't be had again, which is an error then.
func TestFaultsOfAStream(t *testing.T) {
	size := 3*flashimage.DefaultChunkSize + 700
	want := make([]byte, size)
	copy(want[:flashimage.DefaultChunkSize], raw(strings.Repeat("x", flashimage.DefaultChunkSize/chunk), 0))
	copy(want[2*flashimage.DefaultChunkSize:], raw(strings.Repeat("x", flashimage.DefaultChunkSize/chunk), 700))
	for _, kind := range faults {
		for seed := range uint64(6) {
			t.Run(fmt.Sprintf("%s/seed %d", kind, seed), func(t *testing.T) {
				d := &faultyDisk{memoryDisk: newDisk(int64(size)+324, 512), rng: rand.New(rand.NewPCG(seed, 9)), kind: kind, left: 1 + int(seed%2), every: 1 + int(seed%3)}
				var m meter
				_, _, err := Stream(context.Background(), d, bytes.NewReader(want), int64(size), m.options(2))
				if err == nil && !bytes.Equal(d.data[:size], want) {
					t.Fatalf("a bad image in silence; the disk did: %v", d.did)
				}
				if err != nil && !named(err) {
					t.Errorf("%v: names no place", err)
				}
			})
		}
	}
}

// An image that can't be read to its end, or is not as long as was said, is an error, and so is one that is too large.
func TestStreamsThatEndWrongly(t *testing.T) {
	data := bytes.Repeat([]byte{7}, 3<<20)
	cases := map[string]struct {
		read int
		size int64
		disk int64
		want string
	}{
		"breaks":    {read: -1, size: 3 << 20, disk: 4 << 20, want: "image at 1048581: broken"},
		"is cut":    {read: -2, disk: 4 << 20, want: "unexpected EOF"},
		"too short": {read: 2 << 20, size: 3 << 20, disk: 4 << 20, want: "2097152 bytes, expected 3145728"},
		"too long":  {read: 3 << 20, disk: 2 << 20, want: "the disk has 2097152"},
		"nothing":   {read: 0, disk: 4 << 20, want: "found no bytes"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r := iotest.HalfReader(bytes.NewReader(data[:max(c.read, 0)]))
			if c.read < 0 {
				r = iotest.DataErrReader(&breaking{data: data[:1<<20+5], err: map[int]error{-1: errors.New("broken"), -2: io.ErrUnexpectedEOF}[c.read]})
			}
			var m meter
			_, _, err := Stream(context.Background(), newDisk(c.disk, 512), r, c.size, m.options(2))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// breaking is a reader that breaks.
type breaking struct {
	data []byte
	err  error
}

func (b *breaking) Read(p []byte) (int, error) {
	n := copy(p, b.data)
	b.data = b.data[n:]
	if n == 0 {
		return 0, b.err
	}
	return n, nil
}
