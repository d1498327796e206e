package stage2

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/blockdev"
	"github.com/balena-community/balena-migrate/stage2/disarm"
	"github.com/balena-community/balena-migrate/stage2/flash"
	"github.com/balena-community/balena-migrate/stage2/flashplan"
)

// newLabel names the partitions of the new system (E20, E23): by label, never by number.
var newLabel = regexp.MustCompile(`^(?:resin|balena)-(boot|rootA|rootB|state|data)$`)

// partition is one of the new system's.
type partition struct{ name, fstype string }

const (
	// stallLimit is how long not a byte may move before a phase fails: well beyond the timeouts and resets of the kernel's drivers.
	stallLimit = 15 * time.Minute
	// packedRoom is what a worker needs beside its part of the ring, in bytes: a packed chunk.
	packedRoom = 1 << 20
	// loudRetries is how many failures of one phase are logged; a disk that is broken has thousands.
	loudRetries = 20
)

// options are those of the flash engine. The memory of its ring is taken once and used again by every phase; together
// with what the workers need it is flashplan.BufferSize for each; the 256 KiB of zeros are within flashplan.Program.
func (m *machine) options(what string) flash.Options {
	workers := flashplan.Workers(runtime.NumCPU())
	var retries atomic.Int64
	return flash.Options{
		Workers: workers, Memory: int64(workers) * (flashplan.BufferSize - packedRoom), Limit: stallLimit,
		Progress: m.log.meter(),
		Retried: func(err error) {
			if n := retries.Add(1); n <= loudRetries {
				m.log.printf("%s: trying again: %v", what, err)
			} else if n == loudRetries+1 {
				m.log.printf("%s: further attempts are not logged", what)
			}
		},
		Stalled: func(where string, idle time.Duration) {
			m.log.printf("%s: nothing has moved for %s; waiting for %s", what, idle.Truncate(time.Second), where)
		},
		Buffer: func(size int) []byte {
			if len(m.ring) == size {
				return m.ring
			}
			var err error
			if m.ring, err = m.kernel.Memory(size); err != nil {
				m.ring = make([]byte, size)
			}
			return m.ring
		},
	}
}

// flash writes the image, reads it back, and mends what differs.
func (m *machine) flash(ctx context.Context) error {
	if err := m.openTarget(); err != nil {
		return err
	}
	index := m.img.Index()
	rep, err := flash.Flash(ctx, m.target, m.img, m.options("flash"))
	if errors.Is(err, flash.ErrStalled) {
		m.ring = nil // what hangs may still read it
	}
	if err != nil {
		return err
	}
	took := rep.Write.Seconds()
	m.log.printf("written: %d MiB, %d MiB of it data, in %.1f s (%.1f MiB/s of data)", index.RawSize>>20, index.DataSize()>>20, took,
		float64(index.DataSize()>>20)/max(took, 0.001))
	if rep.Mended > 0 {
		m.log.printf("%d chunks were not on the disk as written, and were written again: the medium is wearing out", rep.Mended)
	}
	m.log.printf("read back and compared in %.1f s", rep.ReadBack.Seconds())
	m.noteMemory()
	return nil
}

// openTarget takes the whole disk, unless it is still taken.
func (m *machine) openTarget() error {
	if m.target != nil {
		return nil
	}
	var err error
	m.target, err = m.kernel.OpenDisk("/dev/" + m.disk.Name)
	return err
}

// findPartitions makes the kernel see the new table and finds the new system's partitions.
func (m *machine) findPartitions(context.Context) error {
	if m.target != nil {
		if err := m.target.RereadTable(); err != nil {
			return err
		}
	}
	m.closeTarget()
	for deadline := m.kernel.Uptime() + appear; ; m.kernel.Sleep(200 * time.Millisecond) {
		found, err := m.labelled()
		m.boot, m.data = found["boot"], found["data"]
		if err == nil && m.boot.name != "" && m.data.name != "" {
			return nil
		}
		if m.kernel.Uptime() > deadline {
			return errors.Join(err, fmt.Errorf("partitions of the new system on %s: found %v, expected resin-boot and resin-data", m.disk.Name, found))
		}
	}
}

// labelled lists the new system's partitions by what their label says.
func (m *machine) labelled() (map[string]partition, error) {
	out := map[string]partition{}
	names, err := blockdev.Partitions(m, m.disk.Name)
	if err != nil {
		return out, err
	}
	for _, name := range names {
		info, err := blockdev.ProbeFS(m, name)
		if err != nil {
			return out, err
		}
		if match := newLabel.FindStringSubmatch(info.Label); match != nil {
			out[match[1]] = partition{name: name, fstype: info.Type}
		}
	}
	return out, nil
}

// closeTarget gives the whole disk back, for the kernel mounts no partition of a disk that somebody has to himself.
func (m *machine) closeTarget() {
	if m.target == nil {
		return
	}
	if err := m.target.Close(); err != nil {
		m.log.printf("%v", err)
	}
	m.target = nil
}

// forBoot lists the files of the archive that go to the new boot partition.
func (m *machine) forBoot() []schema.ArchiveFile {
	out := append([]schema.ArchiveFile{m.plan.ConfigJSON}, m.plan.Networks...)
	for _, b := range m.plan.BootFiles {
		out = append(out, b.Archived())
	}
	return out
}

