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

// options are those of the flash engine. Buffers are taken once and used again by every phase.
func (m *machine) options(what string) flash.Options {
	next := 0
	return flash.Options{
		Workers:  flashplan.Workers(runtime.NumCPU()),
		Progress: m.log.meter(what, m.img.Index().RawSize),
		Retried:  func(err error) { m.log.printf("%s: trying again: %v", what, err) },
		Buffer: func(size int) []byte {
			if next++; next <= len(m.buffers) {
				return m.buffers[next-1]
			}
			b, err := m.kernel.Memory(size)
			if err != nil {
				b = make([]byte, size)
			}
			m.buffers = append(m.buffers, b)
			return b
		},
	}
}

// flash writes the image and reads it back.
func (m *machine) flash(ctx context.Context) error {
	if m.target == nil {
		var err error
		if m.target, err = m.kernel.OpenDisk("/dev/" + m.disk.Name); err != nil {
			return err
		}
	}
	index := m.img.Index()
	start := time.Now()
	if err := flash.Write(ctx, m.target, m.img, m.options("write")); err != nil {
		return err
	}
	if err := m.target.Flush(); err != nil {
		return err
	}
	took := time.Since(start).Seconds()
	m.log.printf("written: %d MiB, %d MiB of it data, in %.1f s", index.RawSize>>20, index.DataSize()>>20, took)
	start = time.Now()
	if err := flash.Compare(ctx, m.target, index, m.options("read back")); err != nil {
		return err
	}
	m.log.printf("read back and compared in %.1f s", time.Since(start).Seconds())
	m.noteMemory()
	return nil
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
	if err := m.kernel.Mount("/dev/"+p.name, point, p.fstype, fatQuiet(p.fstype), readOnly); err != nil {
		return err
	}
	return errors.Join(act(point), m.kernel.Unmount(point))
}

// fatQuiet is the mount option that lets chmod pass on FAT, which has no modes (mount(8)).
func fatQuiet(fstype string) string {
	if fstype == "vfat" {
		return "quiet"
	}
	return ""
}

// restart boots the new system.
func (m *machine) restart() {
	m.log.printf("the migration is complete; rebooting into balenaOS")
	m.keepLog()
	m.kernel.Sleep(time.Second) // the console is a slow line
	m.dog.release()
	if err := m.kernel.Reboot(); err != nil {
		m.log.printf("reboot: %v", err)
	}
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
	m.dog.release()
	if err := m.kernel.Reboot(); err != nil {
		m.log.printf("reboot: %v", err)
	}
}
