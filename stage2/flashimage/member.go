package flashimage

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
)

// Damage is what is wrong with a chunk.
type Damage string

// The kinds of damage, in the order in which they are looked for.
const (
	DamageRead      Damage = "unreadable"
	DamageTruncated Damage = "gzip file ends within the member"
	DamageHeader    Damage = "gzip header is broken"
	DamageData      Damage = "compressed data is broken"
	DamageChecksum  Damage = "gzip checksum differs"
	DamageSize      Damage = "raw size differs"
	DamageTrailing  Damage = "more bytes than the gzip member has"
	DamageDigest    Damage = "SHA-256 differs"
	DamageNotZero   Damage = "not all zero"
)

// ChunkError is a chunk that is not what the index says. Offsets are in bytes; Want and Got are set for
// DamageDigest (hex digests) and DamageSize (bytes).
type ChunkError struct {
	Chunk      int
	RawOffset  int64
	GzipOffset int64
	Damage     Damage
	Want, Got  string
	Err        error
}

func (e *ChunkError) Error() string {
	s := fmt.Sprintf("image chunk %d (raw offset %d, gzip offset %d): %s", e.Chunk, e.RawOffset, e.GzipOffset, e.Damage)
	if e.Want != "" {
		s += fmt.Sprintf(": got %s, want %s", e.Got, e.Want)
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause, if there is one below the damage.
func (e *ChunkError) Unwrap() error { return e.Err }

// inflater unpacks single members and is used again for the next. It is for one goroutine.
type inflater struct {
	src bytes.Reader
	gz  gzip.Reader
}

// inflate fills dst from member, which must be exactly one gzip member with len(dst) raw bytes.
func (f *inflater) inflate(member, dst []byte) *ChunkError {
	f.src.Reset(member)
	if err := f.gz.Reset(&f.src); err != nil {
		return &ChunkError{Damage: DamageHeader, Err: noEOF(err)}
	}
	f.gz.Multistream(false)
	n, err := f.fill(dst)
	if err == nil {
		var extra [1]byte
		var m int
		m, err = f.fill(extra[:])
		n += m
	}
	switch {
	case errors.Is(err, gzip.ErrChecksum):
		return &ChunkError{Damage: DamageChecksum}
	case err != nil && !errors.Is(err, io.EOF):
		return &ChunkError{Damage: DamageData, Err: err}
	case n > len(dst):
		return &ChunkError{Damage: DamageSize, Want: fmt.Sprint(len(dst)), Got: "more"}
	case n < len(dst):
		return &ChunkError{Damage: DamageSize, Want: fmt.Sprint(len(dst)), Got: fmt.Sprint(n)}
	case f.src.Len() > 0:
		return &ChunkError{Damage: DamageTrailing}
	}
	return nil
}

// fill is io.ReadFull, but tells a member that ends early (io.EOF) from one that is cut (io.ErrUnexpectedEOF).
func (f *inflater) fill(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		m, err := f.gz.Read(p[n:])
		n += m
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// isZero compares p with itself shifted by one byte, which runs at the speed of memcmp.
func isZero(p []byte) bool {
	return len(p) == 0 || p[0] == 0 && bytes.Equal(p[1:], p[:len(p)-1])
}

func hexSum(p []byte) string {
	sum := sha256.Sum256(p)
	return hex.EncodeToString(sum[:])
}
