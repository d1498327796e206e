package image

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/balena-community/balena-migrate/stage2/ext4"
)

// unwrapped is the image inside a flasher image, as a stream: nothing of the flasher image is kept anywhere.
type unwrapped struct {
	stream
	inner *inner
	// at reads the flasher image at any place, nil if it is packed.
	at io.ReaderAt
}

func (u unwrapped) rawSize() int64 { return u.inner.size }

// unpack implements stream.
func (u unwrapped) unpack(ctx context.Context, tee io.Writer) (io.Reader, error) {
	r, err := u.stream.unpack(ctx, tee)
	if err != nil {
		return nil, err
	}
	out := &unwrapping{
		in: u, main: forward{r: r}, left: u.inner.pieces, kept: map[int64][]byte{},
		again: func() (io.Reader, error) { return u.stream.unpack(ctx, io.Discard) },
	}
	if u.at == nil {
		out.early = outOfOrder(u.inner.pieces)
	}
	return out, nil
}

// forward is a stream and how far it was read.
type forward struct {
	r   io.Reader
	pos int64
}

// Read implements io.Reader.
func (f *forward) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	f.pos += int64(n)
	return n, err
}

// skip goes on to a place.
func (f *forward) skip(place int64) error {
	_, err := io.CopyN(io.Discard, f, place-f.pos)
	return noEOF(err)
}

const (
	// maxKept is how many bytes of pieces that come too early are kept until they are due.
	maxKept = 8 << 20
	// maxKeptPiece is the largest of them; to go back for a larger one costs less in proportion.
	maxKeptPiece = 1 << 20
	// maxBack is how often a packed flasher image is unpacked again from its beginning, for pieces that lie before
	// those they follow.
	maxBack = 64
)

// unwrapping reads the image inside a flasher image while that one goes by.
type unwrapping struct {
	in    unwrapped
	off   int64         // of the next byte of the inner image
	left  []ext4.Extent // pieces that are not read to their end
	main  forward       // is read to its end, so that the whole file is seen
	again func() (io.Reader, error)
	back  *forward // another pass, for what main has passed
	backs int
	early []ext4.Extent    // pieces that may be worth keeping when the stream comes to them
	kept  map[int64][]byte // pieces by their offset
	keeps int64            // bytes in kept
}

// Read implements io.Reader.
func (u *unwrapping) Read(p []byte) (int, error) {
	if u.off == u.in.inner.size {
		if _, err := io.Copy(io.Discard, &u.main); err != nil {
			return 0, err
		}
		return 0, io.EOF
	}
	end := u.in.inner.size
	if len(u.left) > 0 {
		end = u.left[0].Offset
	}
	if u.off < end { // a hole
		p = p[:min(int64(len(p)), end-u.off)]
		clear(p)
		u.off += int64(len(p))
		return len(p), nil
	}
	n, err := u.piece(p)
	u.off += int64(n)
	return n, u.explain(err)
}

func (u *unwrapping) explain(err error) error {
	if err != nil && errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("the flasher image ends within %s, at offset %d of it: %w", u.in.inner.name, u.off, err)
	}
	return err
}

// piece reads from the first piece that is left.
func (u *unwrapping) piece(p []byte) (int, error) {
	e := u.left[0]
	done := u.off - e.Offset
	p = p[:min(int64(len(p)), e.Length-done)]
	r, err := u.from(e, done)
	if err != nil {
		return 0, err
	}
	n, err := io.ReadFull(r, p)
	if done+int64(n) == e.Length {
		u.left = u.left[1:]
		u.keeps -= int64(len(u.kept[e.Offset]))
		delete(u.kept, e.Offset)
	}
	return n, noEOF(err)
}

// from returns a reader of a piece from its byte done on: what was kept of it, the stream if it is not past it, or
// another look.
func (u *unwrapping) from(e ext4.Extent, done int64) (io.Reader, error) {
	place := e.Place + done
	switch kept := u.kept[e.Offset]; {
	case kept != nil:
		return bytes.NewReader(kept[done:]), nil
	case place >= u.main.pos:
		return &u.main, u.advance(place)
	case u.in.at != nil:
		return io.NewSectionReader(u.in.at, place, e.Length-done), nil
	}
	if u.back == nil || u.back.pos > place {
		if u.backs++; u.backs > maxBack {
			return nil, refuse(fmt.Sprintf("%s in the flasher image lies in too many pieces out of order", u.in.inner.name), "at most "+fmt.Sprint(maxBack)+" steps back",
				"unpack the file first and give the disk image itself")
		}
		r, err := u.again()
		if err != nil {
			return nil, err
		}
		u.back = &forward{r: r}
	}
	return u.back, u.back.skip(place)
}

// advance moves the stream to a place and keeps small pieces on the way whose turn comes later.
func (u *unwrapping) advance(place int64) error {
	for len(u.early) > 0 {
		e := u.early[0]
		if e.Place+e.Length > place {
			break
		}
		u.early = u.early[1:]
		if e.Place < u.main.pos || e.Length > maxKept-u.keeps {
			continue
		}
		b := make([]byte, e.Length)
		if err := u.main.skip(e.Place); err != nil {
			return err
		}
		if _, err := io.ReadFull(&u.main, b); err != nil {
			return noEOF(err)
		}
		u.kept[e.Offset] = b
		u.keeps += e.Length
	}
	return u.main.skip(place)
}

// outOfOrder lists small pieces that lie before one that they follow, by their place.
func outOfOrder(pieces []ext4.Extent) []ext4.Extent {
	var out []ext4.Extent
	last := int64(-1)
	for _, e := range pieces {
		if e.Place < last && e.Length <= maxKeptPiece {
			out = append(out, e)
		}
		last = max(last, e.Place)
	}
	slices.SortFunc(out, func(a, b ext4.Extent) int { return cmp.Compare(a.Place, b.Place) })
	return out
}
