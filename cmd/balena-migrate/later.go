package main

import (
	"context"
	"time"

	"github.com/balena-community/balena-migrate/steps/host"
)

// laterCmd is the process that step reboot leaves behind.
type laterCmd struct {
	Delay time.Duration `required:""`
	Kexec bool
}

// Run implements the command. It waits until its parent has ended, so that the result is out, and then for the delay.
func (c laterCmd) Run(ctx context.Context) error {
	return host.At("/").RebootAfterParent(ctx, c.Delay, c.Kexec)
}
