//go:build faults

package stage2

import (
	"os"
	"strings"
)

// fault fails in the phase that the kernel argument balena.fault names, for the lab only: "panic@verify" panics,
// "exit@verify" ends PID 1, on which the kernel panics.
func fault(phase string) {
	cmdline, _ := os.ReadFile("/proc/cmdline")
	for _, arg := range strings.Fields(string(cmdline)) {
		switch arg {
		case "balena.fault=panic@" + phase:
			panic("fault asked for in " + phase)
		case "balena.fault=exit@" + phase:
			os.Exit(1)
		}
	}
}
