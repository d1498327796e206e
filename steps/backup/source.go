package backup

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"github.com/balena-community/balena-migrate/steps/host"
)

// source is an item whose source was found.
type source struct {
	item
	path string // on the device, its links followed
	info fs.FileInfo
	pick *regexp.Regexp // the filter, below the directory whose children it picks too
}

// contents is a volume whose sources were found.
type contents struct {
	volume  string
	sources []source
}

// resolve looks for the source of every item. own is the work dir's path on the device, which is never backed up.
func resolve(r host.Reader, volumes []volume, own string) ([]contents, []problem, error) {
	var all []contents
	var problems []problem
	for _, v := range volumes {
		c := contents{volume: v.name}
		for _, it := range v.items {
			s, bad, err := find(r, it, own)
			switch {
			case err != nil:
				return nil, nil, err
			case bad != nil:
				problems = append(problems, *bad)
			default:
				c.sources = append(c.sources, s)
			}
		}
		// Outer directories come first, so that the archive does not depend on the order of items, and a directory
		// that an item brings has its own mode and owner and not those of an invented one.
		slices.SortStableFunc(c.sources, func(a, b source) int {
			return cmp.Or(cmp.Compare(a.target, b.target), cmp.Compare(rank(a), rank(b)))
		})
		all = append(all, c)
	}
	return all, problems, nil
}

func rank(s source) int {
	if s.info.IsDir() && s.filter == nil {
		return 0
	}
	return 1
}

// find looks for one source.
func find(r host.Reader, it item, own string) (source, *problem, error) {
	bad := func(got, want, remedy string) (source, *problem, error) {
		return source{}, &problem{at: it.at, got: got, want: want, remedy: remedy}, nil
	}
	real, err := r.RealPath(it.source)
	if errors.Is(err, host.ErrLoop) {
		return bad("the source "+it.source+", a loop of links", "a file or directory", "correct the path")
	}
	if err != nil {
		return source{}, nil, err
	}
	info, err := r.Lstat(real)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return bad("the source "+it.source+", which does not exist", "a file or directory on the device", "correct the path, or remove the item")
	case err != nil:
		return source{}, nil, err
	case !info.IsDir() && !info.Mode().IsRegular():
		return bad(fmt.Sprintf("the source %s, which is %s", it.source, info.Mode().Type()), "a file or directory", "remove the item")
	case it.filter != nil && !info.IsDir():
		return bad("a filter for "+it.source+", which is a file", "a filter for a directory", "remove the filter")
	case real == "/":
		return bad("the source "+it.source+", the whole system", "a directory with data of the application", "name the directories that are needed")
	case real == own:
		return bad("the source "+it.source+", the work dir of this program", "another directory", "remove the item, or choose another --work-dir")
	}
	return source{item: it, path: real, info: info, pick: it.filter}, nil, nil
}

// ownPath is where the work dir lies on the device, "" when it is elsewhere.
func ownPath(device, files host.Reader, workDir string) (string, error) {
	real, err := files.RealPath(workDir)
	if err != nil {
		return "", err
	}
	real = path.Join(files.Root(), real)
	if device.Root() == "/" {
		return real, nil
	}
	below, ok := strings.CutPrefix(real, device.Root()+"/")
	if !ok {
		return "", nil
	}
	return "/" + below, nil
}
