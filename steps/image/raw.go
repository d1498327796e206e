package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/balena-community/balena-migrate/stage2/flashimage"
	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/host"
)

// Raw is an image file in any of the formats that this package reads, open for writing it to a disk.
type Raw struct {
	f   host.File
	src source
	// Flashable reads a prepared image by its index; nil for all others, which [Raw.Stream] reads.
	Flashable *flashimage.Reader
	// Size is that of the raw image in bytes, 0 if only its end tells.
	Size int64
}

// OpenRaw opens the operator's file. What it is, its content says; a file that is none of it carries a remedy. Unlike for
// a migration a flasher image is welcome: a stick is what it is made for.
func OpenRaw(ctx context.Context, r host.Reader, name string) (*Raw, error) {
	j := job{source: name}
	f, size, err := j.open(r)
	if err != nil {
		return nil, Hinted(err)
	}
	src, err := j.detect(r, f, size)
	if err != nil {
		return nil, Hinted(errors.Join(err, f.Close()))
	}
	if err := looksLikeDisk(src.view(ctx), name); err != nil {
		return nil, Hinted(errors.Join(err, f.Close()))
	}
	raw := &Raw{f: f, src: src, Size: max(src.rawSize(), 0)}
	if p, ok := src.(prepared); ok {
		raw.Flashable = p.reader
	}
	return raw, nil
}

// bootSignature ends the first sector of a disk with a table, be it an MBR or the protective one before a GPT.
const bootSignature, bootSignatureAt = "\x55\xaa", 510

func looksLikeDisk(view io.ReaderAt, name string) error {
	got := make([]byte, len(bootSignature))
	if _, err := view.ReadAt(got, bootSignatureAt); err != nil && err != io.EOF {
		return fmt.Errorf("%s: %w", name, err)
	}
	if string(got) != bootSignature {
		return refuse(name+": no partition table in it", "a disk image", "is it the right file? balenaOS images begin with one")
	}
	return nil
}

// Hinted gives a refusal's remedy to who prints errors.
func Hinted(err error) error {
	var r *refusal
	if errors.As(err, &r) {
		return steps.WithHint(err, strings.ReplaceAll(r.Remedy, "config.image.path", "the path"))
	}
	return err
}

// Stream reads the raw image from its beginning; it ends with io.EOF only behind the last byte of a whole file.
func (r *Raw) Stream(ctx context.Context) (io.Reader, error) {
	s, ok := r.src.(stream)
	if !ok {
		return nil, fmt.Errorf("image of type %T can't be read as a stream", r.src)
	}
	return s.unpack(ctx, io.Discard)
}

// Close closes the file.
func (r *Raw) Close() error { return r.f.Close() }
