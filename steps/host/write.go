package host

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"syscall"
)

// Unfinished marks files that are not finished: ".name.balena-new" beside "name". The next writer of that name replaces it.
const Unfinished = ".balena-new"

// Pending is a file on its way: it has no name until Commit. Exactly one of Commit and Discard ends it; Discard
// after Commit does nothing, so that it can be deferred.
type Pending struct {
	*os.File
	temp, final string
	done        bool
}

// Create implements Host. What a killed run left behind under the temporary name is replaced.
func (r *Rooted) Create(name string, mode fs.FileMode) (*Pending, error) {
	target, err := r.RealPath(name) // rename(2) would replace a link, not what it points to
	if err != nil {
		return nil, err
	}
	final := r.real(target)
	temp := filepath.Join(filepath.Dir(final), "."+filepath.Base(final)+Unfinished)
	if err := os.Remove(temp); err != nil && !os.IsNotExist(err) {
		return nil, named(err, name)
	}
	killPoint()
	f, err := os.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, mode.Perm())
	if err != nil {
		return nil, named(err, name)
	}
	p := &Pending{File: f, temp: temp, final: final}
	killPoint()
	// The umask must not decide who may read a secret or start a program.
	if err := f.Chmod(mode.Perm()); err != nil {
		p.Discard()
		return nil, named(err, name)
	}
	return p, nil
}

// Write implements io.Writer.
func (p *Pending) Write(b []byte) (int, error) {
	killPoint()
	return p.File.Write(b)
}

// Commit makes the file durable and gives it its name, in this order, so that no crash shows half of it: rename(2)
// is atomic, but promises nothing of data that was not synced before.
func (p *Pending) Commit() error {
	killPoint()
	if err := p.Sync(); err != nil {
		p.Discard()
		return err
	}
	killPoint()
	if err := p.Close(); err != nil {
		p.Discard()
		return err
	}
	killPoint()
	if err := os.Rename(p.temp, p.final); err != nil {
		p.Discard()
		return err
	}
	p.done = true
	killPoint()
	return syncDir(filepath.Dir(p.final))
}

// Discard removes the unfinished file.
func (p *Pending) Discard() {
	if p.done {
		return
	}
	p.done = true
	_ = p.Close()         // a second close is harmless
	_ = os.Remove(p.temp) // a leftover is replaced by the next Create
}

// WriteFile implements Host.
func (r *Rooted) WriteFile(name string, data []byte, mode fs.FileMode) error {
	p, err := r.Create(name, mode)
	if err != nil {
		return err
	}
	defer p.Discard()
	if _, err := bytes.NewReader(data).WriteTo(p); err != nil {
		return named(err, name)
	}
	if err := p.Commit(); err != nil {
		return fmt.Errorf("commit %s: %w", name, err)
	}
	return nil
}

// MkdirAll implements Host. Only directories that it makes get the mode.
func (r *Rooted) MkdirAll(name string, mode fs.FileMode) error {
	p, err := r.find(name)
	if err != nil {
		return err
	}
	if info, err := os.Stat(p); err == nil {
		if !info.IsDir() {
			return &fs.PathError{Op: "mkdir", Path: name, Err: syscall.ENOTDIR}
		}
		return nil
	}
	if parent := path.Dir(path.Clean("/" + name)); parent != "/" {
		if err := r.MkdirAll(parent, mode|0o055); err != nil {
			return err
		}
	}
	killPoint()
	if err := os.Mkdir(p, mode.Perm()); err != nil && !os.IsExist(err) {
		return named(err, name)
	}
	if err := os.Chmod(p, mode.Perm()); err != nil {
		return named(err, name)
	}
	return syncDir(filepath.Dir(p))
}

// Remove implements Host: a file or an empty directory. What is gone already is no error.
func (r *Rooted) Remove(name string) error {
	p, err := r.findLink(name)
	if err != nil {
		return err
	}
	killPoint()
	if err := os.Remove(p); err != nil {
		if os.IsNotExist(err) {
			return nil
		}
		return named(err, name)
	}
	killPoint()
	return syncDir(filepath.Dir(p))
}

// Rename implements Host. What the file holds is made durable first, as rename(2) promises nothing of it.
func (r *Rooted) Rename(from, to string) error {
	source, err := r.findLink(from)
	if err != nil {
		return err
	}
	target, err := r.find(to)
	if err != nil {
		return err
	}
	f, err := os.Open(source)
	if err != nil {
		return named(err, from)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return named(err, from)
	}
	killPoint()
	if err := os.Rename(source, target); err != nil {
		return named(err, from)
	}
	killPoint()
	return syncDir(filepath.Dir(target))
}

// syncDir makes a name durable: fsync(2), "an explicit fsync() on a file descriptor for the directory is also needed".
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
