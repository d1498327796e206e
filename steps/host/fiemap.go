package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Extent is a run of a file's bytes on the device that holds its file system; all three are in bytes.
type Extent struct {
	Logical  int64
	Physical int64
	Length   int64
	flags    uint32
}

// The kernel's interface (Documentation/filesystems/fiemap.rst, include/uapi/linux/fiemap.h).
const (
	fsIocFiemap     = 0xC020660B // _IOWR('f', 11, struct fiemap)
	fiemapSync      = 0x1
	extentLast      = 0x1
	extentUnwritten = 0x800
	fiemapBatch     = 128
	// maxExtents bounds the memory for the map of one file; ext4 needs one extent for 128 MiB, a file in 65536 pieces
	// is better held in memory.
	maxExtents = 1 << 16
)

// extentDoubts are the flags of extents whose bytes do not lie, as they are, at the place that is told.
var extentDoubts = []struct { //nolint:gochecknoglobals // a table
	bit  uint32
	name string
}{
	{0x2, "unknown"}, {0x4, "delalloc"}, {0x8, "encoded"}, {0x80, "data encrypted"}, {0x100, "not aligned"},
	{0x200, "data inline"}, {0x400, "data tail"}, {extentUnwritten, "unwritten"},
}

// ErrManyExtents is a file in more pieces than are worth a map.
var ErrManyExtents = errors.New("too many extents")

// Doubt names what keeps the extent from being read at its place on the device, "" for nothing. An unwritten extent is
// allocated, but reads as zeros whatever the device holds there. Shared extents may be read: nobody writes to them in
// place. A flag that later kernels add is doubted too.
func (e Extent) Doubt() string {
	const harmless = extentLast | 0x1000 | 0x2000 // merged, shared
	rest := e.flags &^ harmless
	var names []string
	for _, d := range extentDoubts {
		if rest&d.bit != 0 {
			names = append(names, d.name)
			rest &^= d.bit
		}
	}
	if rest != 0 {
		names = append(names, fmt.Sprintf("flags %#x", rest))
	}
	return strings.Join(names, ", ")
}

// Allocated says whether the extent has its place for good, be its bytes written or not.
func (e Extent) Allocated() bool {
	e.flags &^= extentUnwritten
	return e.Doubt() == ""
}

// Extents implements Reader.
func (r *Rooted) Extents(name string) ([]Extent, error) {
	p, err := r.find(name)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(p)
	if err != nil {
		return nil, named(err, name)
	}
	defer f.Close()
	out, err := extents(f)
	if err != nil {
		return nil, &fs.PathError{Op: "fiemap", Path: name, Err: err}
	}
	return out, nil
}

// fiemap is struct fiemap with room for a batch of extents.
type fiemap struct {
	start, length                  uint64
	flags, mapped, count, reserved uint32
	extents                        [fiemapBatch]struct {
		logical, physical, length uint64
		_                         [2]uint64
		flags                     uint32
		_                         [3]uint32
	}
}

// extents asks for all extents of a file, batch by batch. The kernel writes out first what is in its caches only.
func extents(f *os.File) ([]Extent, error) {
	var out []Extent
	for start := uint64(0); ; {
		m := fiemap{start: start, length: ^uint64(0) - start, flags: fiemapSync, count: fiemapBatch}
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), fsIocFiemap, uintptr(unsafe.Pointer(&m))); errno != 0 {
			return nil, errno
		}
		if m.mapped == 0 {
			return out, nil
		}
		for _, e := range m.extents[:min(m.mapped, fiemapBatch)] {
			out = append(out, Extent{Logical: int64(e.logical), Physical: int64(e.physical), Length: int64(e.length), flags: e.flags})
			start = max(start, e.logical+e.length)
			if e.flags&extentLast != 0 {
				return out, nil
			}
		}
		if len(out) > maxExtents {
			return nil, fmt.Errorf("more than %d: %w", maxExtents, ErrManyExtents)
		}
	}
}
