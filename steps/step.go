// Package steps is the vocabulary of stage 1.
//
// A Step has one method, Plan: from what the device is and what the document asks, it returns the facts as they are
// now and the changes still needed. Converge applies them and plans again; the second plan must be empty, and its
// facts are the answer. So a step is idempotent or it fails, --check is a run that stops after the first plan, and
// a plan can't write because it is only given readers.
package steps

import (
	"context"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps/host"
)

// Step is one phase of a migration.
type Step interface {
	// Name is what the command line calls it.
	Name() string
	// Plan compares what is with what should be. An error means that it could not look; a device that can't be
	// migrated is no error but Plan.Blocked.
	Plan(ctx context.Context, v View) (Plan, error)
}

// ForAnyUser is a step that can be run without root rights: it says itself what it lacks, or it works on files of the
// caller's own. Any other step is blocked without them, for it would take what it may not read for what is not there.
type ForAnyUser interface {
	Step
	ForAnyUser()
}

// View is all that a plan may look at.
type View struct {
	// Device is the machine to be migrated, below --root.
	Device host.Reader
	// Files are the caller's own: the work dir and what the configuration names. On a device both are the same.
	Files   host.Reader
	WorkDir string
	Version string
	Config  schema.Config
	Facts   schema.Facts
	// Self is the path of the running executable among Files.
	Self string
}

// Plan is what a step found, and what is left to be done.
type Plan struct {
	// Facts are those of the view with the step's own section replaced: nil while it has not converged.
	Facts    schema.Facts
	Changes  []Change
	Blocked  []schema.Blocked
	Warnings []string
	// Needs are earlier steps that have not converged. They block a run, but in check mode, where earlier steps
	// did nothing either, they only leave a word.
	Needs []string
}

// Add appends changes.
func (p *Plan) Add(c ...Change) { p.Changes = append(p.Changes, c...) }

// Block appends a blocker.
func (p *Plan) Block(check, got, want, remedy string) {
	p.Blocked = append(p.Blocked, schema.Blocked{Check: check, Got: got, Want: want, Remedy: remedy})
}

// Warn appends a warning.
func (p *Plan) Warn(text string) { p.Warnings = append(p.Warnings, text) }

// Need records an earlier step that has to converge first.
func (p *Plan) Need(step string) { p.Needs = append(p.Needs, step) }

// Change is something to be done: a value that says what it is and does it. Apply must leave nothing half-written
// under a final name, whenever it is stopped.
type Change interface {
	Note() schema.ChangeNote
	Apply(ctx context.Context, t Target) error
}

// Differ is a change that can show a file before and after. Secrets never appear in either.
type Differ interface {
	Diff() schema.Diff
}

// Target is what changes act on.
type Target struct {
	Device   host.Host
	Files    host.Host
	Progress Progress
}

// Progress is told how far a long change is. Total is 0 when nobody knows.
type Progress func(what string, done, total int64)

// On picks the host a place is on.
func (t Target) On(p Place) host.Host {
	if p == OnDevice {
		return t.Device
	}
	return t.Files
}

// Place says whose path a change names.
type Place int

// A change is on the device, below --root, or among the caller's own files.
const (
	OnDevice Place = iota
	InFiles
)
