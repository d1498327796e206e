package precheck

import (
	"strings"
	"testing"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps/host/hosttest"
)

// D2: what is below the root decides, and precheck says what there is to know before a migration by kexec.
func TestKexec(t *testing.T) {
	const (
		esp  = "30 20 8:1 / /boot/efi rw - vfat /dev/sda1 rw\n"
		boot = "31 20 8:2 / /boot rw - ext4 /dev/sda2 rw\n"
		zfs  = "20 1 0:25 / / rw - zfs rpool/ROOT/debian rw\n21 20 0:26 / /boot rw - zfs bpool/BOOT/debian rw\n"
		dm   = "20 1 253:0 / / rw - ext4 /dev/mapper/vg-dm-0 rw\n"
	)
	mounts := func(text string) func(*hosttest.Device, *schema.Migration) {
		return func(d *hosttest.Device, _ *schema.Migration) { d.Put(mountinfo, text) }
	}
	for _, c := range []struct {
		name, device    string
		change          func(d *hosttest.Device, in *schema.Migration)
		blocked, method string // the checks that block
		says            string // in a blocker, a warning or a check
	}{
		{name: "zfs, no disk named", device: "x86-debian-12-luks-efi", change: mounts(zfs + esp), blocked: "disk", says: "name one of its disks"},
		{name: "zfs", device: "x86-debian-12-luks-efi", change: func(d *hosttest.Device, in *schema.Migration) {
			d.Put(mountinfo, zfs+esp)
			in.Config.Disk.Target = "/dev/sda"
		}, method: "kexec", says: "travel in the initramfs"},
		{name: "nowhere to leave word", device: "x86-debian-12-lvm", change: mounts(dm), method: "kexec", says: "stage2.log_device"},
		{name: "RAID, no disk named", device: "x86-debian-12-lvm", change: raid(""), blocked: "disk", says: "/dev/sda and /dev/sdb: expected one disk"},
		{name: "RAID", device: "x86-debian-12-lvm", change: raid("/dev/sda"), method: "kexec", says: "/dev/sdb stays as it is"},
		{name: "work dir in memory", device: "x86-debian-12-lvm", change: mounts(dm + boot + "40 20 0:50 / /var/lib rw - tmpfs tmpfs rw\n"), blocked: "disk", says: "outlasts a reboot"},
		{name: "no memory to load it", device: "x86-debian-12-lvm", change: func(d *hosttest.Device, _ *schema.Migration) {
			d.Put("/proc/meminfo", "MemTotal: 1000000 kB\nMemAvailable: 150000 kB\n")
		}, blocked: "memory", says: "to load the initramfs for kexec"},
		{name: "no memory to unpack it", device: "x86-debian-12-lvm", change: func(d *hosttest.Device, _ *schema.Migration) {
			d.Put("/proc/meminfo", "MemTotal: 230000 kB\nMemAvailable: 220000 kB\n")
		}, blocked: "memory", says: "travel in the initramfs"},
		{name: "no room for the second copy", device: "x86-debian-12-lvm", change: func(d *hosttest.Device, _ *schema.Migration) { d.FreeBytes = 100 << 20 }, blocked: "space", says: "MiB free"},
		{name: "no driver for the file system", device: "x86-debian-12-btrfs", change: func(d *hosttest.Device, _ *schema.Migration) {
			d.Put("/lib/modules/"+d.Release+"/modules.dep", "kernel/x/ext4.ko:\nkernel/x/vfat.ko:\nkernel/x/sd_mod.ko:\nkernel/x/ahci.ko:\n")
		}, blocked: "kernel", says: "no module btrfs"},
		{name: "Secure Boot", device: "x86-debian-12-luks-efi", change: func(d *hosttest.Device, _ *schema.Migration) {
			d.Put("/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c", "\x06\x00\x00\x00\x01")
			d.Put("/sys/kernel/security/lockdown", "none [integrity] confidentiality\n")
		}, blocked: "secure-boot boot-loader disk", says: "locked down"},
		{name: "asked for", device: "x86-debian-12-xfs", change: func(_ *hosttest.Device, in *schema.Migration) { in.Config.Boot.Method = "kexec" }, method: "kexec", says: "read in place"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, in := device(t, rootsDir+"/"+c.device+".txtar")
			c.change(d, in)
			res := converge(t, d.Host, in)
			text, err := schema.Encode(res)
			if err != nil || !strings.Contains(string(text), c.says) {
				t.Errorf("does not say %q: %v\n%s", c.says, err, text)
			}
			if got := strings.Join(names(res.Blocked), " "); got != c.blocked || c.method != "" && res.Facts.Host.BootMethod != c.method {
				t.Errorf("blocked by %q, want %q; method %q: %+v", got, c.blocked, res.Facts.Host.BootMethod, res.Blocked)
			}
		})
	}
}

// raid puts the volume of the root over a second disk too.
func raid(wanted string) func(*hosttest.Device, *schema.Migration) {
	return func(d *hosttest.Device, in *schema.Migration) {
		d.Put("/sys/devices/pci1/block/sdb/size", "8388608\n")
		d.Link("/sys/block/sdb", "/sys/devices/pci1/block/sdb")
		d.Link("/sys/class/block/sdb", "/sys/devices/pci1/block/sdb")
		d.Link("/sys/devices/virtual/block/dm-0/slaves/sdb", "/sys/class/block/sdb")
		in.Config.Disk.Target = wanted
	}
}
