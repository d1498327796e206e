package stage2

import (
	"context"
	"errors"
	"fmt"
	"path"
	"runtime"
	"strings"
	"time"

	"github.com/balena-community/balena-migrate/stage2/blockdev"
	"github.com/balena-community/balena-migrate/stage2/efivar"
	"github.com/balena-community/balena-migrate/stage2/parttable"
)

// efiDir is there only when EFI started the machine.
const efiDir = "/sys/firmware/efi"

// menuAttempts is how often the firmware is asked to keep its new menu.
const menuAttempts = 3

// oldPartitions remembers how the firmware names the partitions that are about to be written over: the boot entries that
// lead to them are dead afterwards. It only looks; an EFI machine whose variables can't be reached is told apart here,
// where the reason still reaches the old system's log, but is no reason to stay: it starts the removable path.
func (m *machine) oldPartitions(context.Context) error {
	if _, err := m.Stat(efiDir); err != nil {
		return nil //nolint:nilerr // a BIOS has no entries
	}
	var err error
	if m.gone, err = m.partitionsOf(m.disk.Name); err != nil {
		return err
	}
	err = m.withVariables(func() error {
		entries, err := efivar.List(m)
		m.log.printf("the firmware has %d boot entries", len(entries))
		return err
	})
	if err != nil {
		m.log.printf("the firmware's boot entries are out of reach, it will have to start %s by itself: %v", loaderFile(m.efiBits()), err)
	}
	return nil
}

// firmware puts the new system first into the menu of EFI firmware. It never fails: what goes wrong is told in the
// outcome, and the firmware still finds the loader under the path for removable disks.
func (m *machine) firmware(context.Context) error {
	if _, err := m.Stat(efiDir); err != nil {
		return nil //nolint:nilerr // a BIOS starts the boot code of the disk
	}
	var err error
	for n := 1; n <= menuAttempts; n++ {
		if err = m.setMenu(); err == nil {
			return nil
		}
		m.log.printf("boot entry, attempt %d of %d: %v", n, menuAttempts, err)
		m.kernel.Sleep(time.Duration(n) * time.Second)
	}
	m.outcome.Warnings = append(m.outcome.Warnings, fmt.Sprintf(
		"the firmware's boot entries are not as they should be, it may have to start %s by itself: %v", loaderFile(m.efiBits()), err))
	return nil
}

// setMenu tries once.
func (m *machine) setMenu() error {
	loader := loaderFile(m.efiBits())
	err := m.with(m.boot, true, func(point string) error {
		_, err := m.Stat(path.Join(point, strings.ReplaceAll(loader, `\`, "/")))
		return err
	})
	if err != nil {
		return fmt.Errorf("the new system's loader: %w", err)
	}
	menu := efivar.Menu{Old: m.gone}
	if menu.Present, err = m.presentPartitions(); err != nil {
		return err
	}
	part, err := m.bootPartition()
	if err != nil {
		return err
	}
	menu.Want = efivar.New(efivar.Label, part, loader)
	return m.withVariables(func() error {
		did, err := menu.Set(m)
		for _, line := range did {
			m.log.printf("firmware: %s", line)
		}
		return err
	})
}

// withVariables mounts efivarfs for the time of an act: left mounted it would keep /sys from the old system's init.
func (m *machine) withVariables(act func() error) error {
	if err := m.kernel.Mount("efivarfs", efivar.Dir, "efivarfs", "", false); err != nil {
		return err
	}
	return errors.Join(act(), m.kernel.Unmount(efivar.Dir))
}

// bootPartition is the new boot partition as the firmware names it.
func (m *machine) bootPartition() (efivar.HardDrive, error) {
	parts, err := m.partitionsOf(m.disk.Name)
	if err != nil {
		return efivar.HardDrive{}, err
	}
	number, err := blockdev.Number(m, m.boot.name)
	if err != nil {
		return efivar.HardDrive{}, err
	}
	for _, p := range parts {
		if int64(p.Number) == number {
			return p, nil
		}
	}
	return efivar.HardDrive{}, fmt.Errorf("partition %d of %s: not one that firmware sees", number, m.disk.Name)
}

// presentPartitions are those of all disks. A disk that can't be read has none, like an empty card reader; the one that
// was just written must have some.
func (m *machine) presentPartitions() ([]efivar.HardDrive, error) {
	disks, err := blockdev.Names(m)
	if err != nil {
		return nil, err
	}
	var out []efivar.HardDrive
	for _, name := range disks {
		parts, err := m.partitionsOf(name)
		if err != nil && name == m.disk.Name {
			return nil, err
		}
		out = append(out, parts...)
	}
	return out, nil
}

func (m *machine) partitionsOf(disk string) ([]efivar.HardDrive, error) {
	size, err := blockdev.Size(m, disk)
	if err != nil {
		return nil, err
	}
	f, err := m.Open("/dev/" + disk)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	table, err := parttable.Read(f, size)
	if err != nil {
		return nil, fmt.Errorf("partition table of /dev/%s: %w", disk, err)
	}
	return efivar.Partitions(table)
}

// loaderFile is the path for removable disks (UEFI 2.10, 3.5.1.1) of a firmware with words of so many bits.
func loaderFile(bits string) string {
	name := "bootx64.efi"
	switch arm := strings.HasPrefix(runtime.GOARCH, "arm"); {
	case arm && bits == "32":
		name = "bootarm.efi"
	case arm:
		name = "bootaa64.efi"
	case bits == "32":
		name = "bootia32.efi"
	}
	return `\EFI\BOOT\` + name
}

// efiBits is the word size of the firmware (Documentation/ABI/testing/sysfs-firmware-efi), which need not be the kernel's.
func (m *machine) efiBits() string {
	data, err := m.ReadFile(efiDir + "/fw_platform_size")
	if err != nil {
		return "64" // kernels before 4.0 ran on their own size only
	}
	return strings.TrimSpace(string(data))
}
