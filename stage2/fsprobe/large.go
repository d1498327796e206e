package fsprobe

// probeXFS reads the primary superblock at the very beginning (xfs_db(8), "sb"; fs/xfs/libxfs/xfs_format.h, struct
// xfs_dsb): the UUID that the user sees is sb_uuid, the label sb_fname.
func probeXFS(d disk) (Info, error) {
	const at, label = 32, 108
	b, err := d.at(0, label+12)
	if err != nil || b == nil || string(b[:4]) != "XFSB" {
		return Info{}, err
	}
	return Info{Type: XFS, UUID: uuid(b[at:][:16]), Label: text(b[label:][:12])}, nil
}

// probeBtrfs reads the superblock at 64 KiB (btrfs-dev-docs, "Superblock": struct btrfs_super_block). Its UUID is the file
// system's; each device of several has one of its own besides.
func probeBtrfs(d disk) (Info, error) {
	const super, fsid, magic, label = 0x10000, 0x20, 0x40, 0x12b
	b, err := d.at(super, label+0x100)
	if err != nil || b == nil || string(b[magic:][:8]) != "_BHRfS_M" {
		return Info{}, err
	}
	return Info{Type: Btrfs, UUID: uuid(b[fsid:][:16]), Label: text(b[label:][:0x100])}, nil
}
