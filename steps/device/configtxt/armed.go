package configtxt

import (
	"strings"

	"github.com/balena-community/balena-migrate/stage2/disarm"
)

// Silence turns every line of a file that names an initramfs into a comment, whatever filter it stands behind (S112).
// Whether a later line replaces an earlier one, or adds to it, depends on the firmware's age. disarm.Unmark undoes it.
func Silence(text string) string {
	var b strings.Builder
	for raw := range strings.Lines(text) {
		if key, _ := split(strings.TrimSpace(raw)); key == "initramfs" || key == "ramfsfile" || key == "ramfsaddr" {
			b.WriteString(disarm.Mark)
		}
		b.WriteString(raw)
	}
	return b.String()
}

// Block is what makes the firmware start our initramfs with our arguments: behind everything else, for every board. Both
// are paths on the boot partition; they must not depend on a prefix.
func Block(initramfs, cmdline string) string {
	return "[all]\nauto_initramfs=0\ninitramfs " + initramfs + " followkernel\ncmdline=" + cmdline + "\n"
}
