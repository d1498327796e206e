package lab

import (
	"context"
	"io"
)

// BookwormI386 is Debian 12 of 32 bits on a processor of 64, with GRUB for BIOS.
const BookwormI386 Suite = "bookworm-i386"

// BuildI386 is Build for BookwormI386, whose tree has a script of its own.
func BuildI386(ctx context.Context, log io.Writer) (Artifacts, error) {
	art, err := Build(ctx, log)
	if err != nil {
		return art, err
	}
	b := builder{dir: art.Dir, log: log}
	tree := b.make(ctx, "guest-tree-i386.sh", "tree-"+string(BookwormI386), string(Bookworm))
	art.Disks[BookwormI386] = b.make(ctx, "guest-disk.sh", "disk-"+string(BookwormI386)+".img", tree, "bios")
	return art, b.err
}
