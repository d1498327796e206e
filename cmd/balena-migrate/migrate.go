package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/alecthomas/kong"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps"
)

type migrateCmd struct {
	common
	converging
	Yes    bool  `help:"Arm the boot loader: the next boot is the migration."`
	Reboot delay `placeholder:"SECONDS" help:"With --yes: reboot at the end, after so many seconds."`
}

// delay is an option with an optional value: --reboot or --reboot=SECONDS.
type delay struct {
	set     bool
	seconds int
}

// IsBool lets the option stand alone.
func (delay) IsBool() bool { return true }

// Decode implements kong.MapperValue.
func (d *delay) Decode(ctx *kong.DecodeContext) error {
	d.set = true
	if ctx.Scan.Peek().Type != kong.FlagValueToken {
		return nil
	}
	text := fmt.Sprint(ctx.Scan.Pop().Value)
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return fmt.Errorf("found %q, expected a number of seconds", text)
	}
	d.seconds = n
	return nil
}

// Run implements the command: the steps in order, each given the facts of those before it.
func (c migrateCmd) Run(ctx context.Context, t terminal) error {
	s, err := c.open(t, c.converging)
	if err != nil {
		return err
	}
	if c.Reboot.seconds > 0 {
		s.in.Config.Reboot.DelayS = c.Reboot.seconds
	}
	all := schema.NewResult("migrate")
	all.Check, all.Config, all.Status = c.Check, s.in.Config, schema.Converged
	for _, step := range c.wanted() {
		res, err := s.converge(ctx, step)
		if res == nil {
			return err
		}
		merge(all, res)
		if err != nil || res.Status != schema.Converged {
			return s.finish(all, err)
		}
		s.in.Facts = res.Facts
	}
	all.Msg = c.summary(all)
	return s.finish(all, nil)
}

// wanted is how far the migration goes.
func (c migrateCmd) wanted() []steps.Step {
	var out []steps.Step
	for _, step := range sequence() {
		switch step.Name() {
		case "arm-boot":
			if !c.Yes {
				return out
			}
		case "reboot":
			if !c.Reboot.set {
				return out
			}
		}
		out = append(out, step)
	}
	return out
}

func (c migrateCmd) summary(all *schema.Result) string {
	switch {
	case c.Check:
		return fmt.Sprintf("migrate: %d changes would be made", len(all.Changes))
	case !c.Yes:
		return "migrate: ready; nothing is armed yet. Run it again with --yes to make the next boot the migration"
	case !c.Reboot.set:
		return "migrate: armed; the next boot is the migration. Reboot, or balena-migrate disarm"
	}
	return "migrate: armed; the machine reboots into the migration"
}

// merge adds a step's result to the whole.
func merge(all, res *schema.Result) {
	all.Steps = append(all.Steps, schema.StepNote{Step: res.Step, Status: res.Status, Changed: res.Changed})
	all.Changes = append(all.Changes, res.Changes...)
	all.Blocked = append(all.Blocked, res.Blocked...)
	all.Warnings = append(all.Warnings, res.Warnings...)
	all.Diff = append(all.Diff, res.Diff...)
	all.Changed = all.Changed || res.Changed
	all.Failed, all.Status, all.Error, all.Msg, all.Facts = res.Failed, res.Status, res.Error, res.Msg, res.Facts
}
