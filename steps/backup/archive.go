package backup

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/balena-community/balena-migrate/steps/host"
)

// archive writes entries as a compressed tar.
//
// The supervisor unpacks it with BusyBox's tar, which takes a sparse file (whose data begin with a map of its holes in
// the format of PAX) for a plain one and so corrupts it, and of PAX headers knows the long name alone. So everything that
// a volume can't do without is in headers of GNU format, whose long names and big sizes both tars know, and files are
// written in full. What only GNU tar restores is in PAX headers before them, which BusyBox skips: see extended.go.
// Owners are numbers, for names mean nothing in a container.
type archive struct {
	r        host.Reader
	gz       *stream
	tar      *tar.Writer
	buf      []byte
	progress func(n int64)
	files    int64
	moved    []string
	// torn are large files that changed while they were read, to be read once more in the end.
	torn []entry
	// lost are first links whose file could not be read, with the name that took their place, "" when none did yet.
	lost map[string]string
}

// newArchive starts an archive on w.
func newArchive(r host.Reader, w io.Writer, progress func(int64)) (*archive, error) {
	gz, err := newStream(w)
	if err != nil {
		return nil, err
	}
	return &archive{
		r: r, gz: gz, tar: tar.NewWriter(gz), buf: make([]byte, blockSize), progress: progress, lost: map[string]string{},
	}, nil
}

// close completes the archive. Large files that were torn are read again; of two entries of one name a tar keeps the
// later.
func (a *archive) close(ctx context.Context) error {
	again := a.torn
	a.torn = nil
	for _, e := range again {
		if err := a.again(ctx, e); err != nil {
			return err
		}
	}
	if err := a.tar.Close(); err != nil {
		return err
	}
	return a.gz.Close()
}

// again writes a file once more, and names it when it moved once more.
func (a *archive) again(ctx context.Context, e entry) error {
	var err error
	if e.info, err = a.r.Lstat(e.path); err != nil || !e.info.Mode().IsRegular() {
		a.move(e)
		return nil //nolint:nilerr // it is gone: its first copy stays
	}
	a.files--
	if err := a.add(ctx, e); err != nil {
		return err
	}
	if len(a.torn) > 0 {
		a.torn = nil
		a.move(e)
	}
	return nil
}

// abandon ends what works for the archive.
func (a *archive) abandon() { _ = a.gz.end() }

// add writes one entry. Sockets and device nodes are left out: the first mean nothing without their program, and
// making the second can fail, which would stop the restore on the new system.
func (a *archive) add(ctx context.Context, e entry) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	h := header(e)
	switch {
	case h == nil:
		return nil
	case h.Typeflag == tar.TypeReg && e.hard == "":
		return a.file(ctx, e, h)
	case h.Typeflag == tar.TypeReg:
		return a.hardLink(ctx, e, h)
	case h.Typeflag != tar.TypeDir:
		a.files++
	}
	return a.head(e, h)
}

// head writes an entry's headers.
func (a *archive) head(e entry, h *tar.Header) error {
	if err := a.extend(e, h); err != nil {
		return err
	}
	if err := a.tar.WriteHeader(h); err != nil {
		return fmt.Errorf("archive %s: %w", e.path, err)
	}
	return nil
}

// hardLink writes another name of a file that is in the archive, or the file when its first name could not be read:
// a link to nothing would stop the restore.
func (a *archive) hardLink(ctx context.Context, e entry, h *tar.Header) error {
	first := e.hard
	if name, lost := a.lost[first]; lost {
		if name == "" {
			return a.file(ctx, e, h)
		}
		first = name
	}
	a.files++
	h.Typeflag, h.Linkname = tar.TypeLink, first
	return a.head(e, h)
}

// file writes a regular file with exactly the size it has when it is opened: what is appended meanwhile is left out,
// what is cut off is filled up with zeros. One that changes meanwhile is read again: a small one before it is written,
// a large one in the end. One that does not stand still is named.
func (a *archive) file(ctx context.Context, e entry, h *tar.Header) error {
	f, info, err := a.open(e)
	if errors.Is(err, fs.ErrNotExist) {
		a.miss(e)
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	e.info = info
	done := a.large
	if info.Size() <= blockSize {
		done = a.small
	}
	if err := done(ctx, f, e, h); err != nil {
		return err
	}
	if _, lost := a.lost[e.hard]; lost {
		a.lost[e.hard] = e.name
	}
	a.files++
	return nil
}

// small writes a file that fits into the buffer.
func (a *archive) small(ctx context.Context, f host.File, e entry, h *tar.Header) error {
	const tries = 3
	still := false
	n := 0
	for try := 0; try < tries && !still; try++ {
		before, err := f.Stat()
		if err != nil {
			return err
		}
		if before.Size() > blockSize { // it has grown
			break
		}
		e.info = before
		if n, err = f.ReadAt(a.buf[:before.Size()], 0); err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("archive %s: %w", e.path, err)
		}
		after, err := f.Stat()
		if err != nil {
			return err
		}
		still = int64(n) == before.Size() && !changed(before, after)
	}
	if !still {
		return a.large(ctx, f, e, h)
	}
	h.Size, h.ModTime = int64(n), e.info.ModTime()
	if err := a.head(e, h); err != nil {
		return err
	}
	_, err := a.write(a.buf[:n])
	return err
}

