package fat

import (
	"encoding/binary"
	"fmt"
	"io"
)

// extent is where a file or directory lies: a chain of clusters, or the fixed root directory of FAT12 and FAT16.
type extent struct {
	fixed       bool
	off, length int64 // if fixed
	first       uint32
}

func (f *FS) rootDir() extent {
	if f.geometry.bits == 32 {
		return extent{first: f.geometry.rootCluster}
	}
	return extent{fixed: true, off: f.geometry.root, length: f.geometry.rootSize}
}

// chain walks the clusters of a file, one call of next after the other.
type chain struct {
	f    *FS
	next uint32
	// seen are the clusters already passed. Memory grows with the chain that is really there, not with a number
	// on the disk.
	seen map[uint32]struct{}
}

func (f *FS) chain(first uint32) *chain {
	return &chain{f: f, next: first, seen: map[uint32]struct{}{}}
}

// cluster returns the offset of the next cluster, or io.EOF after the last one.
func (c *chain) cluster() (int64, error) {
	g := &c.f.geometry
	n := c.next
	if g.endOfChain(n) {
		return 0, io.EOF
	}
	if n < 2 || n-2 >= g.clusters {
		return 0, fmt.Errorf("%w: cluster %d after %d others, want 2 to %d", ErrDamaged, n, len(c.seen), g.clusters+1)
	}
	if _, twice := c.seen[n]; twice {
		return 0, fmt.Errorf("%w: cluster %d twice in a chain of %d", ErrDamaged, n, len(c.seen))
	}
	c.seen[n] = struct{}{}
	var err error
	if c.next, err = c.f.fatEntry(n); err != nil {
		return 0, err
	}
	return g.data + int64(n-2)*g.clusterSize, nil
}

func (g *geometry) endOfChain(n uint32) bool {
	switch g.bits {
	case 12:
		return n >= 0xff8
	case 16:
		return n >= 0xfff8
	}
	return n >= 0xffffff8
}

// fatEntry reads what follows cluster n. FAT12 packs two entries into three bytes; of FAT32's the top four bits are
// reserved.
func (f *FS) fatEntry(n uint32) (uint32, error) {
	g := &f.geometry
	width := int64(g.bits+7) / 8
	b := make([]byte, 4)
	if err := f.readFull(b[:width], g.fat+int64(n)*int64(g.bits)/8); err != nil {
		return 0, err
	}
	v := binary.LittleEndian.Uint32(b)
	switch {
	case g.bits == 32:
		return v & 0xfffffff, nil
	case g.bits == 12 && n%2 == 1:
		return v >> 4, nil
	case g.bits == 12:
		return v & 0xfff, nil
	}
	return v, nil
}
