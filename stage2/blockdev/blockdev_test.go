package blockdev_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/balena-community/balena-migrate/stage2/blockdev"
	"github.com/balena-community/balena-migrate/steps/host/hosttest"
)

const mountinfo = `22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,errors=remount-ro
23 22 0:21 / /proc rw,nosuid shared:5 - proc proc rw
30 22 254:2 / /boot ro,relatime - ext2 /dev/vda2 rw
31 22 254:1 /srv/data /mnt/with\040blank rw - ext4 /dev/vda1 rw
32 22 0:40 /@ /btrfs rw - btrfs /dev/vdb rw
`

func TestUnder(t *testing.T) {
	mounts, err := blockdev.ParseMounts(mountinfo)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, device, inside string }{
		{"/", "254:1", "/"},
		{"/var/lib/x", "254:1", "/var/lib/x"},
		{"/boot/grub", "254:2", "/grub"},
		{"/boot", "254:2", "/"},
		{"/bootleg", "254:1", "/bootleg"},
		{"/mnt/with blank/f", "254:1", "/srv/data/f"},
		{"/btrfs/f", "0:40", "/@/f"},
	}
	for _, tt := range tests {
		m, inside, err := blockdev.Under(mounts, tt.name)
		if err != nil || m.Device != tt.device || inside != tt.inside {
			t.Errorf("%s: got %s %s %v, want %s %s", tt.name, m.Device, inside, err, tt.device, tt.inside)
		}
	}
	if !mounts[2].ReadOnly || mounts[0].ReadOnly {
		t.Error("read-only flag is wrong")
	}
}

func TestParseMountsNamesTheLine(t *testing.T) {
	_, err := blockdev.ParseMounts("22 1 254:1 / / rw - ext4 /dev/vda1 rw\njunk\n")
	if err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("got %v", err)
	}
}

func FuzzParseMounts(f *testing.F) {
	f.Add(mountinfo)
	f.Fuzz(func(_ *testing.T, text string) {
		mounts, err := blockdev.ParseMounts(text)
		if err == nil {
			_, _, _ = blockdev.Under(mounts, "/a/b")
		}
	})
}

func TestIdentify(t *testing.T) {
	h := hosttest.Debian(t)
	d, err := blockdev.Identify(h, "vda")
	if err != nil {
		t.Fatal(err)
	}
	if d.Serial != hosttest.Serial || d.Size != hosttest.DiskSize || d.Table != "mbr" || d.TableID != hosttest.DiskID {
		t.Errorf("got %+v", d)
	}
	other := d
	other.Name = "sda"
	if diff := blockdev.Differences(other, d); diff != nil {
		t.Errorf("another name is another disk: %v", diff)
	}
	other.Serial = "X"
	if diff := blockdev.Differences(other, d); len(diff) != 1 || !strings.Contains(diff[0], "serial") {
		t.Errorf("got %v", diff)
	}
}

func TestDrivers(t *testing.T) {
	h := hosttest.Debian(t)
	got, err := blockdev.Drivers(h, "vda")
	if err != nil || !reflect.DeepEqual(got, []string{"virtio_blk", "virtio_pci"}) {
		t.Errorf("virtio: %v %v", got, err)
	}
	// NVMe with native multipath: the namespace hangs on a virtual subsystem, the controller on PCI.
	sub := "/sys/devices/virtual/nvme-subsystem/nvme-subsys0"
	ctrl := "/sys/devices/pci0000:00/0000:00:05.0"
	h.Put(sub+"/nvme0n1/size", "1\n")
	h.Put(ctrl+"/nvme/nvme0/model", "x\n")
	h.Link(sub+"/nvme0", "../../../pci0000:00/0000:00:05.0/nvme/nvme0")
	h.Link(ctrl+"/driver", "/sys/bus/pci/drivers/nvme")
	h.Link("/sys/bus/pci/drivers/nvme/module", "/sys/module/nvme")
	h.Link("/sys/class/block/nvme0n1", "../../devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1")
	if got, err = blockdev.Drivers(h, "nvme0n1"); err != nil || !reflect.DeepEqual(got, []string{"nvme"}) {
		t.Errorf("nvme: %v %v", got, err)
	}
}

func TestDiskOf(t *testing.T) {
	h := hosttest.Debian(t)
	h.Put("/sys/devices/platform/mmc/block/mmcblk0/mmcblk0p2/partition", "2\n")
	h.Link("/sys/class/block/mmcblk0p2", "../../devices/platform/mmc/block/mmcblk0/mmcblk0p2")
	h.Put("/sys/devices/virtual/block/dm-0/size", "1\n")
	h.Link("/sys/class/block/dm-0", "../../devices/virtual/block/dm-0")
	for part, want := range map[string]string{"vda1": "vda", "mmcblk0p2": "mmcblk0"} {
		if got, err := blockdev.DiskOf(h, part); err != nil || got != want {
			t.Errorf("%s: %s %v", part, got, err)
		}
	}
	for _, name := range []string{"dm-0", "vda"} {
		if _, err := blockdev.DiskOf(h, name); !errors.Is(err, blockdev.ErrLayered) {
			t.Errorf("%s: got %v, want ErrLayered", name, err)
		}
	}
}

func TestNamesAndPartitions(t *testing.T) {
	h := hosttest.Debian(t)
	h.Put("/sys/devices/virtual/block/loop0/size", "1\n")
	h.Link("/sys/block/loop0", "../devices/virtual/block/loop0")
	if got, err := blockdev.Names(h); err != nil || !reflect.DeepEqual(got, []string{"vda"}) {
		t.Errorf("names: %v %v", got, err)
	}
	if got, err := blockdev.Partitions(h, "vda"); err != nil || !reflect.DeepEqual(got, []string{"vda1"}) {
		t.Errorf("partitions: %v %v", got, err)
	}
}

// TestDriversOfDevices: the whole chain from the disk to its bus, for the disks that machines have.
func TestDriversOfDevices(t *testing.T) {
	for name, want := range map[string]struct {
		disk    string
		modules []string
	}{
		"x86-debian-9":       {"sda", []string{"sd_mod", "ahci"}},
		"x86-debian-11-emmc": {"mmcblk0", []string{"mmc_block", "sdhci_pci"}},
		"x86-ubuntu-20.04":   {"nvme0n1", []string{"nvme"}},
		"pi4-rpios-11":       {"mmcblk0", nil}, // all built in
	} {
		d := hosttest.LoadDevice(t, "../../testdata/roots/"+name+".txtar")
		if got, err := blockdev.Drivers(d, want.disk); err != nil || !reflect.DeepEqual(got, want.modules) {
			t.Errorf("%s: %v %v, want %v", name, got, err, want.modules)
		}
		root, err := blockdev.Mounts(d)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range root { // every partition belongs to the disk, whatever its name
			part, err := blockdev.NameOf(d, m)
			if err != nil {
				t.Fatal(err)
			}
			if disk, err := blockdev.DiskOf(d, part); err != nil || disk != want.disk {
				t.Errorf("%s: %s is on %q, %v", name, part, disk, err)
			}
		}
	}
}
