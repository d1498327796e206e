package ext4

import (
	"encoding/binary"
	"fmt"
)

// Extent is a run of a file's bytes that lie together. Offset is the place in the file, Place that in the file system,
// both in bytes and multiples of the block size. The last one may reach beyond the file's size.
type Extent struct {
	Offset, Place, Length int64
}

// What bounds memory and work on a file that is damaged: extents kept (24 bytes each), and blocks of pointers read.
const (
	maxExtents = 1 << 19
	maxNodes   = 1 << 18
)

// mapping collects the extents of a file in order.
type mapping struct {
	f     *FS
	i     *inode
	out   []Extent
	nodes int
	next  uint64 // the first logical block that is still to come
	end   uint64 // the first logical block behind the file's size
}

// extents lists where a file lies; what is between them is zero.
func (f *FS) extents(i *inode) ([]Extent, error) {
	m := &mapping{f: f, i: i, end: uint64((i.size + f.super.blockSize - 1) / f.super.blockSize)}
	var err error
	if i.flags&flagExtents != 0 {
		err = m.tree(i.root[:], i.String(), -1)
	} else {
		err = m.blockMap()
	}
	return m.out, err
}

// node counts a block of pointers that is about to be read.
func (m *mapping) node() error {
	if m.nodes++; m.nodes > maxNodes {
		return fmt.Errorf("%w: %s: more than %d blocks of pointers", ErrDamaged, m.i, maxNodes)
	}
	return nil
}

// add appends n blocks, joined with those before if they follow each other.
func (m *mapping) add(logical, physical, n uint64) error {
	if err := m.f.within(physical, n, fmt.Sprintf("%s, block %d of the file", m.i, logical)); err != nil {
		return err
	}
	size := m.f.super.blockSize
	e := Extent{Offset: int64(logical) * size, Place: int64(physical) * size, Length: int64(n) * size}
	if k := len(m.out) - 1; k >= 0 && m.out[k].Offset+m.out[k].Length == e.Offset && m.out[k].Place+m.out[k].Length == e.Place {
		m.out[k].Length += e.Length
		return nil
	}
	if len(m.out) == maxExtents {
		return fmt.Errorf("%w: %s: in more than %d pieces", ErrDamaged, m.i, maxExtents)
	}
	m.out = append(m.out, e)
	return nil
}

const (
	extentMagic  = 0xf30a
	extentHeader = 12
	extentSize   = 12
	maxDepth     = 5
	// unwrittenFrom is the length from which an extent is allocated but not written, and reads as zeros.
	unwrittenFrom = 32768
)

// tree follows a node of an extent tree. depth is what the parent promises, -1 at the root.
func (m *mapping) tree(b []byte, what string, depth int) error {
	le := binary.LittleEndian
	magic, entries, limit, level := le.Uint16(b), int(le.Uint16(b[2:])), int(le.Uint16(b[4:])), int(le.Uint16(b[6:]))
	switch {
	case magic != extentMagic:
		return fmt.Errorf("%w: %s: extent magic %#04x, expected %#04x", ErrDamaged, what, magic, extentMagic)
	case entries > limit || extentHeader+limit*extentSize > len(b):
		return fmt.Errorf("%w: %s: %d of %d extents in %d bytes", ErrDamaged, what, entries, limit, len(b))
	case level > maxDepth || depth >= 0 && level != depth:
		return fmt.Errorf("%w: %s: extent tree of depth %d, expected %d", ErrDamaged, what, level, max(depth, 0))
	case entries == 0 && depth >= 0:
		return fmt.Errorf("%w: %s: no extents in it", ErrDamaged, what)
	}
	if depth >= 0 && extentHeader+limit*extentSize+4 <= len(b) {
		if err := m.f.checkTail(m.i, b[:extentHeader+limit*extentSize+4], extentHeader+limit*extentSize, what); err != nil {
			return err
		}
	}
	for n := range entries {
		e := b[extentHeader+n*extentSize:][:extentSize]
		var err error
		if level == 0 {
			err = m.leaf(e, what)
		} else {
			err = m.branch(e, what, level-1)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// branch follows an index entry. Blocks of the file only ever go up, so no node is visited twice.
func (m *mapping) branch(e []byte, what string, level int) error {
	le := binary.LittleEndian
	if logical := uint64(le.Uint32(e)); logical < m.next {
		return fmt.Errorf("%w: %s: block %d of the file behind block %d", ErrDamaged, what, logical, m.next)
	}
	child := uint64(le.Uint32(e[4:])) | uint64(le.Uint16(e[8:]))<<32
	if err := m.node(); err != nil {
		return err
	}
	what = fmt.Sprintf("%s, extent block %d", m.i, child)
	b, err := m.f.block(child, what)
	if err != nil {
		return err
	}
	return m.tree(b, what, level)
}

func (m *mapping) leaf(e []byte, what string) error {
	le := binary.LittleEndian
	logical, n := uint64(le.Uint32(e)), uint64(le.Uint16(e[4:]))
	physical := uint64(le.Uint32(e[8:])) | uint64(le.Uint16(e[6:]))<<32
	unwritten := n > unwrittenFrom
	if unwritten {
		n -= unwrittenFrom
	}
	if n == 0 || logical < m.next || logical+n > 1<<32 {
		return fmt.Errorf("%w: %s: extent of %d blocks from block %d of the file, expected some from %d", ErrDamaged, what, n, logical, m.next)
	}
	m.next = logical + n
	if unwritten || logical >= m.end {
		return nil
	}
	return m.add(logical, physical, n)
}
