package schema

import (
	"encoding/hex"
	"fmt"
)

// ImageIndexName is the name and version of the index beside a flashable image.
const ImageIndexName = "image-index/1"

// Bounds of an image index. They bound the memory that a reader needs for one member, whatever the index says.
const (
	// MinChunkSize is also what chunk_size must be a multiple of, so that chunks suit direct I/O on 4Kn disks.
	MinChunkSize = 4096
	MaxChunkSize = 16 << 20
	// minMember is gzip's header (10), the shortest deflate stream (2) and the trailer (8), RFC 1952.
	minMember = 20
)

// ImageIndex describes a flashable image: a gzip file of independent members, one for each chunk of the raw image.
// All chunks have ChunkSize raw bytes, except that the last may be shorter. Sizes and offsets are in bytes.
type ImageIndex struct {
	Schema     string        `json:"schema"`
	RawSize    int64         `json:"raw_size"`
	ChunkSize  int64         `json:"chunk_size"`
	GzipSize   int64         `json:"gzip_size"`
	GzipSHA256 string        `json:"gzip_sha256"`
	RawSHA256  string        `json:"raw_sha256"`
	Members    []ImageMember `json:"members"`
	// Flasher says that the image was taken out of a flasher image. Extras are what that one brought along (E27), so that
	// they come with the image wherever it is copied; its config.json, which holds keys, does not.
	Flasher bool         `json:"flasher,omitempty"`
	Extras  []IndexExtra `json:"extras,omitempty"`
}

// IndexExtra is a small file beside the image: its name in ExtraFile, its path on the flasher's boot partition, and
// what is in it.
type IndexExtra struct {
	Name string `json:"name"`
	From string `json:"from"`
	Data []byte `json:"data"`
}

// ImageMember is one gzip member, Offset and Length being its place in the gzip file. SHA256 is of the raw chunk in
// lower-case hex; a chunk of nothing but zeros has Zero instead.
type ImageMember struct {
	Offset int64  `json:"offset"`
	Length int64  `json:"length"`
	Zero   bool   `json:"zero,omitempty"`
	SHA256 string `json:"sha256,omitempty"`
}

// ChunkLen is the number of raw bytes of chunk i, which must be one of the index.
func (x *ImageIndex) ChunkLen(i int) int {
	return int(min(x.ChunkSize, x.RawSize-int64(i)*x.ChunkSize))
}

// DataSize is how many raw bytes lie in chunks that are not all zero: what a flash has to write.
func (x *ImageIndex) DataSize() int64 {
	var n int64
	for i, m := range x.Members {
		if !m.Zero {
			n += int64(x.ChunkLen(i))
		}
	}
	return n
}

// Validate says whether the index is complete in itself; its error names the first field or member that is not.
// Afterwards offsets are contiguous from 0 to GzipSize, and no member is longer than MaxMember.
func (x *ImageIndex) Validate() error {
	if err := x.validateHead(); err != nil {
		return fmt.Errorf("image index: %w", err)
	}
	var at int64
	for i := range x.Members {
		if err := x.validateMember(i, at); err != nil {
			return fmt.Errorf("image index: member %d: %w", i, err)
		}
		at += x.Members[i].Length
	}
	if at != x.GzipSize {
		return fmt.Errorf("image index: members end at %d, gzip_size is %d", at, x.GzipSize)
	}
	return nil
}

// MaxMember is how long a gzip member may be: deflate grows data that it can't compress by 5 bytes per stored block.
func (x *ImageIndex) MaxMember() int64 {
	return x.ChunkSize + x.ChunkSize/1024 + 128
}

func (x *ImageIndex) validateHead() error {
	if x.Schema != ImageIndexName {
		return fmt.Errorf("schema is %q, want %q", x.Schema, ImageIndexName)
	}
	if x.ChunkSize < MinChunkSize || x.ChunkSize > MaxChunkSize || x.ChunkSize%MinChunkSize != 0 {
		return fmt.Errorf("chunk_size is %d, want a multiple of %d up to %d", x.ChunkSize, MinChunkSize, MaxChunkSize)
	}
	if x.RawSize < 1 {
		return fmt.Errorf("raw_size is %d, want at least 1", x.RawSize)
	}
	if want := (x.RawSize-1)/x.ChunkSize + 1; int64(len(x.Members)) != want {
		return fmt.Errorf("%d members, want %d for raw_size %d and chunk_size %d", len(x.Members), want, x.RawSize, x.ChunkSize)
	}
	if !isSHA256(x.GzipSHA256) {
		return fmt.Errorf("gzip_sha256 is %q, want 64 lower-case hex digits", x.GzipSHA256)
	}
	if !isSHA256(x.RawSHA256) {
		return fmt.Errorf("raw_sha256 is %q, want 64 lower-case hex digits", x.RawSHA256)
	}
	return nil
}

func (x *ImageIndex) validateMember(i int, at int64) error {
	m := x.Members[i]
	if m.Offset != at {
		return fmt.Errorf("offset is %d, want %d where the one before ends", m.Offset, at)
	}
	if m.Length < minMember || m.Length > x.MaxMember() {
		return fmt.Errorf("length is %d at offset %d, want %d to %d", m.Length, at, minMember, x.MaxMember())
	}
	if m.Zero && m.SHA256 != "" {
		return fmt.Errorf("zero and sha256 at offset %d, want only one", at)
	}
	if !m.Zero && !isSHA256(m.SHA256) {
		return fmt.Errorf("sha256 is %q at offset %d, want 64 lower-case hex digits", m.SHA256, at)
	}
	return nil
}

func isSHA256(s string) bool {
	for _, c := range []byte(s) {
		if c >= 'A' && c <= 'F' {
			return false
		}
	}
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == 32
}
