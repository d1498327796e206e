// Package packed reads the stream formats xz, zstd and bzip2 in bounded memory.
//
// All three may be several streams one after the other, and every stream is checked by the checksum in it. What would
// take more than [MaxDict] is refused, for the program runs on devices with little memory.
package packed

import (
	"bytes"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"
)

// MaxDict is the largest dictionary (xz) or window (zstd) in bytes: that of xz -6, its default, and of zstd -19. More have
// xz -7, zstd --ultra and zstd --long.
const MaxDict = 8 << 20

// ErrUnsupported is wrapped by the errors for a file that is good and yet not read: it needs more than MaxDict, a
// filter other than LZMA2, or a dictionary kept elsewhere.
var ErrUnsupported = errors.New("not supported")

// Format is a stream format.
type Format struct {
	// Name is xz, zstd or bzip2, which is also what the program for it is called.
	Name  string
	magic string
	open  func(io.Reader) (io.Reader, error)
}

func formats() []Format {
	return []Format{
		{"xz", xzMagic, openXZ},
		{"zstd", "\x28\xb5\x2f\xfd", openZstd},
		{"zstd", "\x50\x2a\x4d\x18", openZstd}, // a skippable frame, with which pzstd begins (RFC 8878, 3.1.2)
		{"bzip2", "BZh", func(r io.Reader) (io.Reader, error) { return bzip2.NewReader(r), nil }},
	}
}

// Detect returns the format of a file that begins with head, of which 8 bytes are enough.
func Detect(head []byte) (Format, bool) {
	for _, f := range formats() {
		if bytes.HasPrefix(head, []byte(f.magic)) {
			return f, true
		}
	}
	return Format{}, false
}

// RawSize is how many bytes a file of size bytes is unpacked, -1 if only its end tells. The error wraps ErrUnsupported
// as far as that is known without unpacking; any other is damage or an error of r.
func (f Format) RawSize(r io.ReaderAt, size int64) (int64, error) {
	if f.Name != "xz" {
		return -1, nil
	}
	layout, err := readXZ(r, size)
	if err != nil {
		return 0, err
	}
	if layout.dict > MaxDict {
		return 0, fmt.Errorf("%w: an xz dictionary of %d MiB", ErrUnsupported, layout.dict>>20)
	}
	return layout.raw, nil
}

// Reader unpacks r from its beginning. RawSize must have had no objection.
func (f Format) Reader(r io.Reader) (io.Reader, error) {
	u, err := f.open(r)
	return reader{u}, explain(err)
}

// openXZ gives each block the dictionary it asks for.
func openXZ(r io.Reader) (io.Reader, error) {
	return xz.ReaderConfig{DictCap: lzma.MinDictCap}.NewReader(r)
}

func openZstd(r io.Reader) (io.Reader, error) {
	return zstd.NewReader(r, zstd.WithDecoderMaxWindow(MaxDict), zstd.WithDecoderLowmem(true), zstd.WithDecoderConcurrency(1))
}

// reader tells what is not supported from damage.
type reader struct{ io.Reader }

// Read implements io.Reader.
func (r reader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	return n, explain(err)
}

func explain(err error) error {
	switch {
	case errors.Is(err, zstd.ErrWindowSizeExceeded):
		return fmt.Errorf("%w: a zstd window of more than %d MiB", ErrUnsupported, MaxDict>>20)
	case errors.Is(err, zstd.ErrUnknownDictionary):
		return fmt.Errorf("%w: a zstd dictionary kept elsewhere", ErrUnsupported)
	}
	return err
}
