package host

import (
	"io"
	"os"
)

// OpenDevice implements Host.
func (r *Rooted) OpenDevice(name string) (io.WriteCloser, error) {
	p, err := r.find(name)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(p, os.O_WRONLY, 0)
	if err != nil {
		return nil, named(err, name)
	}
	return f, nil
}
