// Package uimage reads and writes U-Boot's old wrapping of an initramfs: a header of 64 bytes, big endian, with check sums
// (U-Boot, include/image.h, struct legacy_img_hdr; mkimage(1)).
package uimage

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

const (
	magic    = 0x27051956
	size     = 64
	atHCRC   = 4
	atLength = 12
	atDCRC   = 24
	atComp   = 31
)

// Header is a file's wrapping; nil for a file without.
type Header []byte

// Open returns what is in a file, and its wrapping. A file without one is returned as it is.
func Open(data []byte) (Header, []byte, error) {
	if len(data) < size || binary.BigEndian.Uint32(data) != magic {
		return nil, data, nil
	}
	head, inner := Header(data[:size]), data[size:]
	if got, want := head.sum(), binary.BigEndian.Uint32(head[atHCRC:]); got != want {
		return nil, nil, fmt.Errorf("U-Boot's header has the check sum %08x, expected %08x: it is damaged", got, want)
	}
	n := binary.BigEndian.Uint32(head[atLength:])
	if int64(n) > int64(len(inner)) {
		return nil, nil, fmt.Errorf("U-Boot's header speaks of %d bytes, found %d: it is cut short", n, len(inner))
	}
	inner = inner[:n]
	if got, want := crc32.ChecksumIEEE(inner), binary.BigEndian.Uint32(head[atDCRC:]); got != want {
		return nil, nil, fmt.Errorf("its check sum is %08x, expected %08x: it is damaged", got, want)
	}
	return head, inner, nil
}

// sum is the header's check sum, for which its own field counts as zero.
func (h Header) sum() uint32 {
	clean := append(Header{}, h...)
	binary.BigEndian.PutUint32(clean[atHCRC:], 0)
	return crc32.ChecksumIEEE(clean)
}

// Wrap puts data into the same wrapping. It is not said to be packed: U-Boot leaves an initramfs to the kernel.
func (h Header) Wrap(data []byte) []byte {
	if h == nil {
		return data
	}
	out := append(make([]byte, 0, size+len(data)), h...)
	out[atComp] = 0
	binary.BigEndian.PutUint32(out[atLength:], uint32(len(data)))
	binary.BigEndian.PutUint32(out[atDCRC:], crc32.ChecksumIEEE(data))
	binary.BigEndian.PutUint32(out[atHCRC:], Header(out).sum())
	return append(out, data...)
}
