package host

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Rooted is the machine below a root directory.
type Rooted struct {
	root string
}

// At returns the machine below root, which must be an absolute path.
func At(root string) *Rooted {
	return &Rooted{root: path.Clean(root)}
}

// Root implements Reader.
func (r *Rooted) Root() string { return r.root }

// maxLinks is the kernel's MAXSYMLINKS.
const maxLinks = 40

// RealPath implements Reader. A last element that does not exist is not an error, so that it can name a file to be.
func (r *Rooted) RealPath(name string) (string, error) {
	done, rest, links := "/", strings.Split(path.Clean("/"+name), "/"), 0
	for len(rest) > 0 {
		next := rest[0]
		rest = rest[1:]
		if next == "" || next == "." {
			continue
		}
		at := path.Join(done, next)
		target, err := os.Readlink(r.real(at))
		if err != nil {
			done = at
			continue
		}
		if links++; links > maxLinks {
			return "", &fs.PathError{Op: "resolve", Path: name, Err: ErrLoop}
		}
		if path.IsAbs(target) {
			done = "/"
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return done, nil
}

// real is where a path without links lies on the running system.
func (r *Rooted) real(name string) string { return path.Join(r.root, name) }

// find returns where name lies on the running system, its links followed inside the root.
func (r *Rooted) find(name string) (string, error) {
	if r.root == "/" {
		return path.Clean("/" + name), nil
	}
	p, err := r.RealPath(name)
	if err != nil {
		return "", err
	}
	return r.real(p), nil
}

// findLink is find without following the last element.
func (r *Rooted) findLink(name string) (string, error) {
	dir, base := path.Split(path.Clean("/" + name))
	parent, err := r.find(dir)
	if err != nil {
		return "", err
	}
	return path.Join(parent, base), nil
}

// named gives err the name the caller used in place of where it lies.
func named(err error, name string) error {
	if pe, ok := err.(*fs.PathError); ok { //nolint:errorlint // only the os package's own, unwrapped error is renamed
		return &fs.PathError{Op: pe.Op, Path: name, Err: pe.Err}
	}
	return err
}

// ReadFile implements Reader.
func (r *Rooted) ReadFile(name string) ([]byte, error) {
	killPoint()
	p, err := r.find(name)
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(p)
	return data, named(err, name)
}

// Open implements Reader.
func (r *Rooted) Open(name string) (File, error) {
	killPoint()
	p, err := r.find(name)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(p)
	if err != nil {
		return nil, named(err, name)
	}
	return f, nil
}

// ReadDir implements Reader.
func (r *Rooted) ReadDir(name string) ([]fs.DirEntry, error) {
	killPoint()
	p, err := r.find(name)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(p)
	return entries, named(err, name)
}

// Stat implements Reader.
func (r *Rooted) Stat(name string) (fs.FileInfo, error) {
	killPoint()
	p, err := r.find(name)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(p)
	return info, named(err, name)
}

// Lstat implements Reader.
func (r *Rooted) Lstat(name string) (fs.FileInfo, error) {
	p, err := r.findLink(name)
	if err != nil {
		return nil, err
	}
	info, err := os.Lstat(p)
	return info, named(err, name)
}

// Readlink implements Reader.
func (r *Rooted) Readlink(name string) (string, error) {
	killPoint()
	p, err := r.findLink(name)
	if err != nil {
		return "", err
	}
	target, err := os.Readlink(p)
	return target, named(err, name)
}

// Space implements Reader.
func (r *Rooted) Space(name string) (Space, error) {
	p, err := r.find(name)
	if err != nil {
		return Space{}, err
	}
	var st unix.Statfs_t
	if err := unix.Statfs(p, &st); err != nil {
		return Space{}, &fs.PathError{Op: "statfs", Path: name, Err: err}
	}
	return Space{Total: int64(st.Blocks) * int64(st.Bsize), Free: int64(st.Bavail) * int64(st.Bsize)}, nil
}

// Machine implements Reader. Below another root it is /proc/sys/kernel/arch, which Linux has since 6.1.
func (r *Rooted) Machine() string {
	if r.root != "/" {
		data, err := r.ReadFile("/proc/sys/kernel/arch")
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(data))
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Machine[:])
}

// Privileged implements Reader. Another root is a directory of the caller's, whose own rights are enough.
func (r *Rooted) Privileged() bool { return r.root != "/" || os.Geteuid() == 0 }

// Dial implements Reader.
func (r *Rooted) Dial(ctx context.Context, address string) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("connect to %s: %w", address, err)
	}
	return conn.Close()
}

// Alive implements Reader.
func (r *Rooted) Alive(pid int) bool {
	err := syscall.Kill(pid, 0)
	return err == nil || err == syscall.EPERM
}

// Now implements Reader.
func (r *Rooted) Now() time.Time { return time.Now() }
