package steps_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/host/hosttest"
	"github.com/balena-community/balena-migrate/steps/steptest"
)

// scripted is a step whose plans are given, one for each time it is asked; the last one is repeated.
type scripted struct {
	plans []steps.Plan
	err   []error
	asked *int
}

func (scripted) Name() string { return "backup" }

func (s scripted) Plan(context.Context, steps.View) (steps.Plan, error) {
	i := min(*s.asked, len(s.plans)-1)
	*s.asked++
	if i < len(s.err) && s.err[i] != nil {
		return steps.Plan{}, s.err[i]
	}
	p := s.plans[i]
	p.Warnings = slices.Clone(p.Warnings) // Converge adds to it
	return p, nil
}

func script(plans ...steps.Plan) scripted { return scripted{plans: plans, asked: new(int)} }

// act is a change that does what a test wants.
type act struct {
	name string
	do   func() error
}

func (a act) Note() schema.ChangeNote { return schema.ChangeNote{Action: "do", Target: a.name} }

func (a act) Apply(_ context.Context, t steps.Target) error {
	t.Progress(a.name, 1, 1) // never nil
	if a.do == nil {
		return nil
	}
	return a.do()
}

func nothing(name string) act { return act{name: name} }

func fails(name string, err error) act { return act{name, func() error { return err }} }

func changes(c ...steps.Change) steps.Plan { return steps.Plan{Changes: c} }

var (
	found   = schema.Facts{Backup: &schema.BackupFacts{Volumes: []string{"found"}}}
	blocker = schema.Blocked{Check: "size", Got: "3 GB", Want: "1 GB", Remedy: "leave something out"}
)

func converge(t *testing.T, s steps.Step, change func(*steps.Run)) (*schema.Result, error) {
	t.Helper()
	run := steptest.RunOn(hosttest.New(t, nil))
	if change != nil {
		change(&run)
	}
	res, err := run.Converge(context.Background(), s, schema.NewMigration())
	steptest.Valid(t, res)
	return res, err
}

