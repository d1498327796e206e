package fat

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"
)

const (
	entrySize = 32
	// maxDirSize is the format's own limit: 65536 entries.
	maxDirSize = 65536 * entrySize

	attrDir    = 0x10
	attrVolume = 0x08
	attrLong   = 0x0f

	entryEnd     = 0x00
	entryDeleted = 0xe5
	// Flags of byte 12: a short name whose base or extension is lower case (Windows NT; Linux writes it as well).
	lowerBase = 0x08
	lowerExt  = 0x10
)

// rawEntry is an entry as it stands on the disk.
type rawEntry []byte

func (e rawEntry) long() bool        { return e[11]&0x3f == attrLong }
func (e rawEntry) volumeLabel() bool { return !e.long() && e[11]&attrVolume != 0 }

// scan calls see for each entry, deleted ones too because they break a long name, until it returns false.
func (f *FS) scan(dir extent, see func(rawEntry) bool) error {
	read := int64(0)
	block := func(off, n int64) (bool, error) {
		if read += n; read > maxDirSize {
			return false, fmt.Errorf("%w: directory of more than %d bytes", ErrDamaged, maxDirSize)
		}
		buf := make([]byte, n)
		if err := f.readFull(buf, off); err != nil {
			return false, err
		}
		return scanBlock(buf, see), nil
	}
	if dir.fixed {
		_, err := block(dir.off, dir.length)
		return err
	}
	c := f.chain(dir.first)
	for {
		off, err := c.cluster()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("directory: %w", err)
		}
		if more, err := block(off, f.geometry.clusterSize); err != nil || !more {
			return err
		}
	}
}

// scanBlock returns whether the directory goes on.
func scanBlock(buf []byte, see func(rawEntry) bool) bool {
	for ; len(buf) >= entrySize; buf = buf[entrySize:] {
		if buf[0] == entryEnd || !see(rawEntry(buf[:entrySize])) {
			return false
		}
	}
	return true
}

// entry is a file or directory. It is its own fs.FileInfo and fs.DirEntry.
type entry struct {
	name, short string
	at          extent
	size        int64
	dir         bool
	modified    time.Time
}

func (e *entry) Name() string               { return e.name }
func (e *entry) Size() int64                { return e.size }
func (e *entry) IsDir() bool                { return e.dir }
func (e *entry) ModTime() time.Time         { return e.modified }
func (e *entry) Sys() any                   { return nil }
func (e *entry) Type() fs.FileMode          { return e.Mode().Type() }
func (e *entry) Info() (fs.FileInfo, error) { return e, nil }
func (e *entry) String() string             { return fs.FormatDirEntry(e) }

// Mode has no permissions to tell: FAT knows none.
func (e *entry) Mode() fs.FileMode {
	if e.dir {
		return fs.ModeDir | 0o555
	}
	return 0o444
}

func (e *entry) matches(name string) bool {
	return strings.EqualFold(e.name, name) || strings.EqualFold(e.short, name)
}

// list reads the files and directories of dir; of two with the same name only the first is there, as for the kernel.
func (f *FS) list(dir extent) ([]*entry, error) {
	var entries []*entry
	var long longName
	names := map[string]bool{}
	err := f.scan(dir, func(raw rawEntry) bool {
		switch {
		case raw[0] == entryDeleted || raw.volumeLabel():
			long = longName{}
		case raw.long():
			long.add(raw)
		default:
			e := f.newEntry(raw, long.take(raw[:11]))
			if key := strings.ToLower(e.name); e.short != "." && e.short != ".." && !names[key] {
				names[key] = true
				entries = append(entries, e)
			}
		}
		return true
	})
	return entries, err
}

func (f *FS) newEntry(raw rawEntry, long string) *entry {
	e := &entry{
		name:     long,
		short:    shortName(raw),
		dir:      raw[11]&attrDir != 0,
		size:     int64(binary.LittleEndian.Uint32(raw[28:])),
		modified: dosTime(binary.LittleEndian.Uint16(raw[24:]), binary.LittleEndian.Uint16(raw[22:])),
	}
	if e.name == "" {
		e.name = e.short
	}
	e.at.first = uint32(binary.LittleEndian.Uint16(raw[26:]))
	if f.geometry.bits == 32 {
		e.at.first |= uint32(binary.LittleEndian.Uint16(raw[20:])&0xfff) << 16
	}
	if e.dir {
		e.size = 0
	}
	return e
}

// dosTime is local time of nobody knows where; it is taken as UTC.
func dosTime(date, clock uint16) time.Time {
	if date == 0 {
		return time.Time{}
	}
	return time.Date(1980+int(date>>9), time.Month(date>>5&0xf), int(date&0x1f),
		int(clock>>11), int(clock>>5&0x3f), int(clock&0x1f)*2, 0, time.UTC)
}
