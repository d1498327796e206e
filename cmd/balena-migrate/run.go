package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/armboot"
	"github.com/balena-community/balena-migrate/steps/backup"
	"github.com/balena-community/balena-migrate/steps/host"
	"github.com/balena-community/balena-migrate/steps/image"
	"github.com/balena-community/balena-migrate/steps/initramfs"
	"github.com/balena-community/balena-migrate/steps/precheck"
	"github.com/balena-community/balena-migrate/steps/reboot"
	"github.com/balena-community/balena-migrate/steps/status"
	"github.com/balena-community/balena-migrate/steps/wifi"
)

// sequence is the user's seven steps, in order.
func sequence() []steps.Step {
	return []steps.Step{precheck.Step{}, image.Step{}, wifi.Step{}, backup.Step{}, initramfs.Step{}, armboot.Step{}, reboot.Step{}}
}

func stepNames() []string {
	var names []string
	for _, s := range sequence() {
		names = append(names, s.Name())
	}
	return names
}

// session is a command at work: where it works and with what.
type session struct {
	run steps.Run
	in  *schema.Migration
	out *output
}

// open reads the input and gets the host ready. Nothing is written yet.
func (c common) open(t terminal, opts converging) (*session, error) {
	out, err := newOutput(t, c.JSON)
	if err != nil {
		return nil, err
	}
	root, err := filepath.Abs(c.Root)
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(root); err != nil || !info.IsDir() {
		return nil, &usageError{fmt.Errorf("--root %s: found no directory there", c.Root)}
	}
	workDir, err := c.workDir()
	if err != nil {
		return nil, err
	}
	files := host.At("/")
	in, notes, err := c.read(files, workDir, t.in)
	if err != nil {
		return nil, err
	}
	out.imported(notes)
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	device := files
	if root != "/" {
		device = host.At(root)
	}
	return &session{in: in, out: out, run: steps.Run{
		Device: device, Files: files, WorkDir: workDir, Version: version, Self: self,
		Check: opts.Check, Diff: opts.Diff, Strict: opts.Strict, Progress: out.progress, Log: out.event,
	}}, nil
}

// converge runs one step and keeps its facts. The lock keeps a second run off the same work dir.
func (s *session) converge(ctx context.Context, step steps.Step) (*schema.Result, error) {
	unlock, err := s.run.Files.Lock(s.run.WorkDir)
	if err != nil {
		return nil, steps.WithHint(err, "wait for the other balena-migrate that works here, or choose another --work-dir")
	}
	defer unlock()
	res, err := s.run.Converge(ctx, step, s.in)
	s.out.done()
	if err == nil && res.Status == schema.Converged && !s.run.Check {
		err = saveFacts(s.run.Files, s.run.WorkDir, res.Facts)
	}
	return res, err
}

type stepCmd struct {
	Name string `arg:"" help:"One of: ${steps}." enum:"${steps}"`
	common
	converging
	detaching
}

// Run implements the command.
func (c stepCmd) Run(ctx context.Context, t terminal) error {
	switch {
	case c.Worker:
		return c.work(ctx, t)
	case c.Detach > 0:
		return c.detached(ctx, t)
	}
	s, err := c.open(t, c.converging)
	if err != nil {
		return err
	}
	return s.finish(s.converge(ctx, c.step()))
}

// step is the one that is named: the command line takes no other name.
func (c stepCmd) step() steps.Step {
	all := sequence()
	return all[slices.IndexFunc(all, func(s steps.Step) bool { return s.Name() == c.Name })]
}

type disarmCmd struct {
	common
	converging
}

// Run implements the command.
func (c disarmCmd) Run(ctx context.Context, t terminal) error {
	s, err := c.open(t, c.converging)
	if err != nil {
		return err
	}
	return s.finish(s.converge(ctx, armboot.Disarm{}))
}

type statusCmd struct {
	common
}

// Run implements the command.
func (c statusCmd) Run(t terminal) error {
	s, err := c.open(t, converging{})
	if err != nil {
		return err
	}
	st, err := status.Read(s.run.View(s.in))
	if err != nil {
		return err
	}
	return s.out.status(st)
}

// finish shows a result and turns it into the exit code.
func (s *session) finish(res *schema.Result, err error) error {
	if res == nil {
		return err
	}
	if err != nil && res.Error == nil {
		res.Status, res.Failed, res.Error = schema.Failed, true, steps.Explain(err)
		res.Msg = res.Step + ": " + res.Error.Message
	}
	if outErr := s.out.result(res); outErr != nil {
		return outErr
	}
	switch {
	case res.Status == schema.BlockedBy:
		return exitError(exitBlocked)
	case errors.Is(err, context.Canceled):
		return exitError(exitInterrupted)
	case err != nil:
		return exitError(exitFailed)
	}
	return nil
}
