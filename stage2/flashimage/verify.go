package flashimage

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
)

// FileError is a flashable image whose chunks are good while the whole is not what the index says.
type FileError struct {
	// What is "gzip file" or "raw image" for a digest that differs, "gzip file size" for a file that goes on.
	What      string
	Want, Got string
}

func (e *FileError) Error() string {
	return fmt.Sprintf("flashable image: %s: got %s, want %s", e.What, e.Got, e.Want)
}

// verifyJob is one chunk on its way through VerifyAll.
type verifyJob struct {
	chunk       int
	member, raw []byte
}

type verifier struct {
	r             *Reader
	w             io.Writer // where the raw image goes, in order
	progress      func(raw int64)
	next          int
	done          int64
	rawSum, gzSum hash.Hash
}

// VerifyAll reads the whole file once, in order, and verifies every chunk, the two digests of the whole and that the
// file ends where the index says. The error is a [*ChunkError] for the first damaged chunk, or a [*FileError].
// workers 0 is one for each processor. progress may be nil; it is told how many raw bytes are done.
func (r *Reader) VerifyAll(ctx context.Context, workers int, progress func(raw int64)) error {
	return r.unpackAll(ctx, io.Discard, workers, progress)
}

// UnpackAll is VerifyAll that writes the raw image to w as it goes. What was written is of use only if there is no
// error.
func (r *Reader) UnpackAll(ctx context.Context, w io.Writer, workers int) error {
	return r.unpackAll(ctx, w, workers, nil)
}

func (r *Reader) unpackAll(ctx context.Context, w io.Writer, workers int, progress func(raw int64)) error {
	if progress == nil {
		progress = func(int64) {}
	}
	v := &verifier{r: r, w: w, progress: progress, rawSum: sha256.New(), gzSum: sha256.New()}
	p := pipeline[verifyJob]{feed: v.feed, worker: v.worker, sink: v.sink}
	if err := p.run(ctx, workers); err != nil {
		return err
	}
	return v.whole()
}

func (v *verifier) feed(j *verifyJob) (bool, error) {
	if v.next == len(v.r.index.Members) {
		return false, nil
	}
	var err error
	j.chunk = v.next
	j.member, err = v.r.member(j.chunk, j.member)
	v.next++
	return true, err
}

func (v *verifier) worker() func(*verifyJob) error {
	var inf inflater
	return func(j *verifyJob) (err error) {
		j.raw, err = v.r.decode(&inf, j.chunk, j.member, j.raw)
		return err
	}
}

func (v *verifier) sink(j *verifyJob) error {
	v.gzSum.Write(j.member)
	v.rawSum.Write(j.raw)
	if _, err := v.w.Write(j.raw); err != nil {
		return err
	}
	v.done += int64(len(j.raw))
	v.progress(v.done)
	return nil
}

func (v *verifier) whole() error {
	x := v.r.index
	if got := hex.EncodeToString(v.gzSum.Sum(nil)); got != x.GzipSHA256 {
		return &FileError{What: "gzip file", Want: x.GzipSHA256, Got: got}
	}
	if got := hex.EncodeToString(v.rawSum.Sum(nil)); got != x.RawSHA256 {
		return &FileError{What: "raw image", Want: x.RawSHA256, Got: got}
	}
	var more [1]byte
	n, err := v.r.r.ReadAt(more[:], x.GzipSize)
	if n > 0 {
		return &FileError{What: "gzip file size", Want: fmt.Sprint(x.GzipSize), Got: "more"}
	}
	if err != io.EOF {
		return fmt.Errorf("flashable image at its end, offset %d: %w", x.GzipSize, err)
	}
	return nil
}
