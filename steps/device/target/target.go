// Package target says which disk will be flashed, and finds files of the running system again from an initramfs.
package target

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/blockdev"
	"github.com/balena-community/balena-migrate/steps/device/boot"
	"github.com/balena-community/balena-migrate/steps/host"
)

// Disk identifies the disk to be flashed: the one below "/". wanted, when not empty, must be it; of several disks below the
// root, such as those of a RAID, it must name one. The root's device and UUID are empty where the kernel tells none (zfs).
func Disk(s boot.Site, wanted string) (schema.Disk, schema.FileSystem, error) {
	m, _, err := s.Locate("/")
	if err != nil {
		return schema.Disk{}, schema.FileSystem{}, err
	}
	root, _, err := s.FileSystem("/")
	if err != nil {
		root = schema.FileSystem{Type: m.Type, Mount: m.Point}
	}
	if !errors.Is(err, blockdev.ErrLayered) && err != nil {
		return schema.Disk{}, root, err
	}
	name, err := choose(s, m, wanted)
	if err != nil {
		return schema.Disk{}, root, err
	}
	disk, err := blockdev.Identify(s, name)
	return disk, root, err
}

// choose picks the disk below a mount.
func choose(s boot.Site, m blockdev.Mount, wanted string) (string, error) {
	real := ""
	if wanted != "" {
		var err error
		if real, err = s.RealPath(wanted); err != nil {
			return "", err
		}
		real = path.Base(real)
	}
	below, err := blockdev.DisksOf(s, m)
	if errors.Is(err, blockdev.ErrLayered) && wanted != "" { // nobody can tell but the operator
		if below, err = blockdev.Names(s); err == nil && !slices.Contains(below, real) {
			err = fmt.Errorf("disk.target is %s, expected one of /dev/%s", wanted, strings.Join(below, ", /dev/"))
		}
	}
	switch {
	case err != nil:
		return "", err
	case wanted == "" && len(below) == 1:
		return below[0], nil
	case wanted == "":
		return "", fmt.Errorf("the system lies on /dev/%s: expected one disk, or one of them named in disk.target", strings.Join(below, " and /dev/"))
	case !slices.Contains(below, real) && len(below) == 1:
		return "", fmt.Errorf("disk.target is %s, but the system runs from /dev/%s: expected the same disk", wanted, below[0])
	case !slices.Contains(below, real):
		return "", fmt.Errorf("disk.target is %s, but the system runs from /dev/%s: expected one of them", wanted, strings.Join(below, " and /dev/"))
	}
	return real, nil
}

// Left lists the disks below the root that are not the one to be flashed, and so keep what they hold.
func Left(s boot.Site, disk string) []string {
	m, _, err := s.Locate("/")
	if err != nil {
		return nil
	}
	all, err := blockdev.DisksOf(s, m)
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(all, func(name string) bool { return name == disk })
}

// Mountable says whether stage 2 can mount a file system: nil when it lies on a partition of a plain disk, is of a type that
// it brings the modules for, and can be found again.
func Mountable(r host.Reader, fsys schema.FileSystem) error {
	if _, err := blockdev.DiskOf(r, fsys.Device); err != nil {
		return err
	}
	switch fsys.Type {
	case "ext4", "xfs", "btrfs":
	default:
		return fmt.Errorf("%s: expected ext4, xfs or btrfs", fsys.Type)
	}
	if fsys.UUID == "" {
		return fmt.Errorf("%s on %s without a UUID: expected one by which it is found again", fsys.Type, fsys.Device)
	}
	return nil
}

// Ref finds a file of the caller's from an initramfs. The files of a run on another root (--root) are looked for as if
// that root were mounted at "/".
func Ref(s boot.Site, files host.Reader, name string, size int64, sha256 string) (schema.FileRef, error) {
	inRoot, err := underRoot(s, files, name)
	if err != nil {
		return schema.FileRef{}, err
	}
	fsys, inside, err := s.FileSystem(inRoot)
	if err != nil {
		return schema.FileRef{}, fmt.Errorf("file system of %s: %w", name, err)
	}
	return schema.FileRef{FSUUID: fsys.UUID, FSType: fsys.Type, Path: inside, Size: size, SHA256: sha256}, nil
}

// Place returns the file system of a directory of the caller's, and the directory's path in it.
func Place(s boot.Site, files host.Reader, dir string) (schema.FileSystem, string, error) {
	inRoot, err := underRoot(s, files, dir)
	if err != nil {
		return schema.FileSystem{}, "", err
	}
	return s.FileSystem(inRoot)
}

// underRoot turns a path of the caller's into one of the device's.
func underRoot(s boot.Site, files host.Reader, name string) (string, error) {
	if s.Root() == files.Root() {
		return name, nil
	}
	real, err := files.RealPath(name)
	if err != nil {
		return "", err
	}
	root := strings.TrimSuffix(s.Root(), "/")
	inside, ok := strings.CutPrefix(path.Join(files.Root(), real), root)
	if !ok || inside != "" && inside[0] != '/' { // /mnt/device2 is not below /mnt/device
		return "", fmt.Errorf("%s is not below %s: expected the work dir on the device itself, where stage 2 finds it", name, s.Root())
	}
	return path.Join("/", inside), nil
}