func TestConverge(t *testing.T) {
	disk := &fs.PathError{Op: "write", Path: "/x", Err: syscall.ENOSPC}
	cases := map[string]struct {
		step    scripted
		run     func(*steps.Run)
		status  string
		changed bool
		asked   int
		made    string // the changes in the result
		msg     string // is part of the message
		err     error
		partial bool
	}{
		"nothing to do": {step: script(steps.Plan{Facts: found}), status: schema.Converged, asked: 1, msg: "backup: nothing to do"},
		"something to do": {
			step: script(changes(nothing("a"), nothing("b")), steps.Plan{Facts: found}), status: schema.Converged, changed: true, asked: 2,
			made: "do a, do b", msg: "2 changes made",
		},
		"not converged": {
			step: script(changes(nothing("a")), changes(nothing("b"), nothing("c"))), status: schema.Failed, changed: true, asked: 2,
			made: "do a", msg: "it still wants to do b, do c", err: steps.ErrPartial, partial: true,
		},
		"blocked": {
			step:   script(steps.Plan{Facts: found, Changes: []steps.Change{fails("never", disk)}, Blocked: []schema.Blocked{blocker}}),
			status: schema.BlockedBy, asked: 1, msg: "size: found 3 GB, expected 1 GB (leave something out)",
		},
		"blocked only afterwards": {
			step:   script(changes(nothing("a")), steps.Plan{Blocked: []schema.Blocked{blocker}}),
			status: schema.BlockedBy, asked: 2, msg: "size: found 3 GB",
		},
		"check mode": {
			step: script(changes(fails("a", disk), fails("b", disk))), run: func(r *steps.Run) { r.Check = true },
			status: schema.Converged, changed: true, asked: 1, made: "do a, do b", msg: "2 changes would be made",
		},
		"check mode, nothing to do": {
			step: script(steps.Plan{Facts: found}), run: func(r *steps.Run) { r.Check = true }, status: schema.Converged, asked: 1, msg: "nothing to do",
		},
		"an earlier step is missing": {
			step: script(steps.Plan{Needs: []string{"precheck"}, Changes: []steps.Change{fails("never", disk)}}), status: schema.BlockedBy, asked: 1,
			msg: "order: found step precheck has not converged, expected its facts (run step precheck first",
		},
		"an earlier step is missing, check mode": {
			step: script(steps.Plan{Needs: []string{"precheck"}}), run: func(r *steps.Run) { r.Check = true }, status: schema.Converged, asked: 1,
		},
		"the same with strict": {
			step: script(steps.Plan{Needs: []string{"precheck"}}), run: func(r *steps.Run) { r.Check, r.Strict = true, true },
			status: schema.BlockedBy, asked: 1, msg: "strict: found not looked at in full: step precheck",
		},
		"warnings": {step: script(steps.Plan{Warnings: []string{"slow disk"}}), status: schema.Converged, asked: 1, msg: "nothing to do"},
		"warnings with strict": {
			step: script(steps.Plan{Warnings: []string{"slow disk"}}), run: func(r *steps.Run) { r.Strict = true },
			status: schema.BlockedBy, asked: 1, msg: "strict: found slow disk, expected no warning",
		},
		"no root rights": {
			step: script(changes(nothing("a"))), run: func(r *steps.Run) {
				user := hosttest.New(t, nil)
				user.Unprivileged = true
				r.Device = user
			},
			status: schema.BlockedBy, asked: 0, msg: "root: found no root rights, expected root rights (run it as root, e.g. with sudo)",
		},
		"it can't look": {
			step:   scripted{plans: []steps.Plan{{}}, err: []error{disk}, asked: new(int)},
			status: schema.Failed, asked: 1, msg: "backup: write /x: no space left on device", err: syscall.ENOSPC,
		},
		"it can't look again": {
			step:   scripted{plans: []steps.Plan{changes(nothing("a")), {}}, err: []error{nil, disk}, asked: new(int)},
			status: schema.Failed, changed: true, asked: 2, made: "do a", msg: "no space left", err: syscall.ENOSPC, partial: true,
		},
		"a change fails": {
			step: script(changes(nothing("a"), fails("b", disk), fails("never", fs.ErrInvalid))), status: schema.Failed, changed: true, asked: 1,
			msg: "backup: do b: write /x: no space left on device", err: syscall.ENOSPC, partial: true,
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			res, err := converge(t, c.step, c.run)
			if res.Status != c.status || res.Changed != c.changed || res.Failed != (c.status != schema.Converged) {
				t.Errorf("status %s, changed %v, failed %v; want %s, %v", res.Status, res.Changed, res.Failed, c.status, c.changed)
			}
			if *c.step.asked != c.asked {
				t.Errorf("planned %d times, want %d", *c.step.asked, c.asked)
			}
			if !strings.Contains(res.Msg, c.msg) {
				t.Errorf("message %q, want %q in it", res.Msg, c.msg)
			}
			if !errors.Is(err, c.err) || errors.Is(err, steps.ErrPartial) != c.partial || (res.Error == nil) != (c.err == nil) {
				t.Errorf("error %v (in the result: %v), want %v, part way %v", err, res.Error, c.err, c.partial)
			}
			if c.made != "" && made(res) != c.made {
				t.Errorf("changes %q, want %q", made(res), c.made)
			}
			if res.Status == schema.BlockedBy && len(res.Changes) > 0 {
				t.Errorf("blocked, but the result speaks of changes: %v", res.Changes)
			}
		})
	}
}

func made(res *schema.Result) string {
	var out []string
	for _, c := range res.Changes {
		out = append(out, c.Action+" "+c.Target)
	}
	return strings.Join(out, ", ")
}

