package blockdev

import (
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/fsprobe"
	"github.com/balena-community/balena-migrate/stage2/parttable"
	"github.com/balena-community/balena-migrate/steps/host"
)

// ErrLayered is returned where a file system does not lie on a plain partition of one disk (D2).
var ErrLayered = errors.New("not a partition of a plain disk")

// NameOf returns the kernel name of a mounted block device, e.g. "vda1". A btrfs is on one if that is all it is on.
func NameOf(r host.Reader, m Mount) (string, error) {
	names, err := devices(r, m)
	if err != nil {
		return "", err
	}
	if len(names) > 1 {
		return "", fmt.Errorf("%s on %s lies on %s: %w", m.Type, m.Point, strings.Join(names, " and "), ErrLayered)
	}
	return names[0], nil
}

// DiskOf returns the kernel name of the whole disk that a partition is on, by sysfs, so that nvme0n1p2 and mmcblk0p2
// need no rule of their own.
func DiskOf(r host.Reader, name string) (string, error) {
	dir, err := r.RealPath("/sys/class/block/" + name)
	if err != nil {
		return "", err
	}
	if _, err := r.Stat(dir + "/partition"); err == nil {
		disk := path.Base(path.Dir(dir))
		if strings.HasPrefix(disk, "md") && strings.Contains(dir, "/virtual/") {
			return "", fmt.Errorf("%s is on %s, %s: %w", name, disk, layer(disk), ErrLayered)
		}
		return disk, nil
	}
	if !strings.Contains(dir, "/virtual/") || strings.Contains(dir, "/nvme-subsystem/") {
		return "", fmt.Errorf("%s has no partition table: %w", name, ErrLayered)
	}
	return "", fmt.Errorf("%s is %s: %w", name, layer(name), ErrLayered)
}

func layer(name string) string {
	switch {
	case strings.HasPrefix(name, "dm-"):
		return "a device-mapper volume (LVM, LUKS or multipath)"
	case strings.HasPrefix(name, "md"):
		return "a software RAID"
	case strings.HasPrefix(name, "loop"):
		return "a loop device"
	}
	return "a virtual device"
}

// Names lists the whole disks that could be a target: no loop, RAM, optical or layered devices.
func Names(r host.Reader) ([]string, error) {
	entries, err := r.ReadDir("/sys/block")
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		dir, err := r.RealPath("/sys/block/" + e.Name())
		if err != nil {
			return nil, err
		}
		virtual := strings.Contains(dir, "/virtual/") && !strings.Contains(dir, "/nvme-subsystem/")
		if !virtual && !strings.HasPrefix(e.Name(), "sr") && !strings.HasPrefix(e.Name(), "fd") {
			out = append(out, e.Name())
		}
	}
	return out, nil
}

// Partitions lists the kernel names of a disk's partitions.
func Partitions(r host.Reader, disk string) ([]string, error) {
	entries, err := r.ReadDir("/sys/class/block/" + disk)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		if _, err := r.Stat("/sys/class/block/" + disk + "/" + e.Name() + "/partition"); err == nil {
			out = append(out, e.Name())
		}
	}
	return out, nil
}

// Size returns the size of a disk or partition in bytes; sysfs counts in 512-byte units whatever the sectors are.
func Size(r host.Reader, name string) (int64, error) {
	n, err := number(r, "/sys/class/block/"+name+"/size")
	return n * 512, err
}

// Number is a partition's number in its table.
func Number(r host.Reader, partition string) (int64, error) {
	return number(r, "/sys/class/block/"+partition+"/partition")
}

// Describe reads what sysfs tells of a whole disk, whatever is on it.
func Describe(r host.Reader, name string) (schema.Disk, error) {
	d := schema.Disk{Name: name, Serial: serial(r, name), Model: attribute(r, name, "device/model")}
	var err error
	if d.Size, err = Size(r, name); err != nil {
		return d, err
	}
	d.SectorSize, err = number(r, "/sys/class/block/"+name+"/queue/logical_block_size")
	return d, err
}

// Identify reads what a whole disk is known by: [Describe], and the partition table.
func Identify(r host.Reader, name string) (schema.Disk, error) {
	d, err := Describe(r, name)
	if err != nil {
		return d, err
	}
	f, err := r.Open("/dev/" + name)
	if err != nil {
		return d, err
	}
	defer f.Close()
	table, err := parttable.Read(f, d.Size)
	if err != nil {
		return d, fmt.Errorf("partition table of /dev/%s: %w", name, err)
	}
	d.Table, d.TableID = table.Kind, table.ID
	return d, nil
}

// Differences says in what a disk is not the one that was planned for; nil when it is.
func Differences(got, want schema.Disk) []string {
	var out []string
	if got.Serial != want.Serial {
		out = append(out, fmt.Sprintf("serial %q, planned for %q", got.Serial, want.Serial))
	}
	if got.Size != want.Size {
		out = append(out, fmt.Sprintf("size %d bytes, planned for %d", got.Size, want.Size))
	}
	if got.Table != want.Table || got.TableID != want.TableID {
		out = append(out, fmt.Sprintf("%s table %s, planned for %s table %s", got.Table, got.TableID, want.Table, want.TableID))
	}
	return out
}

// ProbeFS reads the superblock of a partition.
func ProbeFS(r host.Reader, name string) (fsprobe.Info, error) {
	f, err := r.Open("/dev/" + name)
	if err != nil {
		return fsprobe.Info{}, err
	}
	defer f.Close()
	info, err := fsprobe.Probe(f)
	if err != nil {
		return info, fmt.Errorf("superblock of /dev/%s: %w", name, err)
	}
	return info, nil
}

// serial looks where the drivers keep it: virtio at the disk, NVMe, MMC and others at the device, SCSI in the VPD page.
func serial(r host.Reader, name string) string {
	for _, attr := range []string{"serial", "device/serial", "wwid", "device/wwid"} {
		if s := attribute(r, name, attr); s != "" {
			return s
		}
	}
	data, err := r.ReadFile("/sys/class/block/" + name + "/device/vpd_pg80")
	if err != nil || len(data) <= 4 {
		return ""
	}
	return strings.TrimSpace(strings.Trim(string(data[4:]), "\x00")) // SPC-4 7.8.15: four bytes of header
}

func attribute(r host.Reader, name, attr string) string {
	data, err := r.ReadFile("/sys/class/block/" + name + "/" + attr)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(strings.Trim(string(data), "\x00"))
}

func number(r host.Reader, name string) (int64, error) {
	data, err := r.ReadFile(name)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: found %q, expected a number", name, data)
	}
	return n, nil
}
