package ext4

import (
	"encoding/binary"
	"fmt"
)

// direct is how many blocks of a file without extents the inode itself names; three trees of pointers follow, one, two
// and three levels high.
const direct = 12

// blockMap follows the pointers of ext2 and ext3. 0 is a hole, of the whole tree below it.
func (m *mapping) blockMap() error {
	for n := range uint64(direct) {
		if err := m.pointer(binary.LittleEndian.Uint32(m.i.root[n*4:]), 0); err != nil {
			return err
		}
	}
	for height := 1; height <= 3; height++ {
		if err := m.pointer(binary.LittleEndian.Uint32(m.i.root[(direct+height-1)*4:]), height); err != nil {
			return err
		}
	}
	return nil
}

// pointer takes a pointer to data, or with a height to a block of pointers. What lies behind the file's end is not
// looked at.
func (m *mapping) pointer(p uint32, height int) error {
	perBlock := uint64(m.f.super.blockSize / 4)
	span := uint64(1)
	for range height {
		span *= perBlock
	}
	if p == 0 || m.next >= m.end {
		m.next += span
		return nil
	}
	if height == 0 {
		m.next++
		return m.add(m.next-1, uint64(p), 1)
	}
	if err := m.node(); err != nil {
		return err
	}
	b, err := m.f.block(uint64(p), fmt.Sprintf("%s, block of pointers %d", m.i, p))
	if err != nil {
		return err
	}
	for ; len(b) > 0; b = b[4:] {
		if err := m.pointer(binary.LittleEndian.Uint32(b), height-1); err != nil {
			return err
		}
	}
	return nil
}
