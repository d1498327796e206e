package inplace

import (
	"fmt"
	"io"
	"sort"

	"github.com/balena-community/balena-migrate/schema"
)

// align is what direct reads are aligned to, in bytes: the largest logical sector there is.
const align = 4096

// BufferSize is the memory of one buffer of a Disk, in bytes.
const BufferSize = 256 << 10

// Disk is a whole disk that is read past the page cache. It is safe for concurrent use; as many reads run at once as
// there are buffers.
type Disk struct {
	r       io.ReaderAt
	size    int64
	buffers chan []byte
}

// NewDisk reads a disk of size bytes through buffers whose memory suits direct I/O, at least one, each a multiple of 4 KiB.
func NewDisk(r io.ReaderAt, size int64, buffers ...[]byte) *Disk {
	d := &Disk{r: r, size: size, buffers: make(chan []byte, len(buffers))}
	for _, b := range buffers {
		d.buffers <- b
	}
	return d
}

// readAt fills p from any offset.
func (d *Disk) readAt(p []byte, off int64) error {
	buf := <-d.buffers
	defer func() { d.buffers <- buf }()
	for len(p) > 0 {
		skip := off % align
		want := min((skip+int64(len(p))+align-1)/align*align, int64(len(buf)), d.size-off+skip)
		if want <= skip {
			return fmt.Errorf("read the disk at %d: it ends at %d", off, d.size)
		}
		if n, err := d.r.ReadAt(buf[:want], off-skip); int64(n) < want {
			return fmt.Errorf("read the disk at %d: %d of %d bytes: %w", off-skip, n, want, err)
		}
		n := copy(p, buf[skip:want])
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// Reader is the file. It is safe for concurrent use.
type Reader struct {
	size   int64
	pieces []piece
	disk   *Disk
}

// piece is a run of the file: in memory, or on the disk when held is nil.
type piece struct {
	off, length int64
	held        []byte
	diskOffset  int64
}

// New reads a file of size bytes: its extents, which Check has accepted, from the disk, the rest from held, which is what
// lies in the Gaps, one after the other. disk may be nil when there are no extents.
func New(size int64, extents []schema.Extent, held []byte, disk *Disk) (*Reader, error) {
	r := &Reader{size: size, disk: disk}
	for _, g := range Gaps(extents, size) {
		if g.Length > int64(len(held)) {
			return nil, fmt.Errorf("%d bytes at %d of the file: neither on the disk nor in memory", g.Length, g.Off)
		}
		r.pieces = append(r.pieces, piece{off: g.Off, length: g.Length, held: held[:g.Length]})
		held = held[g.Length:]
	}
	for _, e := range extents {
		r.pieces = append(r.pieces, piece{off: e.Logical, length: e.Length, diskOffset: e.DiskOffset})
	}
	sort.Slice(r.pieces, func(i, j int) bool { return r.pieces[i].off < r.pieces[j].off })
	return r, nil
}

// Size is the size of the file in bytes.
func (r *Reader) Size() int64 { return r.size }

// ReadAt implements io.ReaderAt.
func (r *Reader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("negative offset %d", off)
	}
	done := 0
	i := sort.Search(len(r.pieces), func(i int) bool { return r.pieces[i].off+r.pieces[i].length > off })
	for ; done < len(p) && i < len(r.pieces); i++ {
		x := r.pieces[i]
		in := off + int64(done) - x.off
		part := p[done:min(int64(len(p)), int64(done)+x.length-in)]
		if x.held != nil {
			copy(part, x.held[in:])
		} else if err := r.disk.readAt(part, x.diskOffset+in); err != nil {
			return done, err
		}
		done += len(part)
	}
	if done < len(p) {
		return done, io.EOF
	}
	return done, nil
}
