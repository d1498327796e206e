package packed

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// The parts of an .xz file (The .xz File Format, version 1.2.0). Numbers in it are little endian, sizes in bytes.
const (
	xzMagic       = "\xfd7zXZ\x00"
	xzFooterMagic = "YZ"
	xzEdge        = 12   // of the stream's header and of its footer
	xzLZMA2       = 0x21 // the only filter that is read
	// maxXZIndex bounds the index that is held in memory. With blocks of 1 MiB it is that of a 512 GiB image.
	maxXZIndex = 4 << 20
)

var errXZ = errors.New("not an xz file as it should be")

// xzLayout is what the headers and indexes of an .xz file say: how much it is unpacked, and the largest dictionary that
// takes.
type xzLayout struct{ raw, dict int64 }

// readXZ goes through a file of size bytes from its end, where the index is, stream by stream.
func readXZ(r io.ReaderAt, size int64) (xzLayout, error) {
	x := xzReader{r: r}
	for end := size; end > 0; {
		start, err := x.stream(end)
		if err != nil {
			return xzLayout{}, fmt.Errorf("xz stream that ends at offset %d: %w", end, err)
		}
		end = start
	}
	return x.xzLayout, nil
}

type xzReader struct {
	xzLayout
	r io.ReaderAt
}

func (x *xzReader) read(off, n int64) ([]byte, error) {
	if off < 0 {
		return nil, fmt.Errorf("%w: something before its beginning", errXZ)
	}
	b := make([]byte, n)
	if got, err := x.r.ReadAt(b, off); got < len(b) {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return b, nil
}

// stream reads the stream, or the four bytes of padding, that end at end, and returns where it begins.
func (x *xzReader) stream(end int64) (int64, error) {
	tail, err := x.read(end-4, 4)
	if err != nil {
		return 0, err
	}
	if bytes.Equal(tail, make([]byte, 4)) && end > xzEdge {
		return end - 4, nil
	}
	footer, err := x.read(end-xzEdge, xzEdge)
	if err != nil {
		return 0, err
	}
	if string(footer[10:]) != xzFooterMagic || crc32.ChecksumIEEE(footer[4:10]) != binary.LittleEndian.Uint32(footer) {
		return 0, fmt.Errorf("%w: no footer at its end", errXZ)
	}
	indexSize := (int64(binary.LittleEndian.Uint32(footer[4:])) + 1) * 4
	if indexSize > maxXZIndex {
		return 0, fmt.Errorf("%w: an index of %d bytes", errXZ, indexSize)
	}
	return x.blocks(end-xzEdge-indexSize, indexSize)
}

// blocks reads the index of a stream and the headers of the blocks before it.
func (x *xzReader) blocks(at, size int64) (int64, error) {
	b, err := x.read(at, size)
	if err != nil {
		return 0, err
	}
	body := b[:size-4]
	if b[0] != 0 || crc32.ChecksumIEEE(body) != binary.LittleEndian.Uint32(b[size-4:]) {
		return 0, fmt.Errorf("%w: its index is damaged", errXZ)
	}
	f := xzFields{b: body[1:]}
	count := f.number()
	if count > uint64(size)/2 {
		return 0, fmt.Errorf("%w: %d blocks in an index of %d bytes", errXZ, count, size)
	}
	sizes := make([]int64, count)
	var total int64
	for i := range sizes {
		unpadded, raw := f.number(), f.number()
		if f.short || unpadded > uint64(at) || raw > 1<<60 || x.raw > 1<<60 {
			return 0, fmt.Errorf("%w: block %d in its index", errXZ, i)
		}
		sizes[i] = (int64(unpadded) + 3) &^ 3
		total, x.raw = total+sizes[i], x.raw+int64(raw)
		if total > at {
			return 0, fmt.Errorf("%w: its index has more than the file", errXZ)
		}
	}
	return x.headers(at-total, sizes)
}

// headers reads the header of the stream, which lies before off, and those of its blocks.
func (x *xzReader) headers(off int64, sizes []int64) (int64, error) {
	start := off - xzEdge
	header, err := x.read(start, xzEdge)
	if err != nil {
		return 0, err
	}
	if !bytes.HasPrefix(header, []byte(xzMagic)) {
		return 0, fmt.Errorf("%w: no header at offset %d", errXZ, start)
	}
	for _, size := range sizes {
		if err := x.block(off); err != nil {
			return 0, fmt.Errorf("block at offset %d: %w", off, err)
		}
		off += size
	}
	return start, nil
}

// block reads a block's header for the dictionary it wants.
func (x *xzReader) block(off int64) error {
	length, err := x.read(off, 1)
	if err != nil {
		return err
	}
	n := (int64(length[0]) + 1) * 4
	b, err := x.read(off, n)
	if err != nil {
		return err
	}
	if length[0] == 0 || crc32.ChecksumIEEE(b[:n-4]) != binary.LittleEndian.Uint32(b[n-4:]) {
		return fmt.Errorf("%w: damaged header", errXZ)
	}
	flags := b[1]
	f := xzFields{b: b[2 : n-4]}
	for _, present := range []byte{0x40, 0x80} { // compressed size, uncompressed size
		if flags&present != 0 {
			f.number()
		}
	}
	id, length64, dict := f.number(), f.number(), f.byte()
	switch {
	case flags&3 != 0 || id != xzLZMA2:
		return fmt.Errorf("%w: an xz filter other than LZMA2", ErrUnsupported)
	case f.short || length64 != 1 || dict > 40:
		return fmt.Errorf("%w: damaged header", errXZ)
	}
	x.dict = max(x.dict, dictSize(dict))
	return nil
}

// dictSize is in bytes (section 5.3.1).
func dictSize(bits byte) int64 {
	if bits == 40 {
		return 1<<32 - 1
	}
	return int64(2|bits&1) << (bits/2 + 11)
}

// xzFields reads numbers of variable length (section 1.2); short says that there were too few bytes.
type xzFields struct {
	b     []byte
	short bool
}

func (f *xzFields) number() uint64 {
	n, length := binary.Uvarint(f.b)
	if length <= 0 {
		f.short, f.b = true, nil
		return 0
	}
	f.b = f.b[length:]
	return n
}

func (f *xzFields) byte() byte {
	if len(f.b) == 0 {
		f.short = true
		return 0
	}
	b := f.b[0]
	f.b = f.b[1:]
	return b
}
