package stage2

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strconv"
	"strings"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/disarm"
	"github.com/balena-community/balena-migrate/stage2/flash"
	"github.com/balena-community/balena-migrate/stage2/flashimage"
	"github.com/balena-community/balena-migrate/stage2/flashplan"
	"github.com/balena-community/balena-migrate/stage2/inplace"
)

// checkMemory compares what is free with what will be held, before anything is taken. When it is too little, the host's
// own initramfs makes way.
func (m *machine) checkMemory(context.Context) error {
	need := flashplan.Need(m.plan, runtime.NumCPU())
	keep := m.plan.Stage2.MinFreeMB << 20
	total, free, err := m.memory()
	if err == nil && free < need+keep && !m.plan.Alone {
		m.log.printf("memory: %d MiB available, %d MiB needed: removing the old system's initramfs from memory", free>>20, (need+keep)>>20)
		m.shed()
		total, free, err = m.memory()
	}
	if err != nil {
		return err
	}
	m.outcome.MemoryTotal, m.outcome.MemoryFree = total, free
	m.log.printf("memory: %d MiB available of %d, %d MiB needed, %d MiB to stay free", free>>20, total>>20, need>>20, keep>>20)
	if free < need+keep {
		return fmt.Errorf("memory: %d MiB are available, %d MiB are needed: %d MiB to hold the image and to work, %d MiB to stay free (stage2.min_free_mb)",
			free>>20, (need+keep)>>20, need>>20, keep>>20)
	}
	return nil
}

// noteMemory leaves in the log how close it was.
func (m *machine) noteMemory() {
	if _, free, err := m.memory(); err == nil {
		m.log.printf("memory: %d MiB are still available", free>>20)
	}
}

// memory reads MemTotal and MemAvailable (proc_meminfo(5)), in bytes.
func (m *machine) memory() (total, free int64, err error) {
	data, err := m.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, 0, err
	}
	values := map[string]int64{}
	for line := range strings.SplitSeq(string(data), "\n") {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		if kb, err := strconv.ParseInt(f[1], 10, 64); err == nil {
			values[f[0]] = kb << 10
		}
	}
	free = values["MemAvailable:"]
	if free == 0 { // before Linux 3.14, as of Ubuntu 14.04: what is free is the least that can be had
		free = values["MemFree:"]
	}
	if free == 0 {
		return 0, 0, errors.New("/proc/meminfo: found neither MemAvailable nor MemFree")
	}
	return values["MemTotal:"], free, nil
}

// secure takes into memory what of the image and the backup the flash would overwrite.
func (m *machine) secure(context.Context) error {
	index, err := m.index()
	if err != nil {
		return err
	}
	m.written = inplace.Written(index.RawSize)
	if m.image, err = m.fetch("image", m.plan.Image); err != nil {
		return err
	}
	if m.plan.Backup != nil {
		if m.backup, err = m.fetch("backup", *m.plan.Backup); err != nil {
			return err
		}
	}
	m.img, err = flashimage.NewReader(m.image, index)
	return err
}

// index reads the image's index from the archive.
func (m *machine) index() (*schema.ImageIndex, error) {
	data, err := m.archived(m.plan.Index)
	if err != nil {
		return nil, err
	}
	index := &schema.ImageIndex{}
	return index, schema.Decode(data, m.plan.Index.Path, "image-index", index)
}

// archived reads a file of the initramfs and compares it with the plan.
func (m *machine) archived(f schema.ArchiveFile) ([]byte, error) {
	data, err := m.ReadFile(f.Path)
	if err != nil {
		return nil, err
	}
	if got := disarm.Sum(data); got != f.SHA256 {
		return nil, fmt.Errorf("%s: SHA-256 %s, expected %s", f.Path, got, f.SHA256)
	}
	return data, nil
}

// verify proves, before anything is written, that all of it can be had from memory and from beyond the written area: every
// chunk of the image, the backup, config.json, the networks, and the file systems of the new system in the kernel. From
// here to the line nothing writes to the old file systems any more: they are only unmounted.
func (m *machine) verify(ctx context.Context) error {
	if err := flash.Fits(sized{m}, m.img.Index()); err != nil {
		return err
	}
	if err := m.staysBeyond(); err != nil {
		return err
	}
	if err := flash.Verify(ctx, m.img, m.options("verify")); err != nil {
		m.damaged = flashplan.ImageStamp
		return err
	}
	if m.backup != nil {
		got, err := sum(io.NewSectionReader(m.backup, 0, m.backup.Size()))
		if err != nil || got != m.plan.Backup.SHA256 {
			m.damaged = flashplan.BackupStamp
			return errors.Join(fmt.Errorf("backup: SHA-256 %q, expected %s", got, m.plan.Backup.SHA256), err)
		}
	}
	for _, f := range m.forBoot() {
		if _, err := m.archived(f); err != nil {
			return err
		}
	}
	if _, err := m.bootCode(); err != nil {
		return err
	}
	m.noteMemory()
	return m.knows("vfat", "ext4")
}

// knows checks that the kernel can mount these, for after the flash nothing can be loaded any more from anywhere.
func (m *machine) knows(types ...string) error {
	data, err := m.ReadFile("/proc/filesystems")
	if err != nil {
		return err
	}
	for _, t := range types {
		if !strings.Contains("\n"+string(data), "\t"+t+"\n") {
			return fmt.Errorf("file system %s: the kernel does not know it", t)
		}
	}
	return nil
}

// sized is the disk before it is opened.
type sized struct{ m *machine }

func (s sized) ReadAt([]byte, int64) (int, error)  { return 0, errors.ErrUnsupported }
func (s sized) WriteAt([]byte, int64) (int, error) { return 0, errors.ErrUnsupported }
func (s sized) ZeroRange(int64, int64) error       { return errors.ErrUnsupported }
func (s sized) Size() int64                        { return s.m.disk.Size }
func (s sized) SectorSize() int64                  { return s.m.disk.SectorSize }

// rehearse ends a run without a flash (S25).
func (m *machine) rehearse(context.Context) error {
	if m.plan.Stage2.Flash {
		return nil
	}
	m.rehearsed = true
	m.outcome.Verdict = schema.OutcomeRehearsed
	m.log.printf("rehearsal: everything is ready to be written; going back to the old system")
	return nil
}

// release lets go of the disk and proves that nothing holds it: the kernel refuses an exclusive open of a disk in use.
func (m *machine) release(context.Context) error {
	m.outcome.Reason = ""
	if err := m.unmountAll(); err != nil {
		return err
	}
	var err error
	if m.target, err = m.kernel.OpenDisk("/dev/" + m.disk.Name); err != nil {
		return err
	}
	if m.target.Size() != m.disk.Size {
		return fmt.Errorf("disk %s: %d bytes when opened, %d before", m.disk.Name, m.target.Size(), m.disk.Size)
	}
	return nil
}
