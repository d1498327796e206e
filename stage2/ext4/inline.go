package ext4

import (
	"encoding/binary"
	"fmt"
)

// Extended attributes inside an inode (kernel documentation, filesystems/ext4/attributes.rst).
const (
	attrMagic  = 0xea020000
	attrEntry  = 16
	attrSystem = 7 // the prefix "system."
)

// inline returns what an inode with inline data holds, in its two parts: the 60 bytes of i_block, and the value of the
// extended attribute system.data.
func (f *FS) inline(i *inode) (first, rest []byte, err error) {
	if !f.super.hasInline() {
		return nil, nil, fmt.Errorf("%w: %s has inline data, the file system has not", ErrDamaged, i)
	}
	if len(i.body) < 4 || binary.LittleEndian.Uint32(i.body) != attrMagic {
		return i.root[:], nil, nil
	}
	values := i.body[4:]
	for b := values; len(b) >= attrEntry && binary.LittleEndian.Uint32(b) != 0; {
		n := attrEntry + (int(b[0])+3)&^3
		if n > len(b) {
			return nil, nil, fmt.Errorf("%w: %s: an extended attribute beyond the inode", ErrDamaged, i)
		}
		if b[1] == attrSystem && string(b[attrEntry:attrEntry+int(b[0])]) == "data" {
			at, size := int(binary.LittleEndian.Uint16(b[2:])), binary.LittleEndian.Uint32(b[8:])
			if at > len(values) || uint64(size) > uint64(len(values)-at) {
				return nil, nil, fmt.Errorf("%w: %s: inline data of %d bytes beyond the inode", ErrDamaged, i, size)
			}
			return i.root[:], values[at : at+int(size)], nil
		}
		b = b[n:]
	}
	return i.root[:], nil, nil
}

// inlineData is the content of a file or symbolic link that lies in its inode. It may be shorter than the file, whose
// rest is zeros: mke2fs makes such inodes of sparse files.
func (f *FS) inlineData(i *inode) ([]byte, error) {
	first, rest, err := f.inline(i)
	if err != nil {
		return nil, err
	}
	data := append(append([]byte{}, first...), rest...)
	return data[:min(i.size, int64(len(data)))], nil
}
