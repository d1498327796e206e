package target

import (
	"path"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/blockdev"
	"github.com/balena-community/balena-migrate/steps/device/boot"
	"github.com/balena-community/balena-migrate/steps/host"
)

// Word is where stage 2 leaves its log and its outcome for the old system.
type Word struct {
	// Dir is the directory on the running system; OnDevice says that it is a path of the device's, else of the caller's.
	Dir      string
	OnDevice bool
	// FS holds it, as stage 2 is to mount it, and Inside is the directory's path there.
	FS     schema.FileSystem
	Inside string
}

// wordDir is the name of the directory where the work dir is out of stage 2's reach.
const wordDir = "balena-migrate"

// FindWord returns the work dir where stage 2 can mount it. Where it can't, as on LVM, that is a directory in the first file
// system that it can: /boot, or the one of the firmware. found is false where there is none.
func FindWord(s boot.Site, files host.Reader, workDir string) (w Word, found bool) {
	fsys, inside, err := Place(s, files, workDir)
	if err == nil && Mountable(s, fsys) == nil {
		return Word{Dir: workDir, FS: fsys, Inside: inside}, true
	}
	for _, dir := range []string{"/boot", "/boot/efi", "/boot/firmware", "/efi"} {
		fsys, inside, err := s.FileSystem(dir)
		if err == nil && holdsWord(s, dir, &fsys) {
			return Word{Dir: path.Join(dir, wordDir), OnDevice: true, FS: fsys, Inside: path.Join(inside, wordDir)}, true
		}
	}
	return Word{}, false
}

// holdsWord says whether stage 2 can write there, and as what it mounts it: the driver of ext4, which it brings anyway, is
// that of ext2 and ext3 too. FAT is the firmware's own partition or nothing.
func holdsWord(s boot.Site, dir string, fsys *schema.FileSystem) bool {
	switch fsys.Type {
	case "ext2", "ext3":
		fsys.Type = "ext4"
	case "vfat":
		_, err := blockdev.DiskOf(s, fsys.Device)
		return err == nil && fsys.UUID != "" && fsys.Mount == dir
	}
	return Mountable(s, *fsys) == nil
}

// Reader is the host that Dir is a path of.
func (w Word) Reader(device, files host.Reader) host.Reader {
	if w.OnDevice {
		return device
	}
	return files
}
