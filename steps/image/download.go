package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"slices"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/host"
)

// download fetches the image into the work dir. It is kept there, with a note on how far it got, when the line or this
// process is cut; the next run goes on.
type download struct{ remote }

// Note implements steps.Change.
func (d download) Note() schema.ChangeNote {
	action := "download image"
	if d.chosen != nil {
		action = "download " + d.chosen.String()
	}
	return schema.ChangeNote{Action: action, Target: d.source}
}

// Apply implements steps.Change.
func (d download) Apply(ctx context.Context, t steps.Target) error {
	err := d.apply(ctx, t)
	var r *refusal
	if errors.As(err, &r) {
		return steps.WithHint(err, r.Remedy)
	}
	return err
}

func (d download) apply(ctx context.Context, t steps.Target) error {
	if err := t.Files.MkdirAll(d.dir, 0o700); err != nil {
		return err
	}
	f, err := t.Files.OpenPart(d.source, fileMode)
	if err != nil {
		return err
	}
	defer f.Close()
	w, err := newBudget(f, t.Files, d.dir, d.keepFree)
	if err != nil {
		return err
	}
	x := &transfer{remote: d.remote, h: t.Files, f: f, w: w, sum: sha256.New(), note: d.newNote()}
	x.progress = func() { t.Progress(d.Note().Action, x.have, max(x.note.Size, 0)) }
	if err := x.resume(ctx); err != nil {
		return err
	}
	return x.run(ctx)
}

func (r remote) newNote() *schema.ImageDownload {
	return &schema.ImageDownload{Schema: schema.ImageDownloadName, URLSHA256: urlSum(r.origin), Size: -1}
}

// transfer is a download at work: have bytes are in the file and in sum.
type transfer struct {
	remote
	h        host.Host
	f        host.Part
	w        io.Writer
	sum      hash.Hash
	note     *schema.ImageDownload
	have     int64
	best     int64 // the most that was ever there: less is no progress
	resumed  bool  // some of it comes from another run
	progress func()
}

// resume takes up what an earlier run left.
func (x *transfer) resume(ctx context.Context) error {
	note := x.load(x.h)
	info, err := x.f.Stat()
	if err != nil {
		return err
	}
	if note == nil || note.SHA256 != "" || note.Have == 0 || note.Have > info.Size() || !x.same(note) {
		return x.restart()
	}
	n, err := io.Copy(x.sum, steps.Interruptible(ctx, io.NewSectionReader(x.f, 0, note.Have)))
	if err != nil {
		return fmt.Errorf("read %s: %w", x.source, err)
	}
	x.note, x.have, x.best, x.resumed = note, n, n, true
	return nil
}

// same says whether the server can be asked for the rest of the very same file, or a digest tells in the end.
func (x *transfer) same(note *schema.ImageDownload) bool {
	return note.ETag != "" || note.LastModified != "" || x.want.SHA256 != ""
}

// restart forgets everything.
func (x *transfer) restart() error {
	x.have, x.resumed = 0, false
	x.sum.Reset()
	x.note = x.newNote()
	return x.f.Truncate(0)
}

// run downloads to the end. A wrong digest of something that was put together from two runs is tried once more.
func (x *transfer) run(ctx context.Context) error {
	limited, cancel := context.WithTimeoutCause(ctx, x.patience.total, fmt.Errorf("not done within %s", x.patience.total))
	defer cancel()
	err := x.patience.insist(limited, func() (bool, error) { return x.attempt(limited) })
	if err != nil && ctx.Err() == nil && limited.Err() != nil {
		err = steps.WithHint(fmt.Errorf("%s: %w", host.Shown(x.url), context.Cause(limited)), "run this again: it goes on where it stopped")
	}
	if err != nil {
		return errors.Join(err, x.keep())
	}
	got := hex.EncodeToString(x.sum.Sum(nil))
	if err := x.digest(got); err != nil {
		if x.resumed {
			if err := x.restart(); err != nil {
				return err
			}
			return x.run(ctx)
		}
		return errors.Join(err, x.h.Remove(x.remote.note), x.h.Remove(x.source))
	}
	x.note.SHA256, x.note.Size = got, x.have
	return x.keep()
}

