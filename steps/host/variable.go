package host

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// immutable is FS_IMMUTABLE_FL (linux/fs.h).
const immutable = 0x10

// WriteVariable implements Host. efivarfs knows no temporary names and no rename: one write(2) is one SetVariable of the
// firmware (Documentation/filesystems/efivarfs.rst).
func (r *Rooted) WriteVariable(name string, data []byte) error {
	p, err := r.find(name)
	if err != nil {
		return err
	}
	if err := mutable(p); err != nil {
		return named(err, name)
	}
	f, err := os.OpenFile(p, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return named(err, name)
	}
	if _, err := f.Write(data); err != nil {
		return errors.Join(named(err, name), f.Close())
	}
	return named(f.Close(), name)
}

// RemoveVariable implements Host.
func (r *Rooted) RemoveVariable(name string) error {
	p, err := r.find(name)
	if err != nil {
		return err
	}
	if err := mutable(p); err != nil {
		return named(err, name)
	}
	if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return named(err, name)
	}
	return nil
}

// mutable takes the flag away by which efivarfs protects variables from rm -rf. Other file systems may not know it.
func mutable(file string) error {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	flags, err := unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	if err != nil || flags&immutable == 0 {
		return nil //nolint:nilerr // no flags, no protection
	}
	return os.NewSyscallError("FS_IOC_SETFLAGS", unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags&^immutable))
}
