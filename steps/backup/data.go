package backup

import (
	"errors"
	"io"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/balena-community/balena-migrate/steps/host"
)

// content reads a file from its start to its end, as blocks of blockSize counted from its start. Holes are not read:
// lseek(2) tells where the next data are, and what lies before them is zeros. On a file system that can't tell, all of
// the file is data.
type content struct {
	f         host.File
	at, data  int64 // the next byte, and where the data behind it begin
	end       int64 // where these data end
	holes     bool
	exhausted bool
}

func newContent(f host.File) *content { return &content{f: f, holes: true} }

// next fills a block that must be as long as what is left of the file, at most blockSize. It returns how much it is, less
// only where the file has become shorter.
func (c *content) next(block []byte) (int, error) {
	if c.holes {
		c.find()
	}
	if c.holes && (c.exhausted || c.data >= c.at+int64(len(block))) {
		clear(block)
		c.at += int64(len(block))
		return len(block), nil
	}
	n, err := c.f.ReadAt(block, c.at)
	c.at += int64(n)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// find looks for the data at or behind the next byte.
func (c *content) find() {
	if c.exhausted || c.at < c.end {
		if c.at >= c.data {
			c.data = c.at
		}
		return
	}
	var err error
	c.data, err = c.f.Seek(c.at, unix.SEEK_DATA)
	if errors.Is(err, syscall.ENXIO) {
		// No data up to the end; or the file has been cut, which one more look at it tells.
		info, statErr := c.f.Stat()
		c.exhausted = statErr == nil && info.Size() > c.at
		c.holes = c.exhausted
		return
	}
	if err == nil {
		c.end, err = c.f.Seek(c.data, unix.SEEK_HOLE)
	}
	c.holes = err == nil
}

// sparse says how many bytes of a file are on the disk when that is clearly less than its size.
func sparse(size, blocks int64) (int64, bool) {
	const unit = 512 // stat(2), st_blocks
	return blocks * unit, size > 1<<20 && blocks*unit < size/2
}
