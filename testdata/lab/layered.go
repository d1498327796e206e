package lab

import (
	"context"
	"io"
)

// Layout is how the disk of a Debian 12 guest is divided whose root is on no plain ext4 (layered-disk.sh).
type Layout string

// The layouts.
const (
	LVM   Layout = "lvm"   // ext4 on LVM, and a separate /boot
	Btrfs Layout = "btrfs" // one btrfs, the root in a subvolume
	XFS   Layout = "xfs"   // one xfs
)

// BuildLayered makes what is missing or out of date of a guest's disk of that layout and of the new system, and returns the
// artefacts and the disk.
func BuildLayered(ctx context.Context, log io.Writer, layout Layout) (art Artifacts, disk string, err error) {
	if art, err = Build(ctx, log); err != nil {
		return art, "", err
	}
	b := builder{dir: art.Dir, log: log}
	tree := b.make(ctx, "guest-tree.sh", "tree-"+string(Bookworm), string(Bookworm))
	tree = b.make(ctx, "layered-tree.sh", "tree-"+string(Bookworm)+"-layered", tree)
	disk = b.make(ctx, "layered-disk.sh", "disk-"+string(Bookworm)+"-"+string(layout)+".img", tree, string(layout))
	return art, disk, b.err
}
