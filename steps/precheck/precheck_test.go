package precheck

import (
	"context"
	"flag"
	"fmt"
	"io/fs"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-json"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/host/hosttest"
	"github.com/balena-community/balena-migrate/steps/steptest"
)

var update = flag.Bool("update", false, "write the golden files anew")

func converge(t *testing.T, h *hosttest.Host, in *schema.Migration) *schema.Result {
	t.Helper()
	res, err := steptest.RunOn(h).Converge(context.Background(), Step{}, in)
	if err != nil {
		t.Fatal(err)
	}
	steptest.Valid(t, res, canary)
	return res
}

// names lists the checks that block, each once.
func names(all []schema.Blocked) []string {
	var out []string
	for _, b := range all {
		if !slices.Contains(out, b.Check) {
			out = append(out, b.Check)
		}
	}
	return out
}

func status(t *testing.T, res *schema.Result, name string) schema.Check {
	t.Helper()
	for _, c := range res.Facts.Host.Checks {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("no check %s in the facts", name)
	return schema.Check{}
}

func TestFactsOfTheFakeHosts(t *testing.T) {
	for _, m := range machines() {
		t.Run(m.root, func(t *testing.T) {
			h, in := m.start(t)
			res := converge(t, h, in)
			if res.Status != schema.Converged || len(res.Warnings) > 0 {
				t.Errorf("status %s, blocked %v, warnings %v", res.Status, res.Blocked, res.Warnings)
			}
			wantGolden(t, "precheck-"+m.root+".json", res)
		})
	}
}

// TestOnlyLooks is the law of a step that has nothing to do: no run writes, and the next one says the same.
func TestOnlyLooks(t *testing.T) {
	for _, m := range machines() {
		h, in := m.start(t)
		before := snapshot(t, h.Root())
		first := converge(t, h, in)
		second := converge(t, h, in)
		check := steptest.RunOn(h)
		check.Check = true
		third, err := check.Converge(context.Background(), Step{}, in)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(first.Facts, second.Facts) || !reflect.DeepEqual(first.Facts, third.Facts) {
			t.Errorf("%s: facts differ:\n%+v\n%+v\n%+v", m.root, first.Facts.Host, second.Facts.Host, third.Facts.Host)
		}
		if first.Changed || len(first.Changes) > 0 {
			t.Errorf("%s: changed %v", m.root, first.Changes)
		}
		if after := snapshot(t, h.Root()); after != before {
			t.Errorf("%s: something was written", m.root)
		}
		if in.Facts.Host != nil {
			t.Errorf("%s: the input was changed", m.root)
		}
	}
}

// snapshot changes with any name, mode, size or time. The disk is too large to be read for it.
func snapshot(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil {
			fmt.Fprintf(&b, "%s %s %d %d\n", name, info.Mode(), info.Size(), info.ModTime().UnixNano())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestNamesAreThoseOfTheSchema(t *testing.T) {
	text, err := schema.Text("config")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Properties struct {
			Checks struct {
				Properties struct {
					Skip struct {
						Items struct {
							Enum []string `json:"enum"`
						} `json:"items"`
					} `json:"skip"`
				} `json:"properties"`
			} `json:"checks"`
		} `json:"properties"`
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range checks() {
		got = append(got, c.name)
	}
	if want := doc.Properties.Checks.Properties.Skip.Items.Enum; !slices.Equal(got, want) {
		t.Errorf("checks are %v, the schema's enum is %v", got, want)
	}
}

// TestSkip is P13: a check that would block is left out by its name, and the result says so.
func TestSkip(t *testing.T) {
	for _, c := range checks() {
		t.Run(c.name, func(t *testing.T) {
			h, in := machines()[0].start(t)
			breakAll(t, h, in)
			in.Config.Checks.Skip = []string{c.name}
			res := converge(t, h, in)
			if slices.Contains(names(res.Blocked), c.name) {
				t.Errorf("blocked all the same: %v", res.Blocked)
			}
			if got := status(t, res, c.name); got.Status != "skip" {
				t.Errorf("check is %+v, want skip", got)
			}
			if !slices.ContainsFunc(res.Warnings, func(w string) bool { return strings.HasPrefix(w, c.name+": not checked") }) {
				t.Errorf("warnings %v, want one for %s", res.Warnings, c.name)
			}
		})
	}
}

func TestSkippedNetworkIsNotDialled(t *testing.T) {
	h, in := machines()[0].start(t)
	h.Reachable = nil
	in.Config.Checks.Skip = []string{"api", "vpn"}
	if res := converge(t, h, in); res.Status != schema.Converged {
		t.Errorf("status %s, blocked %v", res.Status, res.Blocked)
	}
}

func TestStrictTurnsWarningsIntoBlockers(t *testing.T) {
	h, in := machines()[0].start(t)
	in.Config.Balena.APIURL = ""
	run := steptest.RunOn(h)
	run.Strict = true
	res, err := run.Converge(context.Background(), Step{}, in)
	if err != nil || res.Status != schema.BlockedBy {
		t.Errorf("status %s, error %v, want blocked", res.Status, err)
	}
}

func TestInterrupted(t *testing.T) {
	h, in := machines()[0].start(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := (Step{}).Plan(ctx, steptest.RunOn(h).View(in)); err == nil {
		t.Error("an interrupted plan gave no error")
	}
}

var _ steps.Step = Step{}
