package image

import (
	"errors"
	"io"
	"slices"
)

const (
	// reach is how far into a packed image a window looks, in bytes. The boot partition of balenaOS is the first and
	// has 40 to 100 MiB (E22).
	reach = 256 << 20
	// windowBlock and windowBlocks bound what a window keeps, in bytes and in number.
	windowBlock  = 256 << 10
	windowBlocks = 32
	// maxRewinds bounds the work on a file system that lies backwards.
	maxRewinds = 16
)

// errReach is a place that can't be looked at without unpacking too much.
var errReach = errors.New("too far into the packed image to look at")

// window reads a stream as if it were a file, for the little that tells what an image is. It keeps the blocks that
// were asked for and starts the stream again for one that it has passed, so its memory is bounded whatever the image.
type window struct {
	start   func() (io.Reader, error)
	reach   int64 // bytes
	r       io.Reader
	pos     int64 // of r: the beginning of a block, or the end
	rewinds int
	recent  []windowPart // the latest first
}

type windowPart struct {
	number int64
	data   []byte // shorter than a block at the end of the stream
}

func newWindow(start func() (io.Reader, error)) *window { return &window{start: start, reach: reach} }

// ReadAt implements io.ReaderAt.
func (w *window) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	for n < len(p) {
		data, err := w.block(off / windowBlock)
		if err != nil {
			return n, err
		}
		from := off % windowBlock
		if from >= int64(len(data)) {
			return n, io.EOF
		}
		m := copy(p[n:], data[from:])
		n, off = n+m, off+int64(m)
	}
	return n, nil
}

// block returns a block, from those that are kept if it is there.
func (w *window) block(number int64) ([]byte, error) {
	if i := slices.IndexFunc(w.recent, func(b windowPart) bool { return b.number == number }); i >= 0 {
		b := w.recent[i]
		w.recent = slices.Insert(slices.Delete(w.recent, i, i+1), 0, b)
		return b.data, nil
	}
	if number < 0 || number >= w.reach/windowBlock {
		return nil, errReach
	}
	data, err := w.load(number)
	if err != nil {
		return nil, err
	}
	w.recent = slices.Insert(w.recent, 0, windowPart{number: number, data: data})
	w.recent = w.recent[:min(len(w.recent), windowBlocks)]
	return data, nil
}

// load unpacks up to the end of a block. Beyond the end of the stream it is empty.
func (w *window) load(number int64) ([]byte, error) {
	at := number * windowBlock
	if w.r == nil || at < w.pos {
		if err := w.rewind(); err != nil {
			return nil, err
		}
	}
	skipped, err := io.CopyN(io.Discard, w.r, at-w.pos)
	w.pos += skipped
	if err == io.EOF {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	data := make([]byte, windowBlock)
	n, err := io.ReadFull(w.r, data)
	w.pos += int64(n)
	if err == io.EOF || err == io.ErrUnexpectedEOF { // bare: ReadFull's own word for a short block
		return data[:n], nil
	}
	return data, err
}

func (w *window) rewind() error {
	if w.rewinds++; w.rewinds > maxRewinds {
		return errReach
	}
	var err error
	w.r, err = w.start()
	w.pos = 0
	return err
}
