package ext4

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"sort"
	"time"
)

// content is the bytes of a file wherever they lie.
type content struct {
	f       *FS
	size    int64
	data    []byte // of a file in its inode; then there are no extents
	extents []Extent
	what    string
}

func (f *FS) content(i *inode) (*content, error) {
	c := &content{f: f, size: i.size, what: i.String()}
	var err error
	if i.flags&flagInline != 0 {
		c.data, err = f.inlineData(i)
	} else {
		c.extents, err = f.extents(i)
	}
	return c, err
}

// ReadAt implements io.ReaderAt. Holes and what was allocated but never written are zeros.
func (c *content) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fs.ErrInvalid
	}
	n := 0
	for n < len(p) && off < c.size {
		m, err := c.part(p[n:min(int64(len(p)), int64(n)+c.size-off)], off)
		n, off = n+m, off+int64(m)
		if err != nil {
			return n, err
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// part fills the beginning of p, which does not reach beyond the end, from one extent or hole.
func (c *content) part(p []byte, off int64) (int, error) {
	if c.data != nil {
		n := copy(p, c.data[min(off, int64(len(c.data))):])
		clear(p[n:])
		return len(p), nil
	}
	k := sort.Search(len(c.extents), func(k int) bool { return c.extents[k].Offset+c.extents[k].Length > off })
	if k == len(c.extents) || c.extents[k].Offset > off {
		if k < len(c.extents) {
			p = p[:min(int64(len(p)), c.extents[k].Offset-off)]
		}
		clear(p)
		return len(p), nil
	}
	e := c.extents[k]
	p = p[:min(int64(len(p)), e.Offset+e.Length-off)]
	if err := c.f.read(p, e.Place+off-e.Offset, c.what); err != nil {
		return 0, err
	}
	return len(p), nil
}

// info is a file's or directory's fs.FileInfo.
type info struct {
	name string
	i    *inode
}

func (s info) Name() string       { return s.name }
func (s info) Size() int64        { return s.i.size }
func (s info) Mode() fs.FileMode  { return s.i.mode }
func (s info) ModTime() time.Time { return s.i.modified }
func (s info) IsDir() bool        { return s.i.mode.IsDir() }
func (s info) Sys() any           { return nil }
func (s info) String() string     { return fs.FormatFileInfo(s) }

// File is an open regular file. Besides fs.File it is an io.ReaderAt and an io.Seeker.
type File struct {
	*io.SectionReader
	c      *content
	info   info
	path   string
	closed bool
}

// Open opens a file or directory, see [io/fs.FS]. Links are followed; a regular file is a [*File].
func (f *FS) Open(name string) (fs.File, error) {
	i, err := f.find("open", name, true)
	if err != nil {
		return nil, err
	}
	if i.mode.IsDir() {
		return &dirFile{f: f, i: i, name: name}, nil
	}
	return f.file(i, name)
}

// OpenFile opens a regular file.
func (f *FS) OpenFile(name string) (*File, error) {
	i, err := f.find("open", name, true)
	if err != nil {
		return nil, err
	}
	return f.file(i, name)
}

func (f *FS) file(i *inode, name string) (*File, error) {
	fail := func(err error) (*File, error) { return nil, &fs.PathError{Op: "open", Path: name, Err: err} }
	if !i.mode.IsRegular() {
		return fail(fmt.Errorf("%s, expected a regular file", i.mode.Type()))
	}
	c, err := f.content(i)
	if err != nil {
		return fail(err)
	}
	return &File{SectionReader: io.NewSectionReader(c, 0, c.size), c: c, info: info{path.Base(name), i}, path: name}, nil
}

// Stat implements fs.File.
func (f *File) Stat() (fs.FileInfo, error) { return f.info, nil }

// Read implements fs.File.
func (f *File) Read(p []byte) (int, error) {
	if f.closed {
		return 0, &fs.PathError{Op: "read", Path: f.path, Err: fs.ErrClosed}
	}
	return f.SectionReader.Read(p)
}

// Close implements fs.File.
func (f *File) Close() error {
	if f.closed {
		return &fs.PathError{Op: "close", Path: f.path, Err: fs.ErrClosed}
	}
	f.closed = true
	return nil
}

// Extents lists where the file's bytes lie in the file system, in the order of the file; what is between them is zero.
// It is an error for a file that lies in its inode, which has no place of its own.
func (f *File) Extents() ([]Extent, error) {
	if f.c.data != nil {
		return nil, &fs.PathError{Op: "extents", Path: f.path, Err: errors.New("the file lies in its inode")}
	}
	return slices.Clone(f.c.extents), nil
}

// maxReadFile is the largest file that ReadFile reads, in bytes: a sparse file may claim any size.
const maxReadFile = 64 << 20

// ReadFile reads a whole file of at most 64 MiB, see [io/fs.ReadFileFS]. Use Open for larger ones.
func (f *FS) ReadFile(name string) ([]byte, error) {
	file, err := f.OpenFile(name)
	if err != nil {
		return nil, err
	}
	if file.Size() > maxReadFile {
		return nil, &fs.PathError{Op: "read", Path: name, Err: fmt.Errorf("a file of %d bytes, expected at most %d", file.Size(), maxReadFile)}
	}
	return io.ReadAll(file)
}

// Stat tells about a file or directory, see [io/fs.StatFS].
func (f *FS) Stat(name string) (fs.FileInfo, error) { return f.stat("stat", name, true) }

// Lstat is Stat that does not follow the last link, see [io/fs.ReadLinkFS].
func (f *FS) Lstat(name string) (fs.FileInfo, error) { return f.stat("lstat", name, false) }

func (f *FS) stat(op, name string, follow bool) (fs.FileInfo, error) {
	i, err := f.find(op, name, follow)
	if err != nil {
		return nil, err
	}
	return info{path.Base(name), i}, nil
}

// ReadLink returns the target of a symbolic link, see [io/fs.ReadLinkFS].
func (f *FS) ReadLink(name string) (string, error) {
	i, err := f.find("readlink", name, false)
	if err != nil {
		return "", err
	}
	if i.mode.Type() != fs.ModeSymlink {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrInvalid}
	}
	to, err := f.target(i)
	if err != nil {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: err}
	}
	return to, nil
}
