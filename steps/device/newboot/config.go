package newboot

import (
	"fmt"
	"strings"

	"github.com/balena-community/balena-migrate/schema"
)

// config is the grub.cfg that is made where there is none (S58, F14): one entry, at once, the console on the first serial
// line too. The kernel lies on the boot partition of such images, the root file system is found by its label.
func config(device string, f *schema.ImageFacts) string {
	boot, root := 1, "resin-rootA"
	for _, p := range f.Partitions {
		switch {
		case strings.HasSuffix(p.Label, "-boot"):
			boot = p.Number
		case strings.HasSuffix(p.Label, "-rootA"):
			root = p.Label
		}
	}
	return fmt.Sprintf(`serial --unit=0 --speed=115200 --word=8 --parity=no --stop=1
terminal_input --append serial
terminal_output --append serial
set default=boot
set timeout=0
menuentry 'boot' --id boot {
	set root='%s,msdos%d'
	linux /vmlinuz root=LABEL=%s rootwait quiet splash
}
`, device, boot, root)
}
