package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/host"
)

// detaching are the options by which a playbook runs a step that takes minutes: the step outlives the connection, every call
// is the same call, and one that comes while the step works waits for it.
type detaching struct {
	Detach time.Duration `hidden:"" help:"Let a long step work on by itself, and wait for so long. Exit code 5: it is under way."`
	RunID  string        `name:"run-id" hidden:"" help:"The caller's name of its task: the same in each of its calls."`
	Worker bool          `hidden:"" help:"Be the process that a detached step works in."`
}

// long are the steps that may take minutes. The others end with their call: nothing is gained by a second process.
func long(step string) bool {
	return slices.Contains([]string{"prepare-image", "backup", "build-initramfs"}, step)
}

// glances is how often a waiting call looks.
const glances = 50 * time.Millisecond

// detached is one call: it runs the step or waits for what is running, and answers with the result, or with how far it is.
func (c stepCmd) detached(ctx context.Context, t terminal) error {
	input, err := schema.ReadAll(t.in, "standard input")
	if err != nil {
		return err
	}
	t.in = bytes.NewReader(input)
	s, err := c.open(t, c.converging)
	if err != nil {
		return err
	}
	call := &call{stepCmd: c, session: s, input: input, deadline: time.Now().Add(c.Detach)}
	call.desk = desk{files: host.At("/"), dir: deskDir(s.run.WorkDir)}
	if call.key, err = c.key(s.in); err != nil {
		return err
	}
	return call.run(ctx)
}

// key stands for what is asked for. Facts are not part of it: they differ from look to look.
func (c stepCmd) key(in *schema.Migration) (string, error) {
	config, err := schema.Encode(in.Config)
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	fmt.Fprintf(sum, "%s %s %v %v %v %s\n%s", version, c.Name, c.Check, c.Diff, c.Strict, c.Root, config)
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// call is one call of a detached step.
type call struct {
	stepCmd
	*session
	desk     desk
	key      string
	input    []byte
	deadline time.Time
}

func (c *call) run(ctx context.Context) error {
	work := long(c.Name) && !c.Check
	for {
		claim, err := c.desk.claim(work)
		if err == nil {
			end, err := c.free(ctx, claim, work)
			claim.Release()
			if end {
				return err
			}
		} else if !errors.Is(err, host.ErrBusy) {
			return err
		} else if end, err := c.busy(); end {
			return err
		}
		if err := host.Sleep(ctx, glances); err != nil {
			return err
		}
	}
}

// busy is for a device that a step is working on: ours, or one of an earlier playbook, which has to end first.
func (c *call) busy() (end bool, err error) {
	note := c.desk.note()
	if note == nil || note.Ended != "" {
		note = &schema.Worker{Schema: schema.WorkerName} // a short step of somebody else
	}
	if note.Key == c.key && c.desk.owner() != c.RunID {
		if err := c.desk.own(c.RunID); err != nil { // from now on it works for us
			return true, err
		}
	}
	if time.Now().Before(c.deadline) {
		return false, nil
	}
	note.Progress = c.desk.progress()
	if err := c.out.document(note); err != nil {
		return true, err
	}
	return true, exitError(exitUnderWay)
}

// free is for a device that nothing is working on. The claim keeps it so.
func (c *call) free(ctx context.Context, claim *host.Claim, work bool) (end bool, err error) {
	if !work {
		return true, c.inline(ctx)
	}
	note := c.desk.note()
	switch {
	case note == nil || note.Key != c.key || c.desk.owner() != c.RunID:
		unseen := note != nil && note.Key == c.key && note.Ended != "" && !note.Fetched
		if !unseen && !c.changes(ctx) {
			return true, c.inline(ctx)
		}
		return false, c.start(claim, unseen)
	case note.Ended == "":
		return true, c.died(note)
	}
	return true, c.deliver(note)
}

// changes says whether the step may have something to change. If it hasn't, a second process would only wear the disk.
func (c *call) changes(ctx context.Context) bool {
	run := c.session.run
	run.Check, run.Diff = true, false
	res, err := run.Converge(ctx, c.step(), c.in)
	return err != nil || len(res.Changes) > 0
}

// inline runs the step in this process.
func (c *call) inline(ctx context.Context) error {
	return c.finish(c.converge(ctx, c.step()))
}

// start begins the work. What an earlier one did that nobody was told of goes into the new one's result.
func (c *call) start(claim *host.Claim, unseen bool) error {
	if err := c.desk.clear(unseen); err != nil {
		return err
	}
	note := &schema.Worker{Schema: schema.WorkerName, Step: c.Name, Key: c.key, Started: c.desk.now()}
	if err := errors.Join(c.desk.save(note), c.desk.own(c.RunID)); err != nil {
		return err
	}
	cmd := host.Cmd{Name: c.session.run.Self, Args: c.workerArgs()}
	if err := c.desk.files.Detach(cmd, c.input, c.desk.file(logName), claim); err != nil {
		return errors.Join(err, c.desk.own(""))
	}
	return nil
}

// workerArgs are those of the process that does the work.
func (c *call) workerArgs() []string {
	args := []string{"step", c.Name, "--worker", "--json", "--input", "-", "--work-dir", c.session.run.WorkDir, "--root", c.session.run.Device.Root()}
	for flag, set := range map[string]bool{"--diff": c.Diff, "--strict": c.Strict} {
		if set {
			args = append(args, flag)
		}
	}
	return args
}

// died is for a worker that left no result: killed, out of memory, or the device lost its power.
func (c *call) died(note *schema.Worker) error {
	text := fmt.Sprintf("step %s, which began at %s, was killed before it ended", c.Name, note.Started)
	if p := c.desk.progress(); p != nil {
		text += fmt.Sprintf("; %s was at %d of %d MiB after %.0f s", p.What, p.Done>>20, p.Total>>20, p.Seconds)
	}
	c.desk.copyLog(c.out.err)
	if err := c.desk.own(""); err != nil { // the next caller begins anew
		return err
	}
	return steps.WithHint(errors.New(text), "look for a lack of memory (dmesg) or a reboot, then run this again: it goes on where it can")
}

// deliver hands out the result, with its exit code and the end of its log.
func (c *call) deliver(note *schema.Worker) error {
	data, err := c.desk.files.ReadFile(c.desk.file(resultName))
	if err != nil {
		return err
	}
	c.desk.copyLog(c.out.err)
	if _, err := c.out.out.Write(data); err != nil {
		return err
	}
	if !note.Fetched {
		note.Fetched = true
		if err := c.desk.save(note); err != nil {
			return err
		}
	}
	if note.Code != 0 {
		return exitError(note.Code)
	}
	return nil
}

// work is the detached process. Whatever becomes of the step, its result is left on the desk.
func (c stepCmd) work(ctx context.Context, t terminal) error {
	host.KeepClaim()
	workDir, err := c.workDir()
	if err != nil {
		return err
	}
	d := desk{files: host.At("/"), dir: deskDir(workDir)}
	var said bytes.Buffer
	t.out = &said
	err = c.converged(ctx, t, d)
	var code exitError
	switch {
	case errors.As(err, &code):
	case err != nil:
		code = exitError(report(t, os.Args[1:], "", err))
	}
	return d.leave(said.Bytes(), int(code))
}

// converged runs the step with its progress on the desk.
func (c stepCmd) converged(ctx context.Context, t terminal, d desk) error {
	s, err := c.open(t, c.converging)
	if err != nil {
		return err
	}
	s.run.Progress = d.reporter()
	res, err := s.converge(ctx, c.step())
	if err == nil && res != nil {
		d.amend(res)
	}
	return s.finish(res, err)
}
