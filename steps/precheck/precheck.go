// Package precheck looks at a device before anything is done to it: can it be migrated, and if not, what helps?
//
// Everything that the later steps and stage 2 rely on is looked at here, while the old system still runs, and all that
// stands against it is said at once. The step only looks; there is nothing to undo. A check that a person knows better
// about is left out by its name in checks.skip, and the result says so.
//
// A check whose ground is missing, such as the size of the image where no disk was found, warns that it could not look:
// it never passes.
package precheck

import (
	"context"
	"slices"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps"
)

// Step is precheck.
type Step struct{}

// Name implements steps.Step.
func (Step) Name() string { return "precheck" }

// The outcomes of a check in documents.
const (
	passed  = "pass"
	warned  = "warn"
	blocked = "block"
	skipped = "skip"
)

// check is one question about the device.
type check struct {
	name string
	ask  func(*look) answer
}

// checks are all of them, in the order of the result. Their names are those of checks.skip.
func checks() []check {
	return []check{
		{"root", (*look).askRoot},
		{"options", (*look).askOptions},
		{"os", (*look).askOS},
		{"arch", (*look).askArch},
		{"kernel", (*look).askKernel},
		{"secure-boot", (*look).askSecureBoot},
		{"boot-loader", (*look).askBootLoader},
		{"grubenv", (*look).askGrubenv},
		{"disk", (*look).askDisk},
		{"image", (*look).askImage},
		{"memory", (*look).askMemory},
		{"space", (*look).askSpace},
		{"config-json", (*look).askConfigJSON},
		{"device-type", (*look).askDeviceType},
		{"api", (*look).askAPI},
		{"vpn", (*look).askVPN},
		{"write-speed", (*look).askWriteSpeed},
		{"disk-health", (*look).askHealth},
	}
}

// ForAnyUser implements steps.ForAnyUser: missing rights are one of the blockers that are listed.
func (Step) ForAnyUser() {}

// Plan implements steps.Step: look at everything and ask every question. The only change there can be is a measurement.
func (Step) Plan(ctx context.Context, v steps.View) (steps.Plan, error) {
	plan := steps.Plan{Facts: v.Facts}
	l := newLook(ctx, v)
	facts := l.facts()
	for _, c := range checks() {
		a := l.answer(c)
		facts.Checks = append(facts.Checks, schema.Check{Name: c.name, Status: a.status, Got: a.got})
		if a.warning != "" {
			plan.Warn(c.name + ": " + a.warning)
		}
		for _, b := range a.blocked {
			plan.Block(c.name, b.Got, b.Want, b.Remedy)
		}
	}
	plan.Facts.Host = facts
	l.planMeasurement(&plan)
	return plan, ctx.Err()
}

// answer asks a question unless it is to be skipped.
func (l *look) answer(c check) answer {
	if l.skips(c.name) {
		return answer{status: skipped, got: "not checked", warning: "not checked, as checks.skip says"}
	}
	return c.ask(l)
}

func (l *look) skips(name string) bool { return slices.Contains(l.Config.Checks.Skip, name) }
