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
	if name := os.Getenv("BALENA_KILL_COUNT"); name != "" {
		count(name)
	}
	at, err := strconv.ParseInt(os.Getenv("BALENA_KILL_AT"), 10, 64)
	if err == nil && killPoints.Add(1) == at {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}

// count makes a file one byte longer, so that a test knows how many points a run has.
func count(name string) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return
	}
	_, _ = f.Write([]byte{'.'})
	_ = f.Close()
}
