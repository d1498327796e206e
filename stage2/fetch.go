package stage2

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"runtime"
	"time"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/blockdev"
	"github.com/balena-community/balena-migrate/stage2/flashplan"
	"github.com/balena-community/balena-migrate/stage2/inplace"
	"github.com/balena-community/balena-migrate/stage2/parttable"
	"github.com/balena-community/balena-migrate/steps/host"
)

// fetch makes a file of the old system readable without its file system: what the plan has extents for from the disk,
// the rest from memory.
func (m *machine) fetch(what string, ref schema.FileRef) (*inplace.Reader, error) {
	if ref.FSType == flashplan.Carried {
		return m.carried(what, ref)
	}
	point, err := m.fileSystem(ref.FSUUID, ref.FSType)
	if err != nil {
		return nil, err
	}
	name := path.Join(point, ref.Path)
	f, err := m.Open(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() != ref.Size {
		return nil, fmt.Errorf("%s %s: %d bytes, expected %d", what, ref.Path, info.Size(), ref.Size)
	}
	if err := m.inPlace(name, ref); err != nil {
		return nil, fmt.Errorf("%s %s: %w", what, ref.Path, err)
	}
	held, err := m.hold(f, ref)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", what, ref.Path, err)
	}
	m.log.printf("%s: %d MiB stay in place on the disk, %d MiB are held in memory", what, (ref.Size-int64(len(held)))>>20, len(held)>>20)
	return inplace.New(ref.Size, ref.Extents, held, m.beyond)
}

// hold reads what lies between the extents into memory.
func (m *machine) hold(f host.File, ref schema.FileRef) ([]byte, error) {
	start := time.Now()
	held, err := m.kernel.Memory(int(flashplan.Held(&ref)))
	if err != nil {
		return nil, err
	}
	rest := held
	for _, g := range inplace.Gaps(ref.Extents, ref.Size) {
		if n, err := f.ReadAt(rest[:g.Length], g.Off); int64(n) < g.Length {
			return nil, fmt.Errorf("%d of %d bytes at %d: %w", n, g.Length, g.Off, err)
		}
		rest = rest[g.Length:]
	}
	if len(held) > 0 {
		m.log.printf("%d MiB taken into memory in %.1f s", len(held)>>20, time.Since(start).Seconds())
	}
	return held, nil
}

// inPlace proves that the plan's extents can be read while the disk is written before them, and that the file has not
// moved since the plan was made. What they hold is for verify to prove.
func (m *machine) inPlace(name string, ref schema.FileRef) error {
	if len(ref.Extents) == 0 {
		return nil
	}
	if err := inplace.Check(ref.Extents, ref.Size, m.written, m.disk.Size); err != nil {
		return err
	}
	device := m.deviceOf(ref.FSUUID)
	disk, err := blockdev.DiskOf(m, device)
	if err != nil {
		return err
	}
	if disk != m.disk.Name {
		return fmt.Errorf("on disk %s, expected it on %s", disk, m.disk.Name)
	}
	now, doubts, err := blockdev.Extents(m, name, device, ref.FSType)
	if err != nil {
		return err
	}
	if !inplace.Contains(now, ref.Extents) {
		return fmt.Errorf("does not lie on the disk any more where it lay for build-initramfs (now %d extents; in doubt: %s): run build-initramfs again",
			len(now), orNone(doubts))
	}
	return m.openBeyond()
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// carried is a file of the initramfs, which is in memory already.
func (m *machine) carried(what string, ref schema.FileRef) (*inplace.Reader, error) {
	data, err := m.kernel.Map(ref.Path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	if int64(len(data)) != ref.Size {
		return nil, fmt.Errorf("%s %s: %d bytes, expected %d", what, ref.Path, len(data), ref.Size)
	}
	m.log.printf("%s: %d MiB came along in memory", what, ref.Size>>20)
	return inplace.New(ref.Size, nil, data, nil)
}

// openBeyond opens the disk for reading beside the file systems on it, and beside the flash later on.
func (m *machine) openBeyond() error {
	if m.beyond != nil {
		return nil
	}
	raw, err := m.kernel.OpenRaw("/dev/" + m.disk.Name)
	if err != nil {
		return err
	}
	var buffers [][]byte
	for range flashplan.Workers(runtime.NumCPU()) {
		b, err := m.kernel.Memory(inplace.BufferSize)
		if err != nil {
			return errors.Join(err, raw.Close())
		}
		buffers = append(buffers, b)
	}
	m.beyond = inplace.NewDisk(raw, m.disk.Size, buffers...)
	return nil
}

// staysBeyond proves that nothing is written beyond the image either once its file systems are mounted: its partitions
// must lie within it. The file systems must be at rest too.
func (m *machine) staysBeyond() error {
	if m.beyond == nil {
		return nil
	}
	for _, mt := range m.mounts {
		if mt.writable {
			return fmt.Errorf("file system %s: mounted for writing, expected read-only", mt.uuid)
		}
	}
	raw := m.img.Index().RawSize
	table, err := parttable.Read(m.img.View(), raw)
	if err != nil {
		return fmt.Errorf("partition table of the image: %w", err)
	}
	return table.Fits(raw)
}

// sum is the SHA-256 of all that r has, in hex.
func sum(r io.Reader) (string, error) {
	h := sha256.New()
	_, err := io.CopyBuffer(h, r, make([]byte, 64<<10))
	return hex.EncodeToString(h.Sum(nil)), err
}

// shed removes the host's own initramfs from memory: all but what is ours and what the kernel has mounted. Then only a
// reboot leads back.
func (m *machine) shed() {
	entries, err := m.ReadDir("/")
	if err != nil {
		m.log.printf("%v", err)
		return
	}
	for _, e := range entries {
		switch "/" + e.Name() {
		case flashplan.Dir, flashplan.Binary, "/dev", "/proc", "/sys":
		default:
			m.removeAll("/"+e.Name(), e.IsDir())
		}
	}
}

// removeAll removes what it can, and follows no link.
func (m *machine) removeAll(name string, dir bool) {
	if dir {
		entries, err := m.ReadDir(name)
		if err != nil {
			m.log.printf("%v", err)
		}
		for _, e := range entries {
			m.removeAll(path.Join(name, e.Name()), e.IsDir())
		}
	}
	if err := m.Remove(name); err != nil {
		m.log.printf("%v", err)
	}
}
