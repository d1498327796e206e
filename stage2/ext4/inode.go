package ext4

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"time"
)

// rootInode is the root directory.
const rootInode = 2

// Inode flags.
const (
	flagCompressed = 0x4
	flagEncrypted  = 0x800
	flagExtents    = 0x80000
	flagInline     = 0x10000000
)

// inode is one of the table, worked out.
type inode struct {
	number   uint32
	mode     fs.FileMode
	size     int64
	flags    uint32
	modified time.Time
	seed     uint32   // of the checksums of its blocks
	root     [60]byte // i_block: the root of its tree, or its data
	body     []byte   // what follows the fixed fields: extended attributes
}

func (i *inode) String() string { return fmt.Sprintf("inode %d", i.number) }

// inode reads one of the table.
func (f *FS) inode(number uint32) (*inode, error) {
	what := fmt.Sprintf("inode %d", number)
	if number == 0 || number > f.super.inodes {
		return nil, fmt.Errorf("%w: %s: there are %d", ErrDamaged, what, f.super.inodes)
	}
	group := uint64(number-1) / uint64(f.super.inodesPerGroup)
	table, err := f.inodeTable(group)
	if err != nil {
		return nil, err
	}
	at := int64(uint64(number-1)%uint64(f.super.inodesPerGroup)) * f.super.inodeSize
	if err := f.within(table, uint64(at/f.super.blockSize)+1, what); err != nil {
		return nil, err
	}
	b := make([]byte, f.super.inodeSize)
	if err := f.read(b, int64(table)*f.super.blockSize+at, what); err != nil {
		return nil, err
	}
	if err := f.super.checkInode(number, b); err != nil {
		return nil, err
	}
	return f.parseInode(number, b)
}

func (f *FS) parseInode(number uint32, b []byte) (*inode, error) {
	le := binary.LittleEndian
	size := uint64(le.Uint32(b[0x04:])) | uint64(le.Uint32(b[0x6c:]))<<32
	i := &inode{number: number, flags: le.Uint32(b[0x20:]), root: [60]byte(b[0x28:0x64])}
	i.mode = fileMode(le.Uint16(b))
	if i.mode.IsDir() {
		size &= 1<<32 - 1 // the upper half was something else once, and such directories are not read
	}
	seconds, extra := int64(int32(le.Uint32(b[0x10:]))), uint32(0)
	if len(b) > 128 {
		if n := 128 + int(le.Uint16(b[0x80:])); n <= len(b) {
			i.body = b[n:]
			if n >= 0x8c {
				extra = le.Uint32(b[0x88:])
			}
		}
	}
	i.modified = time.Unix(seconds+int64(extra&3)<<32, int64(extra>>2)).UTC()
	i.seed = f.super.inodeSeed(number, b)
	switch {
	case size > maxFileSize:
		return nil, fmt.Errorf("%w: %s: size of %d bytes", ErrDamaged, i, size)
	case le.Uint16(b) == 0:
		return nil, fmt.Errorf("%w: %s is free", ErrDamaged, i)
	case i.flags&(flagEncrypted|flagCompressed) != 0:
		return nil, fmt.Errorf("%w: %s is encrypted or compressed", ErrUnsupported, i)
	}
	i.size = int64(size)
	return i, nil
}

// maxFileSize is ext4's own limit, 16 TiB with blocks of 4 KiB and 256 TiB with 64 KiB, in bytes.
const maxFileSize = 1 << 48

// inodeTable returns the first block of a group's inode table.
func (f *FS) inodeTable(group uint64) (uint64, error) {
	what := fmt.Sprintf("descriptor of group %d", group)
	if group >= f.super.groups() {
		return 0, fmt.Errorf("%w: %s: there are %d", ErrDamaged, what, f.super.groups())
	}
	perBlock := uint64(f.super.blockSize / f.super.descSize)
	block := f.descBlock(group / perBlock)
	if err := f.within(block, 1, what); err != nil {
		return 0, err
	}
	b := make([]byte, f.super.descSize)
	if err := f.read(b, int64(block)*f.super.blockSize+int64(group%perBlock)*f.super.descSize, what); err != nil {
		return 0, err
	}
	if err := f.super.checkGroup(group, b); err != nil {
		return 0, err
	}
	table := uint64(binary.LittleEndian.Uint32(b[0x08:]))
	if f.super.has64bit() {
		table |= uint64(binary.LittleEndian.Uint32(b[0x28:])) << 32
	}
	return table, nil
}

// descBlock is the block with the n-th block of group descriptors. They follow the superblock, or with meta_bg lie in
// the groups that they describe, behind a copy of the superblock if there is one.
func (f *FS) descBlock(n uint64) uint64 {
	s := &f.super
	if !s.hasMetaGroup() || n < s.firstMetaGroup {
		return uint64(superOffset/s.blockSize) + 1 + n
	}
	group := n * uint64(s.blockSize/s.descSize)
	block := s.firstBlock + group*s.blocksPerGroup
	if s.copyIn(group) {
		block++
	}
	return block
}

// copyIn says whether a group begins with a copy of the superblock: with sparse_super only 0, 1 and the powers of 3, 5
// and 7, with sparse_super2 two that the superblock names.
func (s *super) copyIn(group uint64) bool {
	if s.compat&compatSparseSuper2 != 0 {
		return group == 0 || group == s.copies[0] || group == s.copies[1]
	}
	if s.roCompat&roCompatSparseSuper == 0 || group <= 1 {
		return true
	}
	for _, base := range []uint64{3, 5, 7} {
		n := base
		for n < group {
			n *= base
		}
		if n == group {
			return true
		}
	}
	return false
}

// fileMode translates i_mode.
func fileMode(m uint16) fs.FileMode {
	mode := fs.FileMode(m & 0o777)
	for bit, special := range map[uint16]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if m&bit != 0 {
			mode |= special
		}
	}
	switch m >> 12 {
	case 0o10: // regular
	case 0o4:
		mode |= fs.ModeDir
	case 0o12:
		mode |= fs.ModeSymlink
	case 0o2:
		mode |= fs.ModeDevice | fs.ModeCharDevice
	case 0o6:
		mode |= fs.ModeDevice
	case 0o1:
		mode |= fs.ModeNamedPipe
	case 0o14:
		mode |= fs.ModeSocket
	default:
		mode |= fs.ModeIrregular
	}
	return mode
}
