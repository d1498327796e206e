package backup

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/balena-community/balena-migrate/steps/host"
)

// maxFollowed is how many links that lead out may lie behind one another: what is followed there can be a whole system.
const maxFollowed = 8

// link visits a symbolic link.
//
// The predecessor stored what links lead to (S94), so what lies elsewhere came along, and every file that is linked to
// came twice. Here a link stays a link where it can: one that leads from one place of the item to another leads there in
// the volume too, made relative when it was absolute. One that leads out would lead nowhere in the container, so what it
// leads to takes its place, as it used to. One that leads to nothing that can be stored is kept: it may well mean
// something in the container, as /dev/ttyS0 does.
func (w *walker) link(ctx context.Context, e entry, s source) error {
	target, err := w.r.Readlink(e.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	e.link = target
	if !path.IsAbs(target) && s.holds(path.Join(path.Dir(e.path), target)) {
		return w.put(e)
	}
	real, info, err := w.behind(e.path)
	switch {
	case err != nil:
		return err
	case info != nil && s.holds(real):
		e.was = target
		if e.link, err = filepath.Rel(path.Dir(e.path), real); err != nil {
			return err
		}
	case info == nil || !w.follows(real, info):
		e.out = true
	default:
		w.followed++
		defer func() { w.followed-- }()
		s.path, s.pick = real, nil // from here on this is what links may stay in
		return w.tree(ctx, entry{name: e.name, path: real, info: info, via: e.path}, s)
	}
	return w.put(e)
}

// holds says whether a path of the device is part of what the item brings.
func (s source) holds(real string) bool {
	if real == s.path {
		return s.pick == nil
	}
	below, ok := strings.CutPrefix(real, s.path+"/")
	first, _, _ := strings.Cut(below, "/")
	return ok && (s.pick == nil || s.pick.MatchString(first))
}

// behind finds what a link leads to in the end; nothing where it leads nowhere.
func (w *walker) behind(link string) (string, fs.FileInfo, error) {
	real, err := w.r.RealPath(link)
	if err != nil {
		return "", nil, ignore(err, host.ErrLoop)
	}
	info, err := w.r.Lstat(real)
	if err != nil {
		return "", nil, ignore(err, fs.ErrNotExist, syscall.ENOTDIR)
	}
	return real, info, nil
}

// ignore returns err unless it is one of those.
func ignore(err error, these ...error) error {
	for _, e := range these {
		if errors.Is(err, e) {
			return nil
		}
	}
	return err
}

// follows says whether what a link leads to is stored in its place: a file or directory, but none of the kernel's, not
// the work dir, which holds keys, and no directory that the link itself is in.
func (w *walker) follows(real string, info fs.FileInfo) bool {
	if !info.IsDir() && !info.Mode().IsRegular() || w.followed >= maxFollowed {
		return false
	}
	for _, dir := range []string{"/proc", "/sys", "/dev", w.own} {
		if dir != "" && within(real, dir) {
			return false
		}
	}
	for _, dir := range w.open {
		if within(dir, real) {
			return false
		}
	}
	return true
}

func within(name, dir string) bool {
	return name == dir || strings.HasPrefix(name, strings.TrimSuffix(dir, "/")+"/")
}
