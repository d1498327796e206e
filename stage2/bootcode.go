package stage2

import (
	"bytes"
	"context"
	"fmt"

	"github.com/balena-community/balena-migrate/stage2/bootcode"
	"github.com/balena-community/balena-migrate/stage2/parttable"
)

// bootCode reads what of GRUB goes beside an image that has no boot code, nil for one that has.
func (m *machine) bootCode() (*bootcode.Code, error) {
	if m.plan.BootCode == nil {
		return nil, nil //nolint:nilnil // nothing is to be installed
	}
	boot, err := m.archived(m.plan.BootCode.BootImg)
	if err != nil {
		return nil, err
	}
	core, err := m.archived(m.plan.BootCode.CoreImg)
	if err != nil {
		return nil, err
	}
	return bootcode.Parse(boot, core)
}

// installBootCode writes GRUB's core.img into the gap before the first partition, then its boot.img into the first sector,
// whose disk signature and table stay as the image has them (S135). Both are read back past the page cache; whatever fails
// is tried again as a whole.
func (m *machine) installBootCode(context.Context) error {
	code, err := m.bootCode()
	if code == nil || err != nil {
		return err
	}
	if err := m.openTarget(); err != nil {
		return err
	}
	if err := m.roomFor(code); err != nil {
		return err
	}
	first := make([]byte, bootcode.CoreOffset)
	if err := m.readTarget(first, 0); err != nil {
		return err
	}
	code.Into(first)
	if err := m.place(code.Core(), bootcode.CoreOffset); err != nil {
		return err
	}
	if err := m.place(first, 0); err != nil {
		return err
	}
	m.log.printf("GRUB's boot code is in place, %d bytes of core.img", len(code.Core()))
	return nil
}

// roomFor looks at the table that is on the disk now.
func (m *machine) roomFor(code *bootcode.Code) error {
	f, err := m.Open("/dev/" + m.disk.Name)
	if err != nil {
		return err
	}
	defer f.Close()
	table, err := parttable.Read(f, m.disk.Size)
	if err != nil {
		return fmt.Errorf("partition table of /dev/%s: %w", m.disk.Name, err)
	}
	return code.Fits(table)
}

// place writes to the disk and compares what it then has.
func (m *machine) place(data []byte, off int64) error {
	buf, err := m.kernel.Memory(len(data)) // aligned, for the disk is open O_DIRECT
	if err != nil {
		return err
	}
	copy(buf, data)
	if _, err := m.target.WriteAt(buf, off); err != nil {
		return err
	}
	if err := m.target.Flush(); err != nil {
		return err
	}
	got := make([]byte, len(data))
	if err := m.readTarget(got, off); err != nil {
		return err
	}
	if !bytes.Equal(got, data) {
		return fmt.Errorf("boot code at byte %d of %s: not what was written there", off, m.disk.Name)
	}
	return nil
}

func (m *machine) readTarget(data []byte, off int64) error {
	buf, err := m.kernel.Memory(len(data))
	if err != nil {
		return err
	}
	if _, err := m.target.ReadAt(buf, off); err != nil {
		return err
	}
	copy(data, buf)
	return nil
}
