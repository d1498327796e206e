package ext4

import (
	"errors"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// ReadDir lists a directory by name, see [io/fs.ReadDirFS].
func (f *FS) ReadDir(name string) ([]fs.DirEntry, error) {
	i, err := f.find("readdir", name, true)
	if err != nil {
		return nil, err
	}
	return f.readDir(i, name)
}

func (f *FS) readDir(dir *inode, name string) ([]fs.DirEntry, error) {
	fail := func(err error) ([]fs.DirEntry, error) {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: err}
	}
	if !dir.mode.IsDir() {
		return fail(errors.New("not a directory"))
	}
	var out []fs.DirEntry
	err := f.scan(dir, func(d dirEntry) error {
		e := listed{dirEntry: d, f: f}
		var known bool
		if e.mode, known = d.typeOf(); !known {
			i, err := f.inode(d.inode)
			if err != nil {
				return err
			}
			e.mode = i.mode.Type()
		}
		out = append(out, e)
		return nil
	})
	if err != nil {
		return fail(err)
	}
	slices.SortFunc(out, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return out, nil
}

// listed is an entry of a directory that was listed.
type listed struct {
	dirEntry
	f    *FS
	mode fs.FileMode
}

func (l listed) Name() string      { return l.name }
func (l listed) IsDir() bool       { return l.mode.IsDir() }
func (l listed) Type() fs.FileMode { return l.mode }
func (l listed) String() string    { return fs.FormatDirEntry(l) }

func (l listed) Info() (fs.FileInfo, error) {
	i, err := l.f.inode(l.inode)
	if err != nil {
		return nil, &fs.PathError{Op: "stat", Path: l.name, Err: err}
	}
	return info{l.name, i}, nil
}

// dirFile is an open directory.
type dirFile struct {
	f       *FS
	i       *inode
	name    string
	entries []fs.DirEntry
	read    bool
	closed  bool
}

func (d *dirFile) Stat() (fs.FileInfo, error) { return info{path.Base(d.name), d.i}, nil }

func (d *dirFile) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.name, Err: errors.New("is a directory")}
}

func (d *dirFile) Close() error {
	if d.closed {
		return &fs.PathError{Op: "close", Path: d.name, Err: fs.ErrClosed}
	}
	d.closed = true
	return nil
}

// ReadDir implements fs.ReadDirFile.
func (d *dirFile) ReadDir(n int) ([]fs.DirEntry, error) {
	if d.closed {
		return nil, &fs.PathError{Op: "readdir", Path: d.name, Err: fs.ErrClosed}
	}
	if !d.read {
		var err error
		if d.entries, err = d.f.readDir(d.i, d.name); err != nil {
			return nil, err
		}
		d.read = true
	}
	if n <= 0 {
		n = len(d.entries)
	} else if len(d.entries) == 0 {
		return nil, io.EOF
	}
	n = min(n, len(d.entries))
	out := d.entries[:n:n]
	d.entries = d.entries[n:]
	return out, nil
}
