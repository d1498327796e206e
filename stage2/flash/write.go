package flash

import (
	"context"
	"errors"
	"fmt"
)

// join puts neighbours together while the writers are busy: what the disk is slower than, it gets in larger pieces.
func (e *engine) join(ctx context.Context) error {
	defer close(e.ops)
	var out *op   // grows
	var next *job // comes behind it
	filled, more := false, true
	for more || next != nil || out != nil {
		if filled && e.joins(out, next) {
			e.src.collect(next)
			out, next, filled = e.append(out, next), nil, false
			continue
		}
		var ops chan<- *op
		if out != nil {
			ops = e.ops
		}
		var ready <-chan struct{}
		if next != nil && !filled {
			ready = next.ready
		}
		var order <-chan *job
		if next == nil && more {
			order = e.order
		}
		select {
		case ops <- out:
			out = nil
		case <-ready:
			filled = true
		case next, more = <-order:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// joins says whether a job that is filled may become part of an op.
func (e *engine) joins(out *op, j *job) bool {
	switch {
	case out == nil:
		return true
	case out.buf == nil || j.zero:
		return out.buf == nil && j.zero && out.length+j.length <= zeroStep
	}
	return j.slot == out.jobs[len(out.jobs)-1].slot+1 && out.length+e.chunk <= e.bound()
}

// bound is how large a write may grow: so that all writers find one, and one buffer is left to be filled.
func (e *engine) bound() int64 {
	return max(min(maxWrite, int64(e.slots-1)/int64(writers(e.slots))*e.chunk), e.chunk)
}

// append makes a job part of an op, or the beginning of one. The buffer of zeros goes back at once.
func (e *engine) append(out *op, j *job) *op {
	if out == nil {
		out = &op{off: j.off}
		if !j.zero {
			out.buf = e.ring[int64(j.slot)*e.chunk:]
		}
	}
	if j.zero && j.release != nil {
		j.release()
		j.release = nil
	}
	out.jobs = append(out.jobs, j)
	out.length = j.off + j.length - out.off
	return out
}

// write hands ops to the disk.
func (e *engine) write(ctx context.Context) error {
	for o := range e.ops {
		length := pad(o.length, e.disk.SectorSize())
		var err error
		if o.buf == nil {
			err = e.zero(ctx, o.off, length)
		} else {
			err = e.put(ctx, o, length)
		}
		if err != nil {
			return err
		}
		o.release()
		e.o.Progress("write", e.done.Add(length), e.total)
	}
	return nil
}

// put writes data. What fails as a whole is tried chunk by chunk, so that one bad place is named and tried by itself.
func (e *engine) put(ctx context.Context, o *op, length int64) error {
	if len(o.jobs) == 1 {
		return e.writeAt(ctx, o.buf[:length], o.off)
	}
	err := e.once(o.buf[:length], o.off)
	if err == nil {
		return nil
	}
	e.o.Retried(err)
	for _, j := range o.jobs {
		if err := e.writeAt(ctx, j.buf[:pad(j.length, e.disk.SectorSize())], j.off); err != nil {
			return err
		}
	}
	return nil
}

func (e *engine) writeAt(ctx context.Context, p []byte, off int64) error {
	return attempt(ctx, e.o, func() error { return e.once(p, off) })
}

func (e *engine) once(p []byte, off int64) error {
	defer e.track.begin(func() string { return fmt.Sprintf("the disk, to write %d bytes at %d", len(p), off) })()
	return guard(func() error { return writeWhole(e.disk, p, off) })
}

func writeWhole(d Disk, p []byte, off int64) error {
	n, err := d.WriteAt(p, off)
	if err == nil && n != len(p) {
		err = fmt.Errorf("only %d were taken", n)
	}
	if err != nil {
		return fmt.Errorf("write %d bytes at %d: %w", len(p), off, err)
	}
	return nil
}

// zero lets the disk zero a range, or writes zeros where it can't.
func (e *engine) zero(ctx context.Context, off, length int64) error {
	if !e.cannotZero.Load() {
		err := e.zeroRange(ctx, off, length)
		if err == nil || ctx.Err() != nil {
			return err
		}
		e.cannotZero.Store(true)
		e.o.Retried(fmt.Errorf("writing zeros from here on: %w", err))
	}
	for end := off + length; off < end; off += blankSize {
		if err := e.writeAt(ctx, e.blank[:min(blankSize, end-off)], off); err != nil {
			return err
		}
	}
	return nil
}

// zeroRange asks a disk that can't zero only once.
func (e *engine) zeroRange(ctx context.Context, off, length int64) error {
	var cannot error
	err := e.attempt(ctx, func() string { return fmt.Sprintf("the disk, to zero %d bytes at %d", length, off) }, func() error {
		err := e.disk.ZeroRange(off, length)
		if errors.Is(err, errors.ErrUnsupported) {
			cannot, err = err, nil
		}
		return err
	})
	return errors.Join(err, cannot)
}
