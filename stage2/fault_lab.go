//go:build faults

package stage2

import (
	"os"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"
)

// fault fails in the phase that the kernel argument balena.fault names, for the lab only: "panic@verify" panics,
// "exit@verify" ends PID 1, on which the kernel panics, "hang@verify" makes it stand still as a whole.
func fault(phase string) {
	cmdline, _ := os.ReadFile("/proc/cmdline")
	for _, arg := range strings.Fields(string(cmdline)) {
		switch arg {
		case "balena.fault=panic@" + phase:
			panic("fault asked for in " + phase)
		case "balena.fault=exit@" + phase:
			os.Exit(1)
		case "balena.fault=hang@" + phase:
			standStill()
		}
	}
}

// standStill stops every goroutine for ever: the runtime keeps them from running while it dumps the heap, and a pipe that
// nobody reads takes 64 KiB of it (pipe(7)).
func standStill() {
	var p [2]int
	if err := unix.Pipe(p[:]); err != nil {
		panic(err)
	}
	debug.WriteHeapDump(uintptr(p[1]))
}
