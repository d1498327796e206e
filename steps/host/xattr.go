package host

import (
	"errors"
	"io/fs"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Xattrs implements Reader. Attributes that the kernel does not let us read (those of security modules, trusted ones for
// other users than root) are left out, and so is one that vanishes meanwhile.
func (r *Rooted) Xattrs(name string) (map[string]string, error) {
	p, err := r.findLink(name)
	if err != nil {
		return nil, err
	}
	list, err := grow(func(buf []byte) (int, error) { return unix.Llistxattr(p, buf) })
	if err != nil || len(list) == 0 {
		return nil, xattrError(name, err)
	}
	all := map[string]string{}
	for attr := range strings.SplitSeq(strings.TrimSuffix(string(list), "\x00"), "\x00") {
		value, err := grow(func(buf []byte) (int, error) { return unix.Lgetxattr(p, attr, buf) })
		switch {
		case errors.Is(err, unix.ENODATA), errors.Is(err, syscall.EPERM), errors.Is(err, syscall.EACCES):
		case err != nil:
			return nil, xattrError(name, err)
		default:
			all[attr] = string(value)
		}
	}
	return all, nil
}

// grow calls get with a buffer that is long enough: with none it tells the size, which may change until the next call
// (listxattr(2)).
func grow(get func(buf []byte) (int, error)) ([]byte, error) {
	for {
		size, err := get(nil)
		if err != nil || size == 0 {
			return nil, err
		}
		buf := make([]byte, size)
		n, err := get(buf)
		if !errors.Is(err, syscall.ERANGE) {
			return buf[:max(n, 0)], err
		}
	}
}

// xattrError names the file. A file system without attributes is no error: the file has none.
func xattrError(name string, err error) error {
	if err == nil || errors.Is(err, syscall.ENOTSUP) {
		return nil
	}
	return &fs.PathError{Op: "read attributes", Path: name, Err: err}
}
