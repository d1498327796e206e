package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// ErrBusy is returned for a directory that another process has locked.
var ErrBusy = errors.New("in use by another process")

// Lock implements Host by flock(2) on the directory itself, so that no lock file is written or left behind.
func (r *Rooted) Lock(dir string) (func(), error) {
	p, err := r.find(dir)
	if err != nil {
		return nil, err
	}
	d, err := os.Open(p)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return func() {}, nil
	}
	if err != nil {
		return nil, named(err, dir)
	}
	if err := flock(d, "work dir "+dir); err != nil {
		return nil, err
	}
	return func() { _ = d.Close() }, nil
}

// flock takes the lock of an open file, or closes it.
func flock(f *os.File, what string) error {
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		return fmt.Errorf("%s: %w", what, ErrBusy)
	}
	return nil
}
