package precheck

import (
	"fmt"
	"path"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/flashplan"
	"github.com/balena-community/balena-migrate/stage2/inplace"
	"github.com/balena-community/balena-migrate/steps/device/capacity"
	"github.com/balena-community/balena-migrate/steps/device/place"
)

// archiveSize is our own part of the initramfs before there is one, unpacked, in bytes: the executable has about 15 MB,
// the modules 5 MB.
const archiveSize = 20 << 20

// memory is in bytes; need is 0 where the image is not known, and without says that it leaves the backup out.
type memory struct {
	total, need int64
	// held is what of image and backup is taken into memory, inPlace what is read where it lies on the disk.
	held, inPlace int64
	// carried is what of them travels in the initramfs, and available what can be had now, for loading it.
	carried, available int64
	// alone leaves the host's own initramfs out.
	alone bool
	// hope says that the need depends on where the file system has its room, which only prepare-image finds out.
	hope    bool
	err     error
	without bool
}

// readMemory is F7, and what stage 2 really needs besides.
func (l *look) readMemory() memory {
	var m memory
	m.total, m.err = capacity.Memory(l.Device)
	m.available, _ = capacity.Available(l.Device) // where a kernel does not tell, the load will
	if !l.image.known(l.Facts.Image) {
		return m
	}
	if f := l.Facts.Initramfs; f != nil { // exact, to the byte
		m.held, m.inPlace, m.carried = f.Held, f.InPlace, f.Carried
		m.judge(l, f.MemoryNeed)
		return m
	}
	payload, sure, best := l.payload(&m)
	ours := archiveSize + flashplan.Need(&schema.FlashPlan{}, capacity.Processors(l.Device))
	if l.carries() {
		m.carried = payload
		m.judge(l, ours+payload)
		return m
	}
	for _, in := range []int64{sure, best} {
		m.inPlace, m.held = in, payload-in
		if m.judge(l, ours+m.held); m.total >= m.need {
			break
		}
	}
	m.hope = m.inPlace > sure
	return m
}

// judge decides whether the host's own initramfs comes along, as build-initramfs will. By kexec it never does.
func (m *memory) judge(l *look, ours int64) {
	if l.loads() {
		m.alone, m.need = true, flashplan.Kexec(ours, l.Config.Stage2.MinFreeMB<<20, archiveSize+m.carried)
		return
	}
	keep, initrd := l.Config.Stage2.MinFreeMB<<20, l.kernel.initrd
	if m.alone = flashplan.Alone(m.total, ours, keep, initrd); m.alone {
		initrd = 0
	}
	m.need = flashplan.Machine(ours, keep, initrd)
}

// payload is the size of image and backup, and how much of it is read in place: surely, and at best.
func (l *look) payload(m *memory) (size, sure, best int64) {
	loose := l.image.packed // what has no place yet
	if f := l.Facts.Image; f != nil && f.Placement != nil {
		loose, size, sure = 0, f.GzipSize, f.Placement.InPlace
	}
	switch b := l.Facts.Backup; {
	case b != nil && b.Placement != nil:
		size, sure = size+b.Size, sure+b.Placement.InPlace
	case b != nil:
		loose += b.Size
	case l.wantsBackup():
		m.without = true
	}
	least, most := l.room()
	best = sure + min(loose, most)
	if least >= 2*loose { // for the time of a move there are two of each
		sure += loose
	}
	return size + loose, sure, max(sure, best)
}

// room bounds the free space of the work dir's file system beyond what the flash will write.
func (l *look) room() (least, most int64) {
	if l.disks.target == nil || l.siteErr != nil || l.image.raw <= 0 {
		return 0, 0
	}
	free, err := freeAt(l.Files, l.WorkDir)
	if err != nil {
		return 0, 0
	}
	f := place.File{
		Site: l.site, Files: l.Files, Disk: *l.disks.target, Name: path.Join(l.WorkDir, "image.gz"), Written: inplace.Written(l.image.raw),
	}
	return f.Room(free - l.Config.Disk.MinFreeMB<<20)
}

func (l *look) wantsBackup() bool {
	return l.Config.Backup.Script != "" || l.Config.Backup.Definition != ""
}

// way says how stage 2 gets at the image and the backup.
func (m memory) way() string {
	text := fmt.Sprintf("image and backup are held in memory (%s)", size(m.held))
	switch {
	case m.carried > 0:
		text = fmt.Sprintf("image and backup travel in the initramfs (%s)", size(m.carried))
	case m.inPlace > 0 && m.held == 0:
		text = fmt.Sprintf("image and backup are read in place (%s)", size(m.inPlace))
	case m.inPlace > 0:
		text = fmt.Sprintf("%s of image and backup are held in memory, %s read in place", size(m.held), size(m.inPlace))
	}
	if m.alone {
		text += ", without the old system's initramfs"
	}
	return text
}

// askMemory compares the need with all that the machine has: stage 2 runs alone.
func (l *look) askMemory() answer {
	m := l.memory
	if m.err != nil {
		return block(m.err.Error(), "the memory's size", "mount -t proc proc /proc")
	}
	if m.need == 0 {
		return unknown("how much is needed depends on the image; the machine has " + size(m.total))
	}
	if m.total < m.need {
		return block(size(m.total)+" of memory", fmt.Sprintf("at least %s: %s, then the kernel, stage 2 itself, and %d MiB to stay free (stage2.min_free_mb)",
			size(m.need), m.way(), l.Config.Stage2.MinFreeMB),
			"free disk space behind the first "+size(inplace.Written(l.image.raw))+" of the disk, use a smaller image or backup, lower stage2.min_free_mb, or add memory")
	}
	if loading := flashplan.Loading(archiveSize + m.carried); l.loads() && m.available > 0 && m.available < loading {
		return block(size(m.available)+" of memory available now", size(loading)+" to load the initramfs for kexec, in which "+m.way(),
			"stop what takes memory, use a smaller image or backup, or add memory")
	}
	got := fmt.Sprintf("%s of memory, %s needed: %s", size(m.total), size(m.need), m.way())
	if m.without {
		got += "; without the backup, whose size is not known yet"
	}
	if m.hope {
		return unknown(got + ", if the file system has room beyond what the flash writes: prepare-image tells")
	}
	return pass("%s", got)
}
