package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/flash"
	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/host"
	"github.com/balena-community/balena-migrate/steps/image"
)

// imageWriteCmd writes an image to a disk by the engine that stage 2 has (C14, C18).
type imageWriteCmd struct {
	JSON   bool   `name:"json" help:"Write exactly one JSON document to standard output."`
	Yes    bool   `help:"Don't ask. Which disk is meant must then be said by --serial or --size too."`
	Serial string `placeholder:"TEXT" help:"Refuse any disk but the one with this serial number."`
	Size   int64  `placeholder:"BYTES" help:"Refuse any disk but one of this size."`
	Image  string `arg:"" help:"Prepared image (its index beside it), or any image that prepare-image takes."`
	Disk   string `arg:"" help:"Whole disk, e.g. /dev/sdb, or a regular file; an empty one grows."`
}

const (
	// writeMemory bounds the ring of buffers, in bytes: a workstation has that, and a fast drive wants it.
	writeMemory = 64 << 20
	// tableRoom is what is destroyed at both ends of a disk that holds half of an image, in bytes: boot code and both
	// partition tables are in it (UEFI 2.10, 5.3.2).
	tableRoom = 1 << 20
	// tableWait is how long a table is tried to be read again: udev looks into partitions that are about to go.
	tableWait = 10 * time.Second
)

// Run implements the command.
func (c imageWriteCmd) Run(ctx context.Context, t terminal) error {
	out, err := newOutput(t, c.JSON)
	if err != nil {
		return err
	}
	name, err := filepath.Abs(c.Image)
	if err != nil {
		return err
	}
	raw, err := image.OpenRaw(ctx, host.At("/"), name)
	if err != nil {
		return err
	}
	defer raw.Close()
	target, err := findTarget(host.At("/"), c.Disk)
	if err != nil {
		return err
	}
	blocked := target.blocked(host.At("/"), c, raw)
	if len(blocked) == 0 {
		blocked = target.confirm(c, t)
	}
	if len(blocked) > 0 {
		return out.refuse(blocked)
	}
	w := &writing{out: out, raw: raw, image: name, target: target}
	doc, err := w.run(ctx)
	out.done()
	if err != nil {
		return err
	}
	return out.written(doc)
}

// refuse shows what stands against it; nothing was touched.
func (o *output) refuse(blocked []schema.Blocked) error {
	res := schema.NewResult("")
	res.Status, res.Failed, res.Blocked = schema.BlockedBy, true, blocked
	res.Msg = "image write: " + blocked[0].Got
	if err := o.result(res); err != nil {
		return err
	}
	return exitError(exitBlocked)
}

func (o *output) written(doc *schema.ImageWrite) error {
	if o.json {
		return o.document(doc)
	}
	_, err := fmt.Fprintln(o.out, doc.Msg)
	return err
}

// writing is an image on its way to a disk.
type writing struct {
	out     *output
	raw     *image.Raw
	image   string
	target  *diskTarget
	retries atomic.Int64
}

// run writes, and destroys what it has half written when it fails.
func (w *writing) run(ctx context.Context) (*schema.ImageWrite, error) {
	d, err := w.target.open(rawSize(w.raw))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	touched := &touchedDisk{Disk: d}
	index, rep, err := w.flash(ctx, touched)
	if err != nil {
		return nil, w.fail(touched, err)
	}
	doc := w.document(index, rep)
	if err := w.reread(d); err != nil {
		doc.Msg += fmt.Sprintf("; the kernel still shows the old partitions (%v): take the disk out and put it in again", err)
	}
	return doc, d.Close()
}

func (w *writing) flash(ctx context.Context, d flash.Disk) (*schema.ImageIndex, flash.Report, error) {
	o := w.options()
	if w.raw.Flashable != nil {
		rep, err := flash.Flash(ctx, d, w.raw.Flashable, o)
		return w.raw.Flashable.Index(), rep, err
	}
	r, err := w.raw.Stream(ctx)
	if err != nil {
		return nil, flash.Report{}, err
	}
	return flash.Stream(ctx, d, r, w.raw.Size, o)
}

