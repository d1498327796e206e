package steps

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps/host"
)

// ErrPartial marks a failure after the first change was applied: a rerun continues.
var ErrPartial = errors.New("stopped part way")

// Run is where and how a step is converged.
type Run struct {
	Device   host.Host
	Files    host.Host
	WorkDir  string
	Version  string
	Self     string
	Check    bool
	Diff     bool
	Strict   bool
	Progress Progress
	// Log is told of every change, before ("start") and after ("done") it is made; nil keeps silent.
	Log func(act string, n schema.ChangeNote, took time.Duration)
}

// Converge plans, applies and plans again. The result is complete whatever happens; the error is the failure that is
// also in the result, nil when the step converged or is blocked.
func (r Run) Converge(ctx context.Context, s Step, in *schema.Migration) (*schema.Result, error) {
	res := schema.NewResult(s.Name())
	res.Check, res.Config, res.Facts = r.Check, in.Config, in.Facts
	if _, ok := s.(ForAnyUser); !ok && !r.Device.Privileged() {
		return r.needRoot(res, in), nil
	}
	plan, err := s.Plan(ctx, r.View(in))
	if err != nil {
		return fail(res, err)
	}
	r.judge(&plan)
	r.note(res, plan)
	if len(plan.Blocked) > 0 {
		return block(res, plan), nil
	}
	if r.Check || len(plan.Changes) == 0 {
		return done(res, plan), nil
	}
	if err := r.apply(ctx, plan.Changes); err != nil {
		return fail(res, err)
	}
	again, err := s.Plan(ctx, r.View(in))
	if err != nil {
		return fail(res, errors.Join(ErrPartial, err))
	}
	if len(again.Blocked) > 0 {
		r.note(res, Plan{Blocked: again.Blocked})
		return block(res, again), nil
	}
	if len(again.Changes) > 0 {
		return fail(res, errors.Join(ErrPartial, notConverged(s, again)))
	}
	res.Warnings = append([]string{}, again.Warnings...)
	return done(res, again), nil
}

// needRoot blocks a step whose caller may not look at all there is (S5).
func (r Run) needRoot(res *schema.Result, in *schema.Migration) *schema.Result {
	plan := Plan{Facts: in.Facts}
	plan.Block("root", "no root rights", "root rights", "run it as root, e.g. with sudo")
	r.note(res, plan)
	return block(res, plan)
}

// View is what a plan is given: readers only.
func (r Run) View(in *schema.Migration) View {
	return View{
		Device: r.Device, Files: r.Files, WorkDir: r.WorkDir, Version: r.Version, Self: r.Self, Config: in.Config, Facts: in.Facts,
	}
}

// judge turns missing earlier steps, and with --strict warnings, into blockers.
func (r Run) judge(p *Plan) {
	for _, need := range p.Needs {
		if r.Check {
			p.Warn("not looked at in full: step " + need + " has not converged yet")
			continue
		}
		p.Block("order", "step "+need+" has not converged", "its facts", "run step "+need+" first and pass its result on")
	}
	if !r.Strict {
		return
	}
	for _, w := range p.Warnings {
		p.Block("strict", w, "no warning", "mend it, or run without --strict")
	}
}

// note writes the plan into the result.
func (r Run) note(res *schema.Result, p Plan) {
	for _, c := range p.Changes {
		res.Changes = append(res.Changes, c.Note())
		if d, ok := c.(Differ); ok && r.Diff {
			res.Diff = append(res.Diff, d.Diff())
		}
	}
	res.Blocked = append(res.Blocked, p.Blocked...)
	res.Warnings = append(res.Warnings, p.Warnings...)
}

// apply makes the changes in order.
func (r Run) apply(ctx context.Context, changes []Change) error {
	t := Target{Device: r.Device, Files: r.Files, Progress: r.Progress}
	if t.Progress == nil {
		t.Progress = func(string, int64, int64) {}
	}
	if err := ctx.Err(); err != nil {
		return err // nothing was touched
	}
	for _, c := range changes {
		n, start := c.Note(), time.Now()
		r.log("start", n, 0)
		err := ctx.Err()
		if err == nil {
			err = c.Apply(ctx, t)
		}
		if err != nil {
			return errors.Join(ErrPartial, fmt.Errorf("%s %s: %w", n.Action, n.Target, err))
		}
		r.log("done", n, time.Since(start))
	}
	return nil
}

func (r Run) log(act string, n schema.ChangeNote, took time.Duration) {
	if r.Log != nil {
		r.Log(act, n, took)
	}
}

func notConverged(s Step, p Plan) error {
	left := make([]string, len(p.Changes))
	for i, c := range p.Changes {
		n := c.Note()
		left[i] = n.Action + " " + n.Target
	}
	return fmt.Errorf("step %s did not converge: after all its changes it still wants to %s", s.Name(), strings.Join(left, ", "))
}

func done(res *schema.Result, p Plan) *schema.Result {
	res.Status, res.Facts, res.Changed = schema.Converged, p.Facts, len(res.Changes) > 0
	res.Msg = message(res)
	return res
}

func block(res *schema.Result, p Plan) *schema.Result {
	res.Status, res.Facts, res.Failed, res.Changed = schema.BlockedBy, p.Facts, true, false
	res.Changes, res.Diff = []schema.ChangeNote{}, nil
	res.Msg = message(res)
	return res
}

// fail puts err into the result. Failures before the first change leave changed false.
func fail(res *schema.Result, err error) (*schema.Result, error) {
	res.Status, res.Failed, res.Changed = schema.Failed, true, errors.Is(err, ErrPartial)
	res.Error = Explain(err)
	res.Msg = res.Step + ": " + res.Error.Message
	return res, err
}

// message is the result in one line.
func message(res *schema.Result) string {
	switch {
	case res.Status == schema.BlockedBy:
		texts := make([]string, len(res.Blocked))
		for i, b := range res.Blocked {
			texts[i] = fmt.Sprintf("%s: found %s, expected %s (%s)", b.Check, b.Got, b.Want, b.Remedy)
		}
		return res.Step + " is blocked: " + strings.Join(texts, "; ")
	case !res.Changed:
		return res.Step + ": nothing to do"
	case res.Check:
		return fmt.Sprintf("%s: %d changes would be made", res.Step, len(res.Changes))
	default:
		return fmt.Sprintf("%s: %d changes made", res.Step, len(res.Changes))
	}
}
