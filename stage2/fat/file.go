package fat

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
)

// maxDepth bounds how deep directories are followed.
const maxDepth = 64

// find looks a path up. A directory that is its own ancestor is refused, so walking a tree comes to an end.
func (f *FS) find(op, name string) (*entry, error) {
	fail := func(err error) (*entry, error) { return nil, &fs.PathError{Op: op, Path: name, Err: err} }
	if !fs.ValidPath(name) {
		return fail(fs.ErrInvalid)
	}
	at := &entry{name: ".", dir: true, at: f.rootDir()}
	if name == "." {
		return at, nil
	}
	parts := strings.Split(name, "/")
	if len(parts) > maxDepth {
		return fail(fmt.Errorf("more than %d directories deep", maxDepth))
	}
	passed := []uint32{at.at.first}
	for _, part := range parts {
		if !at.dir {
			return fail(fs.ErrNotExist)
		}
		entries, err := f.list(at.at)
		if err != nil {
			return fail(err)
		}
		i := slices.IndexFunc(entries, func(e *entry) bool { return e.matches(part) })
		if i < 0 {
			return fail(fs.ErrNotExist)
		}
		at = entries[i]
		if at.dir && (slices.Contains(passed, at.at.first) || at.at.first == 0) {
			return fail(fmt.Errorf("%w: directory contains itself", ErrDamaged))
		}
		passed = append(passed, at.at.first)
	}
	return at, nil
}

// Open opens a file or directory, see [io/fs.FS].
func (f *FS) Open(name string) (fs.File, error) {
	e, err := f.find("open", name)
	if err != nil {
		return nil, err
	}
	if e.dir {
		return &dirFile{f: f, entry: e, name: name}, nil
	}
	file, err := f.open(e, name)
	if err != nil {
		return nil, err
	}
	return file, nil
}

func (f *FS) open(e *entry, name string) (*file, error) {
	if room := int64(f.geometry.clusters) * f.geometry.clusterSize; e.size > room {
		err := fmt.Errorf("%w: size of %d bytes, the file system has %d", ErrDamaged, e.size, room)
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return &file{entry: e, chain: f.chain(e.at.first), name: name, left: e.size}, nil
}

// ReadFile reads a whole file, see [io/fs.ReadFileFS]. Memory grows with the bytes read, not by the size on the disk.
func (f *FS) ReadFile(name string) ([]byte, error) {
	e, err := f.find("open", name)
	if err != nil {
		return nil, err
	}
	if e.dir {
		return nil, &fs.PathError{Op: "read", Path: name, Err: errors.New("is a directory")}
	}
	file, err := f.open(e, name)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(file)
}

// Stat tells about a file or directory, see [io/fs.StatFS].
func (f *FS) Stat(name string) (fs.FileInfo, error) {
	e, err := f.find("stat", name)
	if err != nil {
		return nil, err
	}
	return e, nil
}

// ReadDir lists a directory by name, see [io/fs.ReadDirFS].
func (f *FS) ReadDir(name string) ([]fs.DirEntry, error) {
	e, err := f.find("readdir", name)
	if err != nil {
		return nil, err
	}
	return f.readDir(e, name)
}

func (f *FS) readDir(e *entry, name string) ([]fs.DirEntry, error) {
	if !e.dir {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: errors.New("not a directory")}
	}
	entries, err := f.list(e.at)
	if err != nil {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: err}
	}
	slices.SortFunc(entries, func(a, b *entry) int { return strings.Compare(a.name, b.name) })
	out := make([]fs.DirEntry, len(entries))
	for i, e := range entries {
		out[i] = e
	}
	return out, nil
}

// file reads a file from its start to its end.
type file struct {
	entry  *entry
	chain  *chain
	name   string
	left   int64 // bytes of the file not read yet
	off    int64 // place of the next byte
	inHere int64 // bytes left in the cluster at off
	closed bool
}

func (f *file) Stat() (fs.FileInfo, error) { return f.entry, nil }

func (f *file) Close() error {
	if f.closed {
		return &fs.PathError{Op: "close", Path: f.name, Err: fs.ErrClosed}
	}
	f.closed = true
	return nil
}

func (f *file) Read(p []byte) (int, error) {
	n, err := f.read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = &fs.PathError{Op: "read", Path: f.name, Err: err}
	}
	return n, err
}

func (f *file) read(p []byte) (int, error) {
	if f.closed {
		return 0, fs.ErrClosed
	}
	if f.left == 0 {
		return 0, io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	if f.inHere == 0 {
		if err := f.advance(); err != nil {
			return 0, err
		}
	}
	p = p[:min(int64(len(p)), f.left, f.inHere)]
	if err := f.chain.f.readFull(p, f.off); err != nil {
		return 0, err
	}
	n := int64(len(p))
	f.off, f.left, f.inHere = f.off+n, f.left-n, f.inHere-n
	return len(p), nil
}

func (f *file) advance() error {
	off, err := f.chain.cluster()
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: chain ends %d bytes before the file's size of %d", ErrDamaged, f.left, f.entry.size)
	}
	f.off, f.inHere = off, f.chain.f.geometry.clusterSize
	return err
}

// dirFile is an open directory.
type dirFile struct {
	f     *FS
	entry *entry
	name  string
	rest  []fs.DirEntry
	read  bool
}

func (d *dirFile) Stat() (fs.FileInfo, error) { return d.entry, nil }
func (d *dirFile) Close() error               { return nil }

func (d *dirFile) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.name, Err: errors.New("is a directory")}
}

// ReadDir lists the directory in parts of n, see [io/fs.ReadDirFile].
func (d *dirFile) ReadDir(n int) ([]fs.DirEntry, error) {
	if !d.read {
		var err error
		if d.rest, err = d.f.readDir(d.entry, d.name); err != nil {
			return nil, err
		}
		d.read = true
	}
	if n <= 0 {
		n = len(d.rest)
	} else if len(d.rest) == 0 {
		return nil, io.EOF
	}
	n = min(n, len(d.rest))
	out := d.rest[:n]
	d.rest = d.rest[n:]
	return out, nil
}
