//go:build faults

package host

import (
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
)

// killPoints counts the points passed; only this build has it.
var killPoints atomic.Int64

// killPoint kills the process with SIGKILL at the point whose number BALENA_KILL_AT gives, counting from 1: the
// tests for "no half-written file is ever visible" stop a step at each of its writes in turn.
func killPoint() {
	at, err := strconv.ParseInt(os.Getenv("BALENA_KILL_AT"), 10, 64)
	if err == nil && killPoints.Add(1) == at {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}