func (w *writing) options() flash.Options {
	var ring []byte
	return flash.Options{
		Workers: runtime.NumCPU(), Memory: writeMemory, Progress: w.out.progress,
		Buffer: func(size int) []byte {
			if len(ring) != size {
				var err error
				if ring, err = (host.Linux{}).Memory(size); err != nil {
					ring = make([]byte, size)
				}
			}
			return ring
		},
		Retried: func(err error) {
			if n := w.retries.Add(1); n <= 20 {
				w.out.log.Warn("trying again", zap.Error(err))
			}
		},
		Stalled: func(where string, idle time.Duration) {
			w.out.log.Warn("nothing moves", zap.Duration("idle", idle.Truncate(time.Second)), zap.String("waiting_for", where))
		},
	}
}

// fail makes sure that nothing boots from half of an image (C11), and says so.
func (w *writing) fail(d *touchedDisk, cause error) error {
	if !d.touched.Load() {
		return cause
	}
	if err := destroyTable(d.Disk); err != nil {
		return steps.WithHint(fmt.Errorf("%w; %s holds half of an image, and its partition table could not be destroyed: %w", cause, w.target.name, err),
			"don't boot from it; replace the disk")
	}
	return steps.WithHint(fmt.Errorf("%w; the partition table of %s was destroyed, so that nothing boots from half of an image", cause, w.target.name),
		"write it again; if that fails at the same place, replace the disk")
}

// destroyTable overwrites both ends of a disk with zeros.
func destroyTable(d host.Disk) error {
	n := min(tableRoom, d.Size()/d.SectorSize()*d.SectorSize())
	zeros, err := host.Linux{}.Memory(int(n))
	if err != nil {
		return err
	}
	for _, off := range []int64{0, d.Size()/d.SectorSize()*d.SectorSize() - n} {
		if _, wErr := d.WriteAt(zeros, off); wErr != nil {
			err = errors.Join(err, wErr)
		}
	}
	return errors.Join(err, d.Flush())
}

// reread makes the kernel see the new partitions. A loop device that shows none says so by EINVAL.
func (w *writing) reread(d host.Disk) error {
	for deadline := time.Now().Add(tableWait); ; time.Sleep(200 * time.Millisecond) {
		err := d.RereadTable()
		if err == nil || errors.Is(err, syscall.EINVAL) {
			return nil
		}
		if time.Now().After(deadline) {
			return err
		}
	}
}

func (w *writing) document(x *schema.ImageIndex, rep flash.Report) *schema.ImageWrite {
	doc := &schema.ImageWrite{
		Schema: schema.ImageWriteName, Image: w.image, Disk: w.target.name, Model: w.target.disk.Model, Serial: w.target.disk.Serial,
		DiskSize: w.target.disk.Size, RawSize: x.RawSize, DataSize: x.DataSize(), Write: rep.Write.Seconds(), ReadBack: rep.ReadBack.Seconds(),
		Mended: rep.Mended, Retries: w.retries.Load(), Changed: true,
	}
	doc.Msg = fmt.Sprintf("%s: %d MiB written, %d MiB of it data, in %.1f s (%.0f MiB/s of data); read back and compared in %.1f s",
		doc.Disk, doc.RawSize>>20, doc.DataSize>>20, doc.Write, float64(doc.DataSize)/(1<<20)/max(doc.Write, 0.001), doc.ReadBack)
	if doc.Mended > 0 {
		doc.Msg += fmt.Sprintf("; %d chunks were not there as written and were written again: the medium is wearing out", doc.Mended)
	}
	return doc
}

// touchedDisk knows whether anything was written.
type touchedDisk struct {
	host.Disk
	touched atomic.Bool
}

// WriteAt implements io.WriterAt.
func (d *touchedDisk) WriteAt(p []byte, off int64) (int, error) {
	d.touched.Store(true)
	return d.Disk.WriteAt(p, off)
}

// ZeroRange implements flash.Disk.
func (d *touchedDisk) ZeroRange(off, length int64) error {
	d.touched.Store(true)
	return d.Disk.ZeroRange(off, length)
}