// attempt asks for what is missing and takes what comes. It returns whether there is more than ever before.
func (x *transfer) attempt(ctx context.Context) (bool, error) {
	answer, err := x.get(ctx, x.h, x.rangeHeader())
	if err != nil {
		var s *statusError
		if errors.As(err, &s) && s.status == http.StatusRequestedRangeNotSatisfiable {
			return false, errors.Join(err, x.restart())
		}
		return false, err
	}
	defer answer.Body.Close()
	if err := x.meet(answer); err != nil {
		return false, err
	}
	err = x.take(answer)
	more := x.have > x.best
	x.best = max(x.best, x.have)
	return more, err
}

// rangeHeader asks for the rest, if the file is still the same, else for all of it (RFC 9110, 13.1.5).
func (x *transfer) rangeHeader() http.Header {
	if x.have == 0 || !x.same(x.note) {
		return nil
	}
	header := http.Header{"Range": {fmt.Sprintf("bytes=%d-", x.have)}}
	switch {
	case x.note.ETag != "":
		header.Set("If-Range", x.note.ETag)
	case x.note.LastModified != "":
		header.Set("If-Range", x.note.LastModified)
	}
	return header
}

var errOther = errors.New("the server has another file now")

// meet makes the file ready for an answer: to go on, or from the beginning.
func (x *transfer) meet(answer *http.Response) error {
	h := headOf(answer)
	if answer.StatusCode == http.StatusPartialContent {
		want := fmt.Sprintf("bytes %d-%d/%d", x.have, x.note.Size-1, x.note.Size)
		if x.have > 0 && h.ranges == want && (x.note.ETag == "" || h.etag == "" || h.etag == x.note.ETag) {
			_, err := x.f.Seek(x.have, io.SeekStart)
			return err
		}
		return errors.Join(fmt.Errorf("%s: %w", host.Shown(x.url), errOther), x.restart())
	}
	if h.size < 0 && answer.ProtoMajor < 2 && !slices.Contains(answer.TransferEncoding, "chunked") && x.want.SHA256 == "" {
		return refuse(host.Shown(x.url)+": a server that does not say where the file ends", "its size, or config.image.sha256", "give the image's digest in config.image.sha256")
	}
	if err := x.restart(); err != nil {
		return err
	}
	x.note.Size, x.note.ETag, x.note.LastModified = h.size, h.etag, h.modified
	if err := x.fits(h.size); err != nil {
		return err
	}
	if _, err := x.f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return x.save()
}

// fits refuses a file for which there is no room.
func (x *transfer) fits(size int64) error {
	space, err := x.h.Space(x.dir)
	if err != nil || size <= space.Free-x.keepFree {
		return err
	}
	return noRoom(space, x.dir, size, x.keepFree)
}

// syncEvery is after how many bytes the file and the note about it are made durable: at most so much is downloaded
// again after a power cut.
const syncEvery = 8 << 20

// take writes the body.
func (x *transfer) take(answer *http.Response) error {
	buf := make([]byte, 256<<10)
	synced := x.have
	for {
		n, err := answer.Body.Read(buf)
		if writeErr := x.put(buf[:n]); writeErr != nil {
			return writeErr
		}
		if err == io.EOF && x.note.Size >= 0 && x.have != x.note.Size {
			err = io.ErrUnexpectedEOF
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: after %d bytes: %w", host.Shown(x.url), x.have, err)
		}
		if x.have-synced >= syncEvery {
			if err := x.keep(); err != nil {
				return steps.WithHint(err, "look after the file system of the work dir")
			}
			synced = x.have
		}
	}
}

// put writes a piece. What fails here is this machine's, and no reason to ask the server again.
func (x *transfer) put(p []byte) error {
	if limit := x.limit(); x.note.Size < 0 && x.have+int64(len(p)) > limit {
		return x.tooLarge(limit + 1)
	}
	n, err := x.w.Write(p)
	x.sum.Write(p[:n])
	x.have += int64(n)
	if err != nil {
		return steps.WithHint(fmt.Errorf("write %s: %w", x.source, err), steps.Explain(err).Hint)
	}
	x.progress()
	return nil
}

// keep makes durable what is there, then says so.
func (x *transfer) keep() error {
	if err := x.f.Sync(); err != nil {
		return err
	}
	x.note.Have = x.have
	return x.save()
}

func (x *transfer) save() error {
	data, err := schema.Encode(x.note)
	if err != nil {
		return err
	}
	return x.h.WriteFile(x.remote.note, data, fileMode)
}
