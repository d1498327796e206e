package host

import (
	"io"
	"io/fs"
	"os"
)

// Part is a file that is made over several runs: what was written stays when the process ends. Its owner has to know
// how much of it is good, for after a power cut only what Sync had returned for is.
type Part interface {
	File
	io.Writer
	Truncate(size int64) error
	Sync() error
}

// part is a Part whose writes can be killed.
type part struct{ *os.File }

// Write implements io.Writer.
func (p part) Write(b []byte) (int, error) {
	killPoint()
	return p.File.Write(b)
}

// OpenPart implements Host.
func (r *Rooted) OpenPart(name string, mode fs.FileMode) (Part, error) {
	p, err := r.find(name)
	if err != nil {
		return nil, err
	}
	killPoint()
	f, err := os.OpenFile(p, os.O_RDWR|os.O_CREATE, mode.Perm())
	if err != nil {
		return nil, named(err, name)
	}
	if err := f.Chmod(mode.Perm()); err != nil {
		_ = f.Close() // nothing was written
		return nil, named(err, name)
	}
	return part{f}, nil
}
