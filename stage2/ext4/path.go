package ext4

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
)

// maxLinks is how many symbolic links are followed on the way to a file, as in the kernel (path_resolution(7)).
const maxLinks = 40

// maxPath bounds how deep directories are followed.
const maxPath = 256

// ErrLoop is returned for a path with more symbolic links than are followed.
var ErrLoop = errors.New("too many levels of symbolic links")

// walk is a way through the tree: the directories passed, and what is still to be gone.
type walk struct {
	f     *FS
	stack []*inode
	left  []string
	links int
}

// find looks a path up. The last element is followed, too, if it is a link and follow is set. A directory that is its
// own ancestor is refused, so walking a tree comes to an end.
func (f *FS) find(op, name string, follow bool) (*inode, error) {
	i, err := f.lookup(name, follow)
	if err != nil {
		return nil, &fs.PathError{Op: op, Path: name, Err: err}
	}
	return i, nil
}

func (f *FS) lookup(name string, follow bool) (*inode, error) {
	if !fs.ValidPath(name) {
		return nil, fs.ErrInvalid
	}
	root, err := f.inode(rootInode)
	if err != nil {
		return nil, err
	}
	if !root.mode.IsDir() {
		return nil, fmt.Errorf("%w: the root directory is a %s", ErrDamaged, root.mode.Type())
	}
	w := &walk{f: f, stack: []*inode{root}}
	w.push(name)
	for len(w.left) > 0 {
		at, err := w.step(follow)
		if at != nil || err != nil {
			return at, err
		}
	}
	return w.here(), nil
}

func (w *walk) here() *inode { return w.stack[len(w.stack)-1] }

// push puts a path before what is left.
func (w *walk) push(name string) {
	parts := slices.DeleteFunc(strings.Split(name, "/"), func(p string) bool { return p == "" || p == "." })
	w.left = slices.Concat(parts, w.left)
}

// step goes to the next element. What is not a directory ends the walk and is returned.
func (w *walk) step(follow bool) (*inode, error) {
	part := w.left[0]
	w.left = w.left[1:]
	if part == ".." { // only from links
		w.stack = w.stack[:max(len(w.stack)-1, 1)]
		return nil, nil
	}
	next, err := w.f.child(w.here(), part)
	if err != nil {
		return nil, err
	}
	switch {
	case next.mode.IsDir():
		return nil, w.enter(next)
	case next.mode.Type() == fs.ModeSymlink && (follow || len(w.left) > 0):
		return nil, w.link(next)
	case len(w.left) > 0:
		return nil, fs.ErrNotExist // a file is no directory
	}
	return next, nil
}

func (w *walk) enter(dir *inode) error {
	if len(w.stack) > maxPath {
		return fmt.Errorf("more than %d directories deep", maxPath)
	}
	if slices.ContainsFunc(w.stack, func(i *inode) bool { return i.number == dir.number }) {
		return fmt.Errorf("%w: directory %s contains itself", ErrDamaged, dir)
	}
	w.stack = append(w.stack, dir)
	return nil
}

func (w *walk) link(i *inode) error {
	if w.links++; w.links > maxLinks {
		return ErrLoop
	}
	to, err := w.f.target(i)
	if err != nil {
		return err
	}
	if strings.HasPrefix(to, "/") {
		w.stack = w.stack[:1]
	}
	w.push(to)
	return nil
}

// maxTarget is the longest target of a symbolic link (PATH_MAX).
const maxTarget = 4096

// target reads a symbolic link. Short targets lie in the inode where others have their tree.
func (f *FS) target(i *inode) (string, error) {
	if i.size == 0 || i.size > maxTarget {
		return "", fmt.Errorf("%w: %s: a link with a target of %d bytes", ErrDamaged, i, i.size)
	}
	if i.size < int64(len(i.root)) && i.flags&(flagInline|flagExtents) == 0 {
		return string(i.root[:i.size]), nil
	}
	c, err := f.content(i)
	if err != nil {
		return "", err
	}
	b := make([]byte, i.size)
	if _, err := c.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	return string(b), nil
}
