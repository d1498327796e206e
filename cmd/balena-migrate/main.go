// Command balena-migrate turns a running Linux device into a balenaOS device.
//
// Started by the kernel out of our initramfs it is stage 2; started by anybody else it is the command line. Only this
// file ends the process.
package main

import (
	"os"

	"github.com/balena-community/balena-migrate/stage2"
	"github.com/balena-community/balena-migrate/steps/host"
)

// version is set by the linker (Makefile).
var version = "dev"

func main() {
	if stage2.IsInit(os.Getpid(), os.Args[0], host.At("/")) {
		stage2.Main(version) // never returns
	}
	os.Exit(run(os.Args[1:], terminal{in: os.Stdin, out: os.Stdout, err: os.Stderr}))
}