// configure puts config.json, the networks and what the image lacks to boot (E27) on the boot partition. Without them
// the device is out of reach, so they are read back from the disk, and anything less is a failure (D5).
func (m *machine) configure(context.Context) error {
	files := map[string]content{}
	config, err := m.archived(m.plan.ConfigJSON)
	if err != nil {
		return err
	}
	files["config.json"] = inline(config)
	for _, n := range m.plan.Networks {
		data, err := m.archived(n)
		if err != nil {
			return err
		}
		files[path.Join("system-connections", n.Name)] = inline(data)
	}
	for _, b := range m.plan.BootFiles {
		data, err := m.archived(b.Archived())
		if err != nil {
			return err
		}
		files[b.To] = inline(data)
	}
	return m.put(m.boot, files)
}

// writeData puts the backup where the supervisor looks for it (E16).
func (m *machine) writeData(context.Context) error {
	if m.plan.Backup == nil {
		return nil
	}
	return m.put(m.data, map[string]content{"backup.tgz": {size: m.backup.Size(), sha256: m.plan.Backup.SHA256, from: m.backup}})
}

// report leaves the outcome and the log on the new system (F13).
func (m *machine) report(context.Context) error {
	m.outcome.Verdict, m.outcome.Reason = schema.OutcomeMigrated, ""
	data, err := schema.Encode(m.outcome)
	if err != nil {
		return err
	}
	return m.put(m.data, map[string]content{flashplan.NewOutcome: inline(data), flashplan.NewLog: inline(m.log.bytes())})
}

// content is a file of the new system; sha256 is what a fresh mount must show of it, in hex.
type content struct {
	size   int64
	sha256 string
	from   io.ReaderAt
}

func inline(data []byte) content {
	return content{size: int64(len(data)), sha256: disarm.Sum(data), from: bytes.NewReader(data)}
}

// put writes files to a partition and compares what a fresh mount then shows.
func (m *machine) put(p partition, files map[string]content) error {
	err := m.with(p, false, func(point string) error {
		for name, c := range files {
			if err := m.write(path.Join(point, name), c); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return m.with(p, true, func(point string) error {
		for name, want := range files {
			if err := m.holds(path.Join(point, name), want); err != nil {
				return fmt.Errorf("%s on %s: %w", name, p.name, err)
			}
			m.log.printf("%s: %s, %d bytes, in place", p.name, name, want.size)
		}
		return nil
	})
}

// write gives a file its content, at once or not at all.
func (m *machine) write(name string, c content) error {
	if err := m.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	out, err := m.Create(name, 0o600)
	if err != nil {
		return err
	}
	defer out.Discard()
	if _, err := io.CopyBuffer(struct{ io.Writer }{out}, io.NewSectionReader(c.from, 0, c.size), make([]byte, 64<<10)); err != nil {
		return err
	}
	return out.Commit()
}

// holds compares a file with what it should hold.
func (m *machine) holds(name string, c content) error {
	f, err := m.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	got, err := sum(f)
	if err != nil {
		return err
	}
	if got != c.sha256 {
		return fmt.Errorf("SHA-256 %s, expected %s: not what was written to it", got, c.sha256)
	}
	return nil
}

// with mounts a partition of the new system for the time of an act.
func (m *machine) with(p partition, readOnly bool, act func(point string) error) error {
	point := path.Join(mountDir, "new")
	if err := m.MkdirAll(point, 0o755); err != nil {
		return err
	}
	if err := m.kernel.Mount("/dev/"+p.name, point, p.fstype, mountOptions(p.fstype), readOnly); err != nil {
		return err
	}
	return errors.Join(act(point), m.kernel.Unmount(point))
}

// mountOptions are what a type of file system needs: on FAT, which has no modes, chmod is to pass (mount(8)); of a btrfs its
// top is to be seen, from which the paths of the plan are told, and not the subvolume that is its default (btrfs(5)).
func mountOptions(fstype string) string {
	switch fstype {
	case "vfat":
		return "quiet"
	case "btrfs":
		return "subvolid=5"
	}
	return ""
}

// restart boots the new system.
func (m *machine) restart() {
	m.log.printf("the migration is complete; rebooting into balenaOS")
	m.keepLog()
	m.kernel.Sleep(time.Second) // the console is a slow line
	m.reboot()
}

// strand ends a migration that failed right of the line for good: the reason is left on the data partition if that can
// be, stays on the console for a while, and the machine reboots, for nobody can reach it here.
func (m *machine) strand(phase string, cause error) {
	m.outcome.Verdict, m.outcome.Phase, m.outcome.Reason = schema.OutcomeStranded, phase, cause.Error()
	if data, err := schema.Encode(m.outcome); err == nil && m.data.name != "" {
		if err := m.put(m.data, map[string]content{flashplan.NewOutcome: inline(data), flashplan.NewLog: inline(m.log.bytes())}); err != nil {
			m.log.printf("leave the outcome: %v", err)
		}
	}
	for end := m.kernel.Uptime() + hold; m.kernel.Uptime() < end; m.kernel.Sleep(10 * time.Second) {
		m.log.printf("THE MIGRATION FAILED in %q after the disk was written: %v", phase, cause)
	}
	m.reboot()
}
