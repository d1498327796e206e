// Command balena-migrate turns a running Linux device into a balenaOS device.
//
// Started by the kernel out of our initramfs it is stage 2; started by anybody else it is the command line. Only this
// file ends the process.
package main

import (
	"os"
	"runtime"
	"runtime/debug"

	"github.com/balena-community/balena-migrate/stage2"
	"github.com/balena-community/balena-migrate/steps/host"
)

// version is set by the linker (Makefile).
var version = "dev"

// ballastSize is memory that is never touched and so never resident, in bytes. It makes the collector wait until that much
// more has been allocated; with the 4 MB it starts at, half of a short run went into collecting what was still in use.
const ballastSize = 16 << 20

// memoryLimit makes the collector work harder before the program takes more than that, in bytes and beside the ballast:
// with the executable's own pages it is what fits into the 64 MB that the README promises for images of any size.
const memoryLimit = 42 << 20

func main() {
	if stage2.IsInit(os.Getpid(), os.Args[0], host.At("/")) {
		stage2.Main(version) // never returns
	}
	debug.SetMemoryLimit(memoryLimit + ballastSize)
	ballast := make([]byte, ballastSize)
	code := run(os.Args[1:], terminal{in: os.Stdin, out: os.Stdout, err: os.Stderr})
	runtime.KeepAlive(ballast)
	os.Exit(code)
}
