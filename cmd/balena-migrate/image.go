package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/host"
	"github.com/balena-community/balena-migrate/steps/image"
)

// imageCmd are the commands that work on an image file: on a workstation too, and without root.
type imageCmd struct {
	Inspect imageInspectCmd `cmd:"" help:"Say what an image file is: format, size, partitions, device type."`
	Extract imageExtractCmd `cmd:"" help:"Write the raw image, a partition or a file of one to a file."`
	Verify  imageVerifyCmd  `cmd:"" help:"Read all of an image file and compare every checksum."`
	Write   imageWriteCmd   `cmd:"" help:"Write an image to a disk or a file, and read it back."`
}

// imageCommon are the options of these commands.
type imageCommon struct {
	JSON bool   `name:"json" help:"Write exactly one JSON document to standard output."`
	File string `arg:"" help:"Image file: raw, or in gzip, zip, xz, zstd or bzip2."`
}

// imageWork is a command on an image file at work.
type imageWork struct {
	out    *output
	files  host.Host
	report *schema.ImageReport
}

func (c imageCommon) open(t terminal, command string) (*imageWork, error) {
	out, err := newOutput(t, c.JSON)
	if err != nil {
		return nil, err
	}
	name, err := filepath.Abs(c.File)
	if err != nil {
		return nil, err
	}
	return &imageWork{out: out, files: host.At("/"), report: schema.NewImageReport(command, name)}, nil
}

// with runs do on the open file.
func (w *imageWork) with(do func(*image.File) error) error {
	f, err := image.Open(w.files, w.report.File)
	if err != nil {
		return err
	}
	defer f.Close()
	return do(f)
}

// finish shows the report and turns err into the exit code: an image that is not accepted blocks, for nothing was
// touched.
func (w *imageWork) finish(err error) error {
	w.out.done()
	r := w.report
	blocked, refused := image.Blocker(err)
	switch {
	case refused:
		r.Status, r.Failed, r.Blocked = schema.BlockedBy, true, append(r.Blocked, blocked)
		r.Msg = fmt.Sprintf("image %s is blocked: %s: found %s, expected %s (%s)", r.Command, blocked.Check, blocked.Got, blocked.Want, blocked.Remedy)
	case err != nil:
		r.Status, r.Failed, r.Error = schema.Failed, true, steps.Explain(err)
		r.Msg = "image " + r.Command + ": " + r.Error.Message
	}
	if outErr := w.out.imageReport(r); outErr != nil {
		return outErr
	}
	switch {
	case refused:
		return exitError(exitBlocked)
	case errors.Is(err, context.Canceled):
		return exitError(exitInterrupted)
	case err != nil:
		return exitError(exitFailed)
	}
	return nil
}

type imageInspectCmd struct {
	imageCommon
}

// Run implements the command.
func (c imageInspectCmd) Run(ctx context.Context, t terminal) error {
	w, err := c.open(t, "inspect")
	if err != nil {
		return err
	}
	return w.finish(w.with(func(f *image.File) error {
		w.report.Msg = f.String()
		return f.Inspect(ctx, w.report)
	}))
}

type imageVerifyCmd struct {
	imageCommon
	SHA256 string `name:"sha256" placeholder:"HEX" help:"The SHA-256 the file must have."`
}

// Run implements the command.
func (c imageVerifyCmd) Run(ctx context.Context, t terminal) error {
	w, err := c.open(t, "verify")
	if err != nil {
		return err
	}
	if c.SHA256 != "" && !sha256Text.MatchString(c.SHA256) {
		return &usageError{fmt.Errorf("--sha256: found %q, expected 64 hex digits", c.SHA256)}
	}
	return w.finish(w.with(func(f *image.File) error {
		w.report.Msg = f.String() + ": good"
		return f.Verify(ctx, strings.ToLower(c.SHA256), w.out.progress, w.report)
	}))
}

var sha256Text = regexp.MustCompile(`^[0-9a-fA-F]{64}$`)

type imageExtractCmd struct {
	imageCommon
	What  string `arg:"" optional:"" help:"A partition by number, label or name, a file on a FAT partition: resin-boot:config.txt, or inner for the image in a flasher image. Default: the whole raw image."`
	To    string `required:"" placeholder:"FILE" help:"Where to write it."`
	Force bool   `help:"Replace a file that is there."`
}

// Run implements the command.
func (c imageExtractCmd) Run(ctx context.Context, t terminal) error {
	w, err := c.open(t, "extract")
	if err != nil {
		return err
	}
	to, err := filepath.Abs(c.To)
	if err != nil {
		return err
	}
	return w.finish(w.with(func(f *image.File) error {
		w.report.Msg = f.String() + " to " + to
		return f.Extract(ctx, w.files, image.Extraction{What: c.What, To: to, Force: c.Force}, w.out.progress, w.report)
	}))
}
