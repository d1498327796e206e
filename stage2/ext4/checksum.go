package ext4

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// crc goes on with a CRC-32C. ext4 neither inverts at the start nor at the end, unlike hash/crc32.
func crc(sum uint32, data ...[]byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	for _, p := range data {
		sum = ^crc32.Update(^sum, table, p)
	}
	return sum
}

func le32(n uint32) []byte { return binary.LittleEndian.AppendUint32(nil, n) }

// checksum verifies the superblock, if it has a checksum, and remembers the seed of all others
// (kernel documentation, filesystems/ext4/checksums.rst).
func (s *super) checksum(b []byte) error {
	if !s.hasMetaCsum() {
		return nil
	}
	if kind := b[0x175]; kind != 1 {
		return fmt.Errorf("%w: superblock: checksums of kind %d, expected 1 (CRC-32C)", ErrUnsupported, kind)
	}
	if got, want := crc(^uint32(0), b[:0x3fc]), binary.LittleEndian.Uint32(b[0x3fc:]); got != want {
		return fmt.Errorf("%w: superblock: checksum %08x, expected %08x", ErrDamaged, got, want)
	}
	s.seed = crc(^uint32(0), s.uuid[:])
	if s.incompat&incompatCsumSeed != 0 {
		s.seed = binary.LittleEndian.Uint32(b[0x270:])
	}
	return nil
}

// checkGroup verifies a group descriptor. Without metadata_csum it may have a CRC-16, which is left alone.
func (s *super) checkGroup(group uint64, b []byte) error {
	if !s.hasMetaCsum() {
		return nil
	}
	sum := crc(s.seed, le32(uint32(group)), b[:0x1e], []byte{0, 0}, b[0x20:])
	if got, want := uint16(sum), binary.LittleEndian.Uint16(b[0x1e:]); got != want {
		return fmt.Errorf("%w: descriptor of group %d: checksum %04x, expected %04x", ErrDamaged, group, got, want)
	}
	return nil
}

// inodeSeed is what the checksums of an inode and of its blocks begin with.
func (s *super) inodeSeed(number uint32, b []byte) uint32 {
	return crc(s.seed, le32(number), b[0x64:0x68])
}

// checkInode verifies an inode. The upper half of the checksum is there only if the inode is large enough.
func (s *super) checkInode(number uint32, b []byte) error {
	if !s.hasMetaCsum() {
		return nil
	}
	want := uint32(binary.LittleEndian.Uint16(b[0x7c:]))
	sum := crc(s.inodeSeed(number, b), b[:0x7c], []byte{0, 0}, b[0x7e:128])
	mask := uint32(0xffff)
	if len(b) > 128 {
		sum = crc(sum, b[128:0x82])
		if extra := binary.LittleEndian.Uint16(b[0x80:]); extra >= 4 {
			mask, want = ^uint32(0), want|uint32(binary.LittleEndian.Uint16(b[0x82:]))<<16
			sum = crc(sum, []byte{0, 0}, b[0x84:])
		} else {
			sum = crc(sum, b[0x82:])
		}
	}
	if sum&mask != want {
		return fmt.Errorf("%w: inode %d: checksum %08x, expected %08x", ErrDamaged, number, sum&mask, want)
	}
	return nil
}

// checkTail verifies a block of an inode whose checksum is at the end of its first n bytes.
func (f *FS) checkTail(i *inode, b []byte, n int, what string) error {
	if !f.super.hasMetaCsum() {
		return nil
	}
	if got, want := crc(i.seed, b[:n]), binary.LittleEndian.Uint32(b[len(b)-4:]); got != want {
		return fmt.Errorf("%w: %s: checksum %08x, expected %08x", ErrDamaged, what, got, want)
	}
	return nil
}