// The answer of a run is what it found in the end: the facts of the second plan and its warnings.
func TestTheSecondPlanIsTheAnswer(t *testing.T) {
	first := changes(nothing("a"))
	first.Warnings, first.Facts = []string{"before"}, schema.Facts{}
	res, err := converge(t, script(first, steps.Plan{Facts: found, Warnings: []string{"after"}}), nil)
	if err != nil || res.Facts.Backup != found.Backup || !slices.Equal(res.Warnings, []string{"after"}) {
		t.Errorf("%v: facts %+v, warnings %v; want those of the second plan", err, res.Facts, res.Warnings)
	}
	res, err = converge(t, script(steps.Plan{Needs: []string{"precheck"}, Facts: found}), func(r *steps.Run) { r.Check = true })
	if err != nil || len(res.Warnings) != 1 || !strings.Contains(res.Warnings[0], "precheck") {
		t.Errorf("%v: warnings %v, want a word about the missing step", err, res.Warnings)
	}
}

// An interruption between two changes stops before the next one, and says that a rerun goes on.
func TestInterruptedBetweenChanges(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s := script(changes(act{"a", func() error { cancel(); return nil }}, fails("never", fs.ErrInvalid)))
	var log []string
	run := steptest.RunOn(hosttest.New(t, nil))
	run.Log = func(what string, n schema.ChangeNote, took time.Duration) {
		log = append(log, fmt.Sprintf("%s %s %v", what, n.Target, took >= 0))
	}
	res, err := run.Converge(ctx, s, schema.NewMigration())
	if !errors.Is(err, context.Canceled) || !errors.Is(err, steps.ErrPartial) || !res.Changed || res.Status != schema.Failed {
		t.Errorf("%v, changed %v, status %s; want an interruption part way", err, res.Changed, res.Status)
	}
	if res.Error == nil || !strings.Contains(res.Error.Hint, "goes on where it stopped") || strings.Contains(res.Error.Message, "\n") {
		t.Errorf("error %+v, want one line and the hint that a rerun goes on", res.Error)
	}
	if want := []string{"start a true", "done a true", "start never true"}; !slices.Equal(log, want) {
		t.Errorf("log %v, want %v", log, want)
	}
}

// An interruption before the first change has changed nothing, and says so.
func TestInterruptedBeforeTheFirstChange(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	res, err := steptest.RunOn(hosttest.New(t, nil)).Converge(ctx, script(changes(fails("never", fs.ErrInvalid))), schema.NewMigration())
	if !errors.Is(err, context.Canceled) || errors.Is(err, steps.ErrPartial) || res.Changed || res.Status != schema.Failed {
		t.Errorf("%v, changed %v, status %s; want an interruption that changed nothing", err, res.Changed, res.Status)
	}
}

// What helps is said for every failure that has a remedy.
func TestHints(t *testing.T) {
	cases := []struct {
		err  error
		hint string
	}{
		{steps.WithHint(fs.ErrPermission, "the step knows better"), "the step knows better"},
		{fmt.Errorf("wrapped: %w", steps.WithHint(fs.ErrExist, "still found")), "still found"},
		{context.DeadlineExceeded, "interrupted"},
		{&fs.PathError{Op: "write", Path: "/x", Err: syscall.ENOSPC}, "--work-dir"},
		{&fs.PathError{Op: "write", Path: "/x", Err: syscall.EROFS}, "dmesg"},
		{&fs.PathError{Op: "open", Path: "/x", Err: syscall.EACCES}, "root"},
		{errors.Join(steps.ErrPartial, fs.ErrExist), "run it again"},
		{fs.ErrExist, ""},
	}
	for _, c := range cases {
		got := steps.Explain(c.err)
		if (c.hint == "") != (got.Hint == "") || !strings.Contains(got.Hint, c.hint) {
			t.Errorf("%v: hint %q, want %q in it", c.err, got.Hint, c.hint)
		}
		if strings.Contains(got.Message, "\n") || strings.Contains(got.Message, steps.ErrPartial.Error()) {
			t.Errorf("%v: message %q, want one line about the cause", c.err, got.Message)
		}
	}
	if steps.WithHint(nil, "hint") != nil {
		t.Error("a hint made an error of none")
	}
}
