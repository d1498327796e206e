// Package ext4 reads ext2, ext3 and ext4 file systems in user space, without root rights and without a mount: the file
// system may lie inside a compressed image, and the machine may not be allowed to mount.
//
// [FS] is an [io/fs.FS]; symbolic links are followed inside the file system. Nothing on the disk is trusted: trees that
// loop, blocks out of range, directories without end and wrong checksums are errors that name the block or inode, and
// memory is bounded whatever the numbers on the disk say. A feature that this package can't read is refused by name
// when the file system is opened.
// Format: kernel documentation, filesystems/ext4.
package ext4

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// ErrFormat is wrapped by the error of Open for something that is not an ext file system.
var ErrFormat = errors.New("not an ext file system")

// ErrDamaged is wrapped by every error about what is on the disk. Errors of the reader don't wrap it.
var ErrDamaged = errors.New("ext file system is damaged")

// ErrUnsupported is wrapped by the error of Open for a file system with a feature that is not read here.
var ErrUnsupported = errors.New("ext file system has a feature that is not supported")

// FS is an open file system. It is safe for concurrent use if its reader is.
type FS struct {
	r     io.ReaderAt
	super super
}

// superOffset and superSize are the place of the superblock, in bytes.
const (
	superOffset = 1024
	superSize   = 1024
)

// super is the superblock, worked out. Sizes are in bytes.
type super struct {
	blockSize      int64
	blocks         uint64
	firstBlock     uint64 // of group 0: 1 with blocks of 1 KiB
	blocksPerGroup uint64
	inodes         uint32
	inodesPerGroup uint32
	inodeSize      int64
	descSize       int64
	firstMetaGroup uint64
	copies         [2]uint64 // groups with a copy of the superblock, with sparse_super2
	compat         uint32
	incompat       uint32
	roCompat       uint32
	seed           uint32 // of metadata checksums
	label          string
	uuid           [16]byte
}

// Open reads the superblock of the file system in r, which has size bytes. Something else gives ErrFormat, a file
// system that is longer ErrDamaged, one that can't be read here ErrUnsupported.
func Open(r io.ReaderAt, size int64) (*FS, error) {
	b := make([]byte, superSize)
	if size < superOffset+superSize {
		return nil, fmt.Errorf("%w: %d bytes", ErrFormat, size)
	}
	if n, err := r.ReadAt(b, superOffset); n < len(b) {
		if err == io.EOF {
			return nil, fmt.Errorf("%w: it ends within the superblock", ErrFormat)
		}
		return nil, fmt.Errorf("superblock: %w", err)
	}
	s, err := parseSuper(b)
	if err != nil {
		return nil, err
	}
	if s.blocks > uint64(size)/uint64(s.blockSize) {
		return nil, fmt.Errorf("%w: %d blocks of %d bytes are truncated to %d bytes", ErrDamaged, s.blocks, s.blockSize, size)
	}
	return &FS{r: r, super: s}, nil
}

// Label is the volume name, empty if there is none.
func (f *FS) Label() string { return f.super.label }

// BlockSize is in bytes.
func (f *FS) BlockSize() int64 { return f.super.blockSize }

