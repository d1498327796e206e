package ext4

import (
	"fmt"
	"strings"
)

// Features that matter for reading (kernel documentation, filesystems/ext4/super.rst).
const (
	compatSparseSuper2 = 0x200

	incompatFileType   = 0x2
	incompatMetaBG     = 0x10
	incompat64bit      = 0x80
	incompatCsumSeed   = 0x2000
	incompatInlineData = 0x8000

	roCompatSparseSuper  = 0x1
	roCompatBigalloc     = 0x200
	roCompatMetadataCsum = 0x400
)

// readable are the incompatible features that this package reads: filetype, meta_bg, extents, 64bit, mmp (another
// machine's concern), flex_bg, ea_inode (extended attributes only), metadata_csum_seed, large_dir, inline_data.
const readable = 0x2 | 0x10 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400 | 0x2000 | 0x4000 | 0x8000

// feature is a bit and what mke2fs(8) and dumpe2fs(8) call it.
type feature struct {
	bit  uint32
	name string
}

// unreadable names those that are refused. needs_recovery is a journal that has not been replayed: what would be read
// might be old.
func unreadable() []feature {
	return []feature{
		{0x1, "compression"},
		{0x4, "needs_recovery"},
		{0x8, "journal_dev"},
		{0x1000, "dirdata"},
		{0x10000, "encrypt"},
		{0x20000, "casefold"},
	}
}

func (s *super) has64bit() bool     { return s.incompat&incompat64bit != 0 }
func (s *super) hasFileType() bool  { return s.incompat&incompatFileType != 0 }
func (s *super) hasInline() bool    { return s.incompat&incompatInlineData != 0 }
func (s *super) hasMetaCsum() bool  { return s.roCompat&roCompatMetadataCsum != 0 }
func (s *super) hasMetaGroup() bool { return s.incompat&incompatMetaBG != 0 }

// supported refuses what can't be read. Features that only writers must know are no obstacle, but for bigalloc, whose
// groups count in clusters.
func (s *super) supported() error {
	var names []string
	left := s.incompat &^ readable
	for _, f := range unreadable() {
		if left&f.bit != 0 {
			names, left = append(names, f.name), left&^f.bit
		}
	}
	if left != 0 {
		names = append(names, fmt.Sprintf("incompatible features %#x", left))
	}
	if s.roCompat&roCompatBigalloc != 0 {
		names = append(names, "bigalloc")
	}
	if len(names) > 0 {
		return fmt.Errorf("%w: %s", ErrUnsupported, strings.Join(names, ", "))
	}
	return nil
}
