package backup

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"time"

	"github.com/klauspost/pgzip"

	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/host"
)

// Compression works on as many blocks at once as there are processors; 256 KiB keep that small on a board with
// 512 MB, and cost 0.1 % of the size.
const blockSize = 256 << 10

// archive writes entries as a compressed tar.
//
// The supervisor unpacks it with BusyBox's tar, which stops at sparse files and knew nothing of PAX headers for long.
// So headers are in GNU format, whose long names both tars know; owners are numbers, for names mean nothing in a
// container, and times are whole seconds.
type archive struct {
	r        host.Reader
	gz       *pgzip.Writer
	tar      *tar.Writer
	buf      []byte
	progress func(n int64)
	files    int64
	moved    []string
	// lost are first links whose file could not be read, with the name that took their place, "" when none did yet.
	lost map[string]string
}

// newArchive starts an archive on w.
func newArchive(r host.Reader, w io.Writer, progress func(int64)) (*archive, error) {
	gz := pgzip.NewWriter(w)
	gz.ModTime = time.Unix(0, 0)
	if err := gz.SetConcurrency(blockSize, runtime.GOMAXPROCS(0)); err != nil {
		return nil, err
	}
	return &archive{
		r: r, gz: gz, tar: tar.NewWriter(gz), buf: make([]byte, blockSize), progress: progress, lost: map[string]string{},
	}, nil
}

// close completes the archive.
func (a *archive) close() error {
	if err := a.tar.Close(); err != nil {
		return err
	}
	return a.gz.Close()
}

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

func (a *archive) head(e entry, h *tar.Header) error {
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
// what is cut off is filled up with zeros.
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
	h.Size, h.ModTime = info.Size(), whole(info.ModTime())
	if err := a.head(e, h); err != nil {
		return err
	}
	n, err := io.CopyBuffer(writerFunc(a.write), steps.Interruptible(ctx, io.LimitReader(f, h.Size)), a.buf)
	if err != nil {
		return fmt.Errorf("archive %s: %w", e.path, err)
	}
	if err := a.pad(h.Size - n); err != nil {
		return err
	}
	after, err := f.Stat()
	if err != nil {
		return err
	}
	if n != h.Size || changed(info, after) {
		a.move(e)
	}
	if _, lost := a.lost[e.hard]; lost {
		a.lost[e.hard] = e.name
	}
	a.files++
	return nil
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

// move notes a file that changed while it was read; beyond a hundred nobody reads on.
func (a *archive) move(e entry) {
	if len(a.moved) < 100 {
		a.moved = append(a.moved, e.path)
	}
}

func (a *archive) write(p []byte) (int, error) {
	n, err := a.tar.Write(p)
	a.progress(int64(n))
	return n, err
}

// pad writes n zeros.
func (a *archive) pad(n int64) error {
	clear(a.buf)
	for n > 0 {
		m, err := a.tar.Write(a.buf[:min(n, int64(len(a.buf)))])
		if err != nil {
			return err
		}
		n -= int64(m)
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
	h.ModTime = whole(e.info.ModTime())
	h.Mode = int64(e.info.Mode().Perm())
	if st := stat(e.info); st != nil {
		h.Mode, h.Uid, h.Gid = int64(st.Mode&0o7777), int(st.Uid), int(st.Gid)
	}
	return h
}

func whole(t time.Time) time.Time { return time.Unix(t.Unix(), 0) }

// changed says whether a file was written to between two looks at it.
func changed(a, b fs.FileInfo) bool {
	return a.Size() != b.Size() || !a.ModTime().Equal(b.ModTime())
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
