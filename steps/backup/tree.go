package backup

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"syscall"

	"github.com/balena-community/balena-migrate/steps/host"
)

// entry is one name in the archive.
type entry struct {
	name string // in the archive, without a trailing slash
	path string // on the device
	info fs.FileInfo
	link string // the target of a symbolic link
	was  string // its target on the device, when link is another
	out  bool   // it is kept, though it leads out of what is backed up
	via  string // the link that path was followed from
	hard string // the name in the archive of another link to the same file
}

// invented says that the entry is a directory which only the definition asks for.
func (e entry) invented() bool { return e.info == nil }

// collision is a name that two items claim.
type collision struct {
	name string
	at   position
}

// Error implements error.
func (c *collision) Error() string { return "two items put a file at " + c.name }

// walker visits everything that goes into an archive, in the order of the archive, which is the same for the same
// sources. Nothing is opened but directories. What vanishes during the walk is not visited.
type walker struct {
	r     host.Reader
	own   string
	visit func(entry) error
	// begin, when not nil, is told of each item before what it brings is visited.
	begin func(volume string, s source)
	// open are the directories that are being visited, outer ones first, by their paths on the device; followed how many
	// of them a link led to.
	open     []string
	followed int
	// seen are the names of a volume with several items (true: directories), which may meet; links the first names
	// of files with several links.
	seen  map[string]bool
	links map[inode]string
	// unmatched are the items whose filter matched nothing.
	unmatched []item
}

type inode struct{ device, number uint64 }

// walk visits the volumes.
func (w *walker) walk(ctx context.Context, all []contents) error {
	for _, c := range all {
		w.seen, w.links = nil, map[inode]string{}
		if len(c.sources) > 1 {
			w.seen = map[string]bool{}
		}
		for _, s := range c.sources {
			if err := w.source(ctx, c.volume, s); err != nil {
				if c := (*collision)(nil); errors.As(err, &c) {
					c.at = s.at
				}
				return err
			}
		}
	}
	return nil
}

// source visits what one item brings.
func (w *walker) source(ctx context.Context, volume string, s source) error {
	if w.begin != nil {
		w.begin(volume, s)
	}
	top := path.Join(volume, s.target)
	switch {
	case !s.info.IsDir():
		if s.into {
			top = path.Join(top, path.Base(s.source))
		}
		if err := w.parents(path.Dir(top)); err != nil {
			return err
		}
		return w.put(entry{name: top, path: s.path, info: s.info})
	case s.filter != nil:
		if err := w.parents(top); err != nil {
			return err
		}
		return w.children(ctx, entry{name: top, path: s.path}, s)
	default:
		if err := w.parents(path.Dir(top)); err != nil {
			return err
		}
		return w.tree(ctx, entry{name: top, path: s.path, info: s.info}, s)
	}
}

// parents visits the directories that only the definition asks for.
func (w *walker) parents(dir string) error {
	if dir == "." {
		return nil
	}
	if err := w.parents(path.Dir(dir)); err != nil {
		return err
	}
	return w.put(entry{name: dir})
}

// tree visits an entry and what is below it.
func (w *walker) tree(ctx context.Context, e entry, s source) error {
	if err := w.put(e); err != nil || !e.info.IsDir() {
		return err
	}
	s.filter = nil
	return w.children(ctx, e, s)
}

// children visits what is in a directory of the source, sorted by name.
func (w *walker) children(ctx context.Context, dir entry, s source) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	list, err := w.r.ReadDir(dir.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	w.open = append(w.open, dir.path)
	defer func() { w.open = w.open[:len(w.open)-1] }()
	matched := false
	for _, d := range list {
		child := entry{name: path.Join(dir.name, d.Name()), path: path.Join(dir.path, d.Name())}
		if child.path == w.own || s.filter != nil && !s.filter.MatchString(d.Name()) {
			continue
		}
		matched = true
		if err := w.child(ctx, child, s, d); err != nil {
			return err
		}
	}
	if s.filter != nil && !matched {
		w.unmatched = append(w.unmatched, s.item)
	}
	return nil
}

// child visits one of them. It is nobody's fault when it is gone.
func (w *walker) child(ctx context.Context, e entry, s source, d fs.DirEntry) error {
	var err error
	e.info, err = d.Info()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case e.info.Mode()&fs.ModeSymlink != 0:
		return w.link(ctx, e, s)
	}
	return w.tree(ctx, e, s)
}

// put visits one entry: directories that meet are joined, files that meet are an error.
func (w *walker) put(e entry) error {
	if w.seen != nil {
		dir := e.invented() || e.info.IsDir()
		was, ok := w.seen[e.name]
		switch {
		case ok && was && dir:
			return nil
		case ok:
			return &collision{name: e.name}
		}
		w.seen[e.name] = dir
	}
	if st := stat(e.info); st != nil && st.Nlink > 1 && e.info.Mode().IsRegular() {
		id := inode{device: uint64(st.Dev), number: st.Ino}
		e.hard = w.links[id]
		if e.hard == "" {
			w.links[id] = e.name
		}
	}
	return w.visit(e)
}

// stat is the kernel's own record of a file, nil for an invented directory.
func stat(info fs.FileInfo) *syscall.Stat_t {
	if info == nil {
		return nil
	}
	st, _ := info.Sys().(*syscall.Stat_t)
	return st
}
