package main

import (
	"context"
	"time"

	"github.com/balena-community/balena-migrate/steps/host"
)

// laterCmd is the process that step reboot leaves behind.
type laterCmd struct {
	Delay    time.Duration `required:""`
	Argument string        `help:"Of the kernel's restart."`
	Kexec    bool          `help:"Go into the kernel that is loaded."`
	Watchdog string        `help:"Arm this watchdog first."`
	Timeout  time.Duration `help:"The watchdog's."`
}

// Run implements the command. It waits until its parent has ended, so that the result is out, and then for the delay.
func (c laterCmd) Run(ctx context.Context) error {
	how := host.Restart{Argument: c.Argument, Kexec: c.Kexec, Guard: host.Guard{Watchdog: c.Watchdog, Timeout: c.Timeout}}
	return host.At("/").RebootAfterParent(ctx, c.Delay, how)
}
