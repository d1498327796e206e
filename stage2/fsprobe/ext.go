package fsprobe

import "encoding/binary"

// Places in the ext superblock, which is at 1024 (kernel documentation, filesystems/ext4/super.rst).
const (
	extOffset   = 1024
	extMagic    = 0x38
	extCompat   = 0x5c
	extIncompat = 0x60
	extROCompat = 0x64
	extUUID     = 0x68
	extLabel    = 0x78
)

// Features that ext2 and ext3 have too; any other makes it an ext4.
const (
	compatHasJournal   = 0x4
	incompatExt3       = 0x2 | 0x4 | 0x10 // filetype, recover, meta_bg
	incompatJournalDev = 0x8
	roCompatExt3       = 0x1 | 0x2 | 0x4 // sparse_super, large_file, btree_dir
)

func probeExt(d disk) (Info, error) {
	b, err := d.at(extOffset, 1024)
	if err != nil || b == nil || binary.LittleEndian.Uint16(b[extMagic:]) != 0xef53 {
		return Info{}, err
	}
	// Two bytes of magic are little proof: the block size must make sense (1 KiB << 0 to 6), and there must be blocks.
	if binary.LittleEndian.Uint32(b[0x18:]) > 6 || binary.LittleEndian.Uint32(b[0x04:]) == 0 {
		return Info{}, nil
	}
	return Info{Type: extType(b), UUID: uuid(b[extUUID:][:16]), Label: text(b[extLabel:][:16])}, nil
}

func extType(b []byte) string {
	incompat, roCompat := binary.LittleEndian.Uint32(b[extIncompat:]), binary.LittleEndian.Uint32(b[extROCompat:])
	switch {
	case incompat&incompatJournalDev != 0:
		return Journal
	case incompat&^incompatExt3 != 0 || roCompat&^roCompatExt3 != 0:
		return Ext4
	case binary.LittleEndian.Uint32(b[extCompat:])&compatHasJournal != 0:
		return Ext3
	}
	return Ext2
}
