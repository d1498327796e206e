package ext4

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
)

// maxDirSize bounds the directories that are read, in bytes: about half a million files.
const maxDirSize = 32 << 20

// dirEntry is an entry as it stands in a directory. kind is its file type byte, 0 where the file system has none.
type dirEntry struct {
	name  string
	inode uint32
	kind  byte
}

// errStop ends a scan early.
var errStop = errors.New("stop")

// scan calls see for each entry but "." and "..", until it returns an error. A hashed directory is read from its
// beginning to its end: to those who don't know hashes its inner nodes look like empty entries.
func (f *FS) scan(dir *inode, see func(dirEntry) error) error {
	err := f.scanAll(dir, see)
	if errors.Is(err, errStop) {
		return nil
	}
	return err
}

func (f *FS) scanAll(dir *inode, see func(dirEntry) error) error {
	if dir.flags&flagInline != 0 {
		return f.scanInline(dir, see)
	}
	if dir.size > maxDirSize || dir.size%f.super.blockSize != 0 {
		return fmt.Errorf("%w: %s: a directory of %d bytes, expected blocks of %d up to %d", ErrDamaged, dir, dir.size, f.super.blockSize, maxDirSize)
	}
	extents, err := f.extents(dir)
	if err != nil {
		return err
	}
	for _, e := range extents {
		for off := int64(0); off < e.Length && e.Offset+off < dir.size; off += f.super.blockSize {
			number := uint64((e.Place + off) / f.super.blockSize)
			what := fmt.Sprintf("directory %s, block %d", dir, number)
			b, err := f.block(number, what)
			if err != nil {
				return err
			}
			if err := f.checkDirBlock(dir, b, what); err != nil {
				return err
			}
			if err := f.entries(b, what, see); err != nil {
				return err
			}
		}
	}
	return nil
}

// dirTail is the entry without a name at the end of a block that holds its checksum.
const dirTail = 12

// checkDirBlock verifies a block that holds entries. Those of the hash tree have their checksum elsewhere and hold
// nothing that is used here.
func (f *FS) checkDirBlock(dir *inode, b []byte, what string) error {
	tail := b[len(b)-dirTail:]
	if !bytes.Equal(tail[:8], []byte{0, 0, 0, 0, dirTail, 0, 0, 0xde}) {
		return nil
	}
	return f.checkTail(dir, b, len(b)-dirTail, what)
}

// scanInline reads a directory in its inode: the parent's number, then entries, and more of them in the second part.
func (f *FS) scanInline(dir *inode, see func(dirEntry) error) error {
	first, rest, err := f.inline(dir)
	if err != nil {
		return err
	}
	if err := f.entries(first[4:], dir.String(), see); err != nil {
		return err
	}
	return f.entries(rest, dir.String(), see)
}

// entries reads a block of them.
func (f *FS) entries(b []byte, what string, see func(dirEntry) error) error {
	for at := 0; at+8 <= len(b); {
		e := b[at:]
		length := f.entryLength(binary.LittleEndian.Uint16(e[4:]))
		if length < 8 || length%4 != 0 || length > len(e) {
			return fmt.Errorf("%w: %s: an entry of %d bytes at offset %d of %d", ErrDamaged, what, length, at, len(b))
		}
		at += length
		if binary.LittleEndian.Uint32(e) == 0 {
			continue
		}
		d, err := f.entry(e[:length], what)
		if err != nil {
			return err
		}
		if d.name == "." || d.name == ".." {
			continue
		}
		if err := see(d); err != nil {
			return err
		}
	}
	return nil
}

// entryLength decodes rec_len: the two low bits, always 0, are high bits with blocks of 64 KiB (fs/ext4/ext4.h).
func (f *FS) entryLength(n uint16) int {
	if f.super.blockSize < 1<<16 {
		return int(n)
	}
	if n == 0 || n == 65535 {
		return int(f.super.blockSize)
	}
	return int(n&65532) | int(n&3)<<16
}

func (f *FS) entry(e []byte, what string) (dirEntry, error) {
	d := dirEntry{inode: binary.LittleEndian.Uint32(e)}
	n := int(e[6])
	if f.super.hasFileType() {
		d.kind = e[7]
	} else {
		n |= int(e[7]) << 8
	}
	if 8+n > len(e) || n == 0 {
		return d, fmt.Errorf("%w: %s: a name of %d bytes in an entry of %d", ErrDamaged, what, n, len(e))
	}
	name := e[8 : 8+n]
	if bytes.ContainsAny(name, "/\x00") {
		return d, fmt.Errorf("%w: %s: the name %q", ErrDamaged, what, name)
	}
	d.name = string(name)
	return d, nil
}

// typeOf is the file type of an entry, and whether the file system tells it without the inode.
func (d dirEntry) typeOf() (fs.FileMode, bool) {
	kinds := []fs.FileMode{1: 0, fs.ModeDir, fs.ModeDevice | fs.ModeCharDevice, fs.ModeDevice, fs.ModeNamedPipe, fs.ModeSocket, fs.ModeSymlink}
	if d.kind == 0 || int(d.kind) >= len(kinds) {
		return 0, false
	}
	return kinds[d.kind], true
}

// child finds an entry of a directory.
func (f *FS) child(dir *inode, name string) (*inode, error) {
	var number uint32
	err := f.scan(dir, func(d dirEntry) error {
		if d.name != name {
			return nil
		}
		number = d.inode
		return errStop
	})
	if err != nil {
		return nil, err
	}
	if number == 0 {
		return nil, fs.ErrNotExist
	}
	return f.inode(number)
}
