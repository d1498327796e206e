package precheck

import (
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps/device/boot"
	"github.com/balena-community/balena-migrate/steps/host"
)

// space is what is free and what the steps will write, in bytes.
type space struct {
	workFree, workNeed int64
	bootFree, bootNeed int64
	err                error
}

// readSpace looks at the work dir's file system and at the one of /boot, where arm-boot puts our archive.
func (l *look) readSpace() space {
	work, err := freeAt(l.Files, l.WorkDir)
	if err != nil {
		return space{err: err}
	}
	archiveAt := boot.Assumed(l.backend).Archive(l.site)
	if archiveAt == "" {
		return l.spaceForLoading(work)
	}
	bootFree, err := freeAt(l.Device, path.Dir(archiveAt))
	if err != nil {
		return space{workFree: work, err: err}
	}
	s := space{workFree: work, bootFree: bootFree, workNeed: l.Config.Disk.MinFreeMB << 20}
	s.workNeed += l.imageNeed()
	archive := int64(archiveSize)
	if f := l.Facts.Initramfs; f != nil {
		archive = f.Size
	} else {
		s.workNeed += archive
	}
	if exists(l.Device, archiveAt) {
		return s
	}
	if l.kernel.entry.Joined {
		archive += l.kernel.initrd
	}
	if l.oneFileSystem() {
		s.workNeed += archive
		return s
	}
	s.bootNeed = archive
	return s
}

// imageNeed is what prepare-image writes beside what is there; a prepared image may lie where it would put it.
func (l *look) imageNeed() int64 {
	if l.Facts.Image != nil || l.Config.Image.Path == path.Join(l.WorkDir, "image.gz") {
		return 0
	}
	return l.image.packed + l.image.packed/10
}

// spaceForLoading is about kexec: all stays in the work dir, the image twice where it travels in the initramfs.
func (l *look) spaceForLoading(free int64) space {
	s := space{workFree: free, workNeed: l.Config.Disk.MinFreeMB << 20}
	s.workNeed += l.imageNeed()
	if l.Facts.Initramfs == nil {
		s.workNeed += archiveSize + l.memory.carried
	}
	return s
}

// oneFileSystem says whether the work dir shares its space with /boot. What is not known is not counted twice.
func (l *look) oneFileSystem() bool {
	return l.disks.work != nil && l.disks.boot != nil && l.disks.work.Device == l.disks.boot.Device
}

// freeAt is the free space where a directory is, or will be.
func freeAt(r host.Reader, dir string) (int64, error) {
	for {
		s, err := r.Space(dir)
		if err == nil {
			return s.Free, nil
		}
		if !errors.Is(err, fs.ErrNotExist) || dir == "/" || dir == "." {
			return 0, err
		}
		dir = path.Dir(dir)
	}
}

// askSpace is S39, for what is really going to be written.
func (l *look) askSpace() answer {
	s := l.space
	if s.err != nil {
		return block(s.err.Error(), "the free space of the work dir and /boot", "choose another directory with --work-dir")
	}
	var all []schema.Blocked
	if s.workFree < s.workNeed {
		all = append(all, schema.Blocked{
			Got:    fmt.Sprintf("%s free at %s", size(s.workFree), l.WorkDir),
			Want:   fmt.Sprintf("%s for the prepared image and the initramfs, with %d MiB to stay free (disk.min_free_mb)", size(s.workNeed), l.Config.Disk.MinFreeMB),
			Remedy: "make room in this file system, or choose another with --work-dir",
		})
	}
	if s.bootFree < s.bootNeed {
		all = append(all, schema.Blocked{
			Got: size(s.bootFree) + " free in /boot", Want: size(s.bootNeed) + " for the initramfs of stage 2", Remedy: "remove old kernels, e.g. apt autoremove",
		})
	}
	if len(all) > 0 {
		return blockAll(all)
	}
	got := fmt.Sprintf("%s free at %s, %s needed", size(s.workFree), l.WorkDir, size(s.workNeed))
	switch {
	case !l.image.known(l.Facts.Image):
		return unknown("how much is needed depends on the image; " + size(s.workFree) + " free at " + l.WorkDir)
	case l.Facts.Backup == nil && l.wantsBackup():
		got += " without the backup, whose size is not known yet"
	}
	return pass("%s", got)
}
