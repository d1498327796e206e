// Package target says which disk will be flashed, and finds files of the running system again from an initramfs.
package target

import (
	"fmt"
	"path"
	"strings"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/blockdev"
	"github.com/balena-community/balena-migrate/steps/device/boot"
	"github.com/balena-community/balena-migrate/steps/host"
)

// Disk identifies the disk to be flashed: the one that holds "/". wanted, when not empty, must be the same one.
func Disk(s boot.Site, wanted string) (schema.Disk, schema.FileSystem, error) {
	root, _, err := s.FileSystem("/")
	if err != nil {
		return schema.Disk{}, root, err
	}
	name, err := blockdev.DiskOf(s, root.Device)
	if err != nil {
		return schema.Disk{}, root, err
	}
	if wanted != "" {
		real, err := s.RealPath(wanted)
		if err != nil {
			return schema.Disk{}, root, err
		}
		if path.Base(real) != name {
			return schema.Disk{}, root, fmt.Errorf("disk.target is %s, but the system runs from /dev/%s: expected the same disk", wanted, name)
		}
	}
	disk, err := blockdev.Identify(s, name)
	return disk, root, err
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