// large writes a file of any size as it is read.
func (a *archive) large(ctx context.Context, f host.File, e entry, h *tar.Header) error {
	h.Size, h.ModTime = e.info.Size(), e.info.ModTime()
	if err := a.head(e, h); err != nil {
		return err
	}
	n, err := a.copy(ctx, f, h.Size)
	if err != nil {
		return fmt.Errorf("archive %s: %w", e.path, err)
	}
	after, err := f.Stat()
	if err != nil {
		return err
	}
	if n == h.Size && !changed(e.info, after) {
		return nil
	}
	// A name that others are linked to can't come twice: they would stay with the first.
	if st := stat(e.info); st != nil && st.Nlink == 1 && len(a.torn) < maxMoved {
		a.torn = append(a.torn, e)
		return nil
	}
	a.move(e)
	return nil
}

// copy writes size bytes, and returns how many of them the file had.
func (a *archive) copy(ctx context.Context, f host.File, size int64) (had int64, err error) {
	c := newContent(f)
	for left := size; left > 0; {
		if err := ctx.Err(); err != nil {
			return had, err
		}
		block := a.buf[:min(left, blockSize)]
		n, err := c.next(block)
		if err != nil {
			return had, err
		}
		had += int64(n)
		if n < len(block) {
			return had, a.pad(left, block, n)
		}
		if _, err := a.write(block); err != nil {
			return had, err
		}
		left -= int64(n)
	}
	return had, nil
}

// open opens the file that the walk saw, or the one that has taken its place since; never one behind a link that
// was put there, which could lead anywhere.
func (a *archive) open(e entry) (host.File, fs.FileInfo, error) {
	for range 3 {
		f, err := a.r.Open(e.path)
		if err != nil {
			return nil, nil, err
		}
		info, err := f.Stat()
		if err == nil && os.SameFile(info, e.info) {
			return f, info, nil
		}
		_ = f.Close() // it was only read
		if err != nil {
			return nil, nil, err
		}
		if e.info, err = a.r.Lstat(e.path); err != nil {
			return nil, nil, err
		}
		if !e.info.Mode().IsRegular() {
			break
		}
	}
	return nil, nil, &fs.PathError{Op: "open", Path: e.path, Err: fs.ErrNotExist}
}

// miss notes a file that is gone.
func (a *archive) miss(e entry) {
	a.move(e)
	if st := stat(e.info); e.hard == "" && st != nil && st.Nlink > 1 {
		a.lost[e.name] = ""
	}
}

// maxMoved is how many names of files that moved are kept; nobody reads on.
const maxMoved = 100

// move notes a file that changed while it was read.
func (a *archive) move(e entry) {
	if len(a.moved) < maxMoved {
		a.moved = append(a.moved, e.path)
	}
}

func (a *archive) write(p []byte) (int, error) {
	n, err := a.tar.Write(p)
	a.progress(int64(n))
	return n, err
}

// pad writes what is left of a file of which only n bytes of a block are there, as zeros.
func (a *archive) pad(left int64, block []byte, n int) error {
	clear(block[n:])
	for left > 0 {
		m, err := a.tar.Write(block[:min(left, int64(len(block)))])
		if err != nil {
			return err
		}
		left -= int64(m)
		clear(block)
	}
	return nil
}

// header describes an entry; nil for what is left out.
func header(e entry) *tar.Header {
	h := &tar.Header{Format: tar.FormatGNU, Name: e.name, Mode: 0o755, ModTime: time.Unix(0, 0)}
	if e.invented() {
		h.Typeflag, h.Name = tar.TypeDir, h.Name+"/"
		return h
	}
	switch mode := e.info.Mode(); mode.Type() {
	case 0:
		h.Typeflag = tar.TypeReg
	case fs.ModeDir:
		h.Typeflag, h.Name = tar.TypeDir, h.Name+"/"
	case fs.ModeSymlink:
		h.Typeflag, h.Linkname = tar.TypeSymlink, e.link
	case fs.ModeNamedPipe:
		h.Typeflag = tar.TypeFifo
	default:
		return nil
	}
	h.ModTime = e.info.ModTime()
	h.Mode = int64(e.info.Mode().Perm())
	if st := stat(e.info); st != nil {
		h.Mode, h.Uid, h.Gid = int64(st.Mode&0o7777), int(st.Uid), int(st.Gid)
	}
	return h
}

// changed says whether a file was written to between two looks at it.
func changed(a, b fs.FileInfo) bool {
	return a.Size() != b.Size() || !a.ModTime().Equal(b.ModTime())
}
