package flashimage

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/balena-community/balena-migrate/schema"
)

// Reader reads single chunks of a flashable image. It is safe for concurrent use.
type Reader struct {
	r     io.ReaderAt
	index *schema.ImageIndex
	pool  sync.Pool
}

// decoder is what it takes to read one chunk.
type decoder struct {
	inf    inflater
	member []byte
}

// NewReader reads the gzip file r by its index, which must be valid and not change any more.
func NewReader(r io.ReaderAt, index *schema.ImageIndex) (*Reader, error) {
	if err := index.Validate(); err != nil {
		return nil, err
	}
	return &Reader{r: r, index: index, pool: sync.Pool{New: func() any { return new(decoder) }}}, nil
}

// Index returns the index. It must not be changed.
func (r *Reader) Index() *schema.ImageIndex { return r.index }

// Chunk reads chunk i, a number of the index, and verifies it. The chunk is returned in dst if it has the capacity,
// else in new memory. Damage is a [*ChunkError]; the content of dst is then undefined.
func (r *Reader) Chunk(i int, dst []byte) ([]byte, error) {
	if i < 0 || i >= len(r.index.Members) {
		return nil, fmt.Errorf("image chunk %d: the image has %d", i, len(r.index.Members))
	}
	d := r.pool.Get().(*decoder)
	defer r.pool.Put(d)
	var err error
	if d.member, err = r.member(i, d.member); err != nil {
		return nil, err
	}
	return r.decode(&d.inf, i, d.member, dst)
}

// member reads member i as it is.
func (r *Reader) member(i int, buf []byte) ([]byte, error) {
	m := r.index.Members[i]
	buf = sized(buf, int(m.Length))
	// A reader may return io.EOF with the very last byte; that is no error.
	n, err := r.r.ReadAt(buf, m.Offset)
	if n == len(buf) {
		return buf, nil
	}
	if errors.Is(err, io.EOF) {
		return buf, r.at(i, &ChunkError{Damage: DamageTruncated, Err: fmt.Errorf("%d of %d bytes", n, m.Length)})
	}
	return buf, r.at(i, &ChunkError{Damage: DamageRead, Err: err})
}

// decode unpacks member i and verifies it.
func (r *Reader) decode(inf *inflater, i int, member, dst []byte) ([]byte, error) {
	m := r.index.Members[i]
	dst = sized(dst, r.index.ChunkLen(i))
	if err := inf.inflate(member, dst); err != nil {
		return dst, r.at(i, err)
	}
	if m.Zero {
		if !isZero(dst) {
			return dst, r.at(i, &ChunkError{Damage: DamageNotZero})
		}
		return dst, nil
	}
	if got := hexSum(dst); got != m.SHA256 {
		return dst, r.at(i, &ChunkError{Damage: DamageDigest, Want: m.SHA256, Got: got})
	}
	return dst, nil
}

func (r *Reader) at(i int, e *ChunkError) error {
	e.Chunk, e.RawOffset, e.GzipOffset = i, int64(i)*r.index.ChunkSize, r.index.Members[i].Offset
	return e
}

// sized returns a slice of n bytes, in buf if it is large enough.
func sized(buf []byte, n int) []byte {
	if cap(buf) < n {
		return make([]byte, n)
	}
	return buf[:n]
}

// viewChunks is how many unpacked chunks a View keeps: one each for the partition table, the FAT, a directory and
// the file being read.
const viewChunks = 4

// View is the raw image as a file that can be read anywhere. It is meant for reading little: a partition table, a
// small file. It is safe for concurrent use.
type View struct {
	r      *Reader
	mu     sync.Mutex
	recent []viewChunk // the latest first
}

type viewChunk struct {
	number int
	data   []byte
}

// View returns the raw image as an [io.ReaderAt].
func (r *Reader) View() *View { return &View{r: r} }

// Size is the size of the raw image in bytes.
func (v *View) Size() int64 { return v.r.index.RawSize }

// ReadAt reads raw bytes. Each chunk it touches is verified as by [Reader.Chunk].
func (v *View) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("raw image: negative offset %d", off)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	n := 0
	for n < len(p) {
		if off >= v.Size() {
			return n, io.EOF
		}
		data, err := v.chunk(int(off / v.r.index.ChunkSize))
		if err != nil {
			return n, err
		}
		m := copy(p[n:], data[off%v.r.index.ChunkSize:])
		n, off = n+m, off+int64(m)
	}
	return n, nil
}

func (v *View) chunk(number int) ([]byte, error) {
	for i, c := range v.recent {
		if c.number == number {
			copy(v.recent[1:i+1], v.recent[:i])
			v.recent[0] = c
			return c.data, nil
		}
	}
	var buf []byte
	if len(v.recent) == viewChunks {
		buf = v.recent[viewChunks-1].data
		v.recent = v.recent[:viewChunks-1]
	}
	data, err := v.r.Chunk(number, buf)
	if err != nil {
		return nil, err
	}
	v.recent = append([]viewChunk{{number, data}}, v.recent...)
	return data, nil
}
