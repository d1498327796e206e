package stage2

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/blockdev"
)

// findDisk compares the disk that holds the old system with the plan: serial number, size and table, never the name.
func (m *machine) findDisk(context.Context) error {
	if m.plan.Layered {
		return m.findByIdentity()
	}
	name, _, err := m.search(m.plan.Root.UUID)
	if err != nil {
		return err
	}
	if name, err = blockdev.DiskOf(m, name); err != nil {
		return err
	}
	if m.disk, err = blockdev.Identify(m, name); err != nil {
		return err
	}
	if diff := blockdev.Differences(m.disk, m.plan.Disk); len(diff) > 0 {
		return fmt.Errorf("disk %s is not the one this migration was prepared for: %s", name, strings.Join(diff, "; "))
	}
	m.logDisk()
	return nil
}

func (m *machine) logDisk() {
	m.log.printf("disk %s, serial %q, %d MiB", m.disk.Name, m.disk.Serial, m.disk.Size>>20)
}

// findByIdentity looks for the disk among all, where no file system leads to it. It waits for it to appear, and takes none
// that it can't tell from another.
func (m *machine) findByIdentity() error {
	for deadline := m.kernel.Uptime() + appear; ; m.kernel.Sleep(100 * time.Millisecond) {
		found, others, err := m.matching()
		switch {
		case err != nil:
			return err
		case len(found) == 1:
			m.disk = found[0]
			m.logDisk()
			return nil
		case len(found) > 1:
			return fmt.Errorf("disks %s and %s: can't be told from each other", found[0].Name, found[1].Name)
		case m.kernel.Uptime() > deadline:
			return fmt.Errorf("the disk that this migration was prepared for, serial %q, did not appear within %s: %s", m.plan.Disk.Serial, appear, orNone(strings.Join(others, "; ")))
		}
	}
}

// matching lists the disks that are as planned, and says what is wrong with the others.
func (m *machine) matching() (found []schema.Disk, others []string, err error) {
	names, err := blockdev.Names(m)
	if err != nil {
		return nil, nil, err
	}
	for _, name := range names {
		d, err := blockdev.Identify(m, name)
		if err != nil {
			others = append(others, err.Error()) // an empty card reader
		} else if diff := blockdev.Differences(d, m.plan.Disk); len(diff) > 0 {
			others = append(others, name+": "+strings.Join(diff, ", "))
		} else {
			found = append(found, d)
		}
	}
	return found, others, nil
}