func parseSuper(b []byte) (super, error) {
	le := binary.LittleEndian
	if magic := le.Uint16(b[0x38:]); magic != 0xef53 {
		return super{}, fmt.Errorf("%w: magic %#04x, expected 0xef53", ErrFormat, magic)
	}
	shift := le.Uint32(b[0x18:])
	if shift > 6 {
		return super{}, fmt.Errorf("%w: block size 1 KiB << %d", ErrFormat, shift)
	}
	s := super{
		blockSize: 1024 << shift, blocks: uint64(le.Uint32(b[0x04:])), firstBlock: uint64(le.Uint32(b[0x14:])),
		blocksPerGroup: uint64(le.Uint32(b[0x20:])), inodes: le.Uint32(b), inodesPerGroup: le.Uint32(b[0x28:]),
		inodeSize: 128, descSize: 32, firstMetaGroup: uint64(le.Uint32(b[0x104:])),
		label: string(bytes.TrimRight(b[0x78:0x88], "\x00")), uuid: [16]byte(b[0x68:0x78]),
	}
	if rev := le.Uint32(b[0x4c:]); rev > 0 { // revision 0 has no features, and inodes of 128 bytes
		s.compat, s.incompat, s.roCompat = le.Uint32(b[0x5c:]), le.Uint32(b[0x60:]), le.Uint32(b[0x64:])
		s.inodeSize, s.copies = int64(le.Uint16(b[0x58:])), [2]uint64{uint64(le.Uint32(b[0x24c:])), uint64(le.Uint32(b[0x250:]))}
	}
	if s.has64bit() {
		s.blocks |= uint64(le.Uint32(b[0x150:])) << 32
		s.descSize = int64(le.Uint16(b[0xfe:]))
	}
	if err := s.supported(); err != nil {
		return super{}, err
	}
	if err := s.check(); err != nil {
		return super{}, err
	}
	return s, s.checksum(b)
}

// check refuses what would make later arithmetic meaningless, as the kernel does (fs/ext4/super.c).
func (s *super) check() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: superblock: %s", ErrDamaged, fmt.Sprintf(format, args...))
	}
	perBlock := uint64(s.blockSize) * 8
	switch {
	case s.inodeSize < 128 || s.inodeSize > s.blockSize || s.inodeSize&(s.inodeSize-1) != 0:
		return bad("inodes of %d bytes", s.inodeSize)
	case s.descSize < 32 || s.descSize > s.blockSize || s.descSize&(s.descSize-1) != 0 || s.has64bit() && s.descSize < 64:
		return bad("group descriptors of %d bytes", s.descSize)
	case s.blocksPerGroup == 0 || s.blocksPerGroup > perBlock:
		return bad("%d blocks per group, expected 1 to %d", s.blocksPerGroup, perBlock)
	case s.inodesPerGroup == 0 || uint64(s.inodesPerGroup) > perBlock:
		return bad("%d inodes per group, expected 1 to %d", s.inodesPerGroup, perBlock)
	case s.firstBlock >= s.blocks || s.firstBlock > 1:
		return bad("first block %d of %d", s.firstBlock, s.blocks)
	case s.blocks > 1<<48:
		return bad("%d blocks", s.blocks)
	case uint64(s.inodes) > s.groups()*uint64(s.inodesPerGroup):
		return bad("%d inodes in %d groups of %d", s.inodes, s.groups(), s.inodesPerGroup)
	}
	return nil
}

func (s *super) groups() uint64 {
	return (s.blocks - s.firstBlock + s.blocksPerGroup - 1) / s.blocksPerGroup
}

// block reads a whole block; what names it in errors.
func (f *FS) block(number uint64, what string) ([]byte, error) {
	if err := f.within(number, 1, what); err != nil {
		return nil, err
	}
	b := make([]byte, f.super.blockSize)
	return b, f.read(b, int64(number)*f.super.blockSize, what)
}

// within checks that n blocks from number lie in the file system.
func (f *FS) within(number, n uint64, what string) error {
	if number < f.super.firstBlock || number >= f.super.blocks || n > f.super.blocks-number {
		return fmt.Errorf("%w: %s: blocks %d to %d, the file system has %d", ErrDamaged, what, number, number+n-1, f.super.blocks)
	}
	return nil
}

// read fills b from a place inside the file system, whose size Open compared with that of the reader.
func (f *FS) read(b []byte, off int64, what string) error {
	n, err := f.r.ReadAt(b, off)
	switch {
	case n == len(b):
		return nil
	case err == io.EOF:
		return fmt.Errorf("%w: %s: it ends at offset %d, in block %d", ErrDamaged, what, off+int64(n), off/f.super.blockSize)
	}
	return fmt.Errorf("%s: block %d: %w", what, off/f.super.blockSize, err)
}
