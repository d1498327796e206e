package boot

import (
	"slices"
	"strings"

	"github.com/balena-community/balena-migrate/stage2/blockdev"
)

// Pitfall says what may start this board instead of the disk that is migrated, "" if nothing is known. A BeagleBone's ROM
// asks the eMMC first, and the SD card only where that has no boot loader, or with button S2 held (AM335x
// Technical Reference Manual, "Initialization", SYSBOOT; BeagleBone Black System Reference Manual, boot modes).
func Pitfall(s Site) string {
	if !slices.Contains(compatible(s), "ti,am33xx") {
		return ""
	}
	disk, err := rootDisk(s)
	if err != nil || cardType(s, disk) != "SD" {
		return ""
	}
	names, err := blockdev.Names(s)
	if err != nil {
		return ""
	}
	for _, name := range names {
		if name != disk && cardType(s, name) == "MMC" {
			return "this system is on the SD card " + disk + ", but without button S2 held the board asks its eMMC " + name +
				" for a boot loader first, and what lies there may not start the new system; see that the eMMC has none" +
				" (dd if=/dev/zero of=/dev/" + name + " bs=1M count=10 destroys what is on it), or migrate a system on the eMMC"
		}
	}
	return ""
}

// rootDisk is the kernel's name of the disk with the root file system.
func rootDisk(s Site) (string, error) {
	m, _, err := s.Locate("/")
	if err != nil {
		return "", err
	}
	device, err := blockdev.NameOf(s, m)
	if err != nil {
		return "", err
	}
	return blockdev.DiskOf(s, device)
}

// cardType is SD for a card and MMC for an eMMC (kernel, drivers/mmc/core/bus.c), "" for other disks.
func cardType(s Site, disk string) string {
	data, err := s.ReadFile("/sys/block/" + disk + "/device/type")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}
