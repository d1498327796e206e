package precheck

import (
	"slices"
	"strings"
	"testing"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps/host/hosttest"
)

const (
	efivar    = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
	rootMount = " 254:1 / / rw,relatime shared:1 - ext4 "
)

// fault breaks one thing of a machine that is in order.
type fault struct {
	name  string
	do    func(t *testing.T, h *hosttest.Host, in *schema.Migration)
	block string // the checks that must block, no others
	got   string // part of what the first blocker found
}

func faults() []fault {
	return slices.Concat(systemFaults(), bootFaults(), diskFaults(), imageFaults(), configFaults(), networkFaults())
}

func osRelease(text string) func(*testing.T, *hosttest.Host, *schema.Migration) {
	return func(t *testing.T, h *hosttest.Host, _ *schema.Migration) { put(t, h, "/usr/lib/os-release", text) }
}

func systemFaults() []fault {
	return []fault{
		{"no root rights (S5)", func(_ *testing.T, h *hosttest.Host, _ *schema.Migration) { h.Unprivileged = true }, "root", "no root rights"},
		{"Debian 8", osRelease("ID=debian\nVERSION_ID=\"8\"\nPRETTY_NAME='Debian 8'"), "os", "Debian 8 (ID debian, VERSION_ID 8)"},
		{"Fedora", osRelease("ID=fedora\nVERSION_ID=43\nPRETTY_NAME=\"Fedora Linux 43\"\n"), "os", "Fedora Linux 43"},
		{"Ubuntu 12 (S48)", osRelease("ID=ubuntu\nVERSION_ID=\"12\"\n"), "os", "ID ubuntu"},
		{"Debian sid, without a version", osRelease("ID=debian\nPRETTY_NAME=\"Debian GNU/Linux trixie/sid\"\n"), "os", "trixie/sid"},
		{"no os-release", func(t *testing.T, h *hosttest.Host, _ *schema.Migration) {
			remove(t, h, "/usr/lib/os-release")
		}, "os", "/etc/os-release"},
		{"32-bit processor", func(_ *testing.T, h *hosttest.Host, _ *schema.Migration) { h.MachineName = "i686" }, "device-type", "no 64-bit mode"},
		{"processor without a build", func(_ *testing.T, h *hosttest.Host, _ *schema.Migration) { h.MachineName = "riscv64" }, "arch device-type", "riscv64"},
		{"ARM without a device tree", func(_ *testing.T, h *hosttest.Host, _ *schema.Migration) { h.MachineName = "aarch64" }, "device-type", "neither a device tree nor EFI"},
		{"kernel removed by an upgrade", func(t *testing.T, h *hosttest.Host, _ *schema.Migration) {
			remove(t, h, "/boot/vmlinuz-"+machines()[0].release)
		}, "kernel", "vmlinuz"},
		{"modules removed", func(t *testing.T, h *hosttest.Host, _ *schema.Migration) {
			remove(t, h, "/usr/lib/modules/"+machines()[0].release+"/modules.dep")
		}, "kernel", "modules.dep"},
		{"kernel without FAT", func(t *testing.T, h *hosttest.Host, _ *schema.Migration) {
			change(t, h, "/usr/lib/modules/"+machines()[0].release+"/modules.dep", "kernel/fs/fat/vfat.ko:", "kernel/fs/fat/other.ko:")
		}, "kernel", "no module vfat"},
		{"kernel without the disk's driver", func(t *testing.T, h *hosttest.Host, _ *schema.Migration) {
			change(t, h, "/usr/lib/modules/"+machines()[0].release+"/modules.dep", "block/virtio_blk.ko:", "block/other.ko:")
		}, "kernel", "no module virtio_blk"},
		{"too little memory (F7)", func(t *testing.T, h *hosttest.Host, _ *schema.Migration) {
			change(t, h, "/proc/meminfo", "981464 kB", "163840 kB")
		}, "memory", "160 MiB"},
		{"memory for the image, but not to stay free (S29)", func(_ *testing.T, _ *hosttest.Host, in *schema.Migration) {
			in.Config.Stage2.MinFreeMB = 900
		}, "memory", "958 MiB"},
		{"image larger than memory and the disk's end", func(_ *testing.T, _ *hosttest.Host, in *schema.Migration) {
			in.Facts.Image = prepared("", 1990<<20, 2<<30)
		}, "memory", "958 MiB"},
		{"no meminfo", func(t *testing.T, h *hosttest.Host, _ *schema.Migration) { remove(t, h, "/proc/meminfo") }, "memory", "/proc/meminfo"},
		{"no space (S39)", func(_ *testing.T, h *hosttest.Host, _ *schema.Migration) { h.FreeBytes = 60 << 20 }, "space", "60 MiB"},
	}
}

func bootFaults() []fault {
	return []fault{
		{"secure boot (P21)", func(_ *testing.T, h *hosttest.Host, _ *schema.Migration) {
			h.Put(efivar, "\x06\x00\x00\x00\x01")
		}, "secure-boot", "on"},
		{"32-bit EFI", func(_ *testing.T, h *hosttest.Host, _ *schema.Migration) {
			h.Put(efivar, "\x06\x00\x00\x00\x00")
			h.Put("/sys/firmware/efi/fw_platform_size", "32\n")
		}, "boot-loader", "32 bits"},
		{"another boot loader", func(t *testing.T, h *hosttest.Host, _ *schema.Migration) { remove(t, h, "/boot/grub/grub.cfg") }, "boot-loader", "grub.cfg"},
		{"grub.cfg by hand", func(t *testing.T, h *hosttest.Host, _ *schema.Migration) {
			put(t, h, "/boot/grub/grub.cfg", "linux /vmlinuz\n")
		}, "boot-loader", "without next_entry"},
		{"damaged grubenv (S109)", func(t *testing.T, h *hosttest.Host, _ *schema.Migration) {
			put(t, h, "/boot/grub/grubenv", "next_entry=\n")
		}, "grubenv", "12 bytes"},
	}
}

func diskFaults() []fault {
	mount := func(to string) func(*testing.T, *hosttest.Host, *schema.Migration) {
		return func(t *testing.T, h *hosttest.Host, _ *schema.Migration) { change(t, h, mountinfo, rootMount, to) }
	}
	return []fault{
		{"root on LVM (D2)", func(t *testing.T, h *hosttest.Host, _ *schema.Migration) {
			change(t, h, mountinfo, rootMount, " 253:0 / / rw,relatime shared:1 - ext4 ")
			h.Link("/sys/dev/block/253:0", "../../devices/virtual/block/dm-0")
			h.Link("/sys/class/block/dm-0", "../../devices/virtual/block/dm-0")
			h.Put("/sys/devices/virtual/block/dm-0/size", "6287360\n")
			sparse(t, h.Root(), "/dev/dm-0", 1<<20, map[int64][]byte{0: superblock(t, rootUUID)})
		}, "grubenv disk", "device-mapper"},
		{"/boot on another disk (S51)", func(t *testing.T, h *hosttest.Host, _ *schema.Migration) {
			otherDisk(t, h)
			h.Put(mountinfo, mountsOf(h)+"99 27 254:17 / /boot rw - ext4 /dev/vdb1 rw\n")
		}, "disk", "the file system of /boot is on /dev/vdb"},
		{"EFI system partition on another disk (S51)", func(t *testing.T, h *hosttest.Host, _ *schema.Migration) {
			otherDisk(t, h)
			h.Put(mountinfo, mountsOf(h)+"99 27 254:17 / /boot/efi rw - vfat /dev/vdb1 rw\n")
		}, "disk", "/boot/efi is on /dev/vdb"},
		{"root in a container", mount(" 0:50 / / rw,relatime shared:1 - overlay "), "grubenv disk", "overlay"},
		{"root on ext3", mount(" 254:1 / / rw,relatime shared:1 - ext3 "), "disk", "the root file system: ext3"},
		{"root read-only after an error", mount(" 254:1 / / ro,relatime shared:1 - ext4 "), "disk", "mounted read-only"},
		{"another target (D14)", func(_ *testing.T, _ *hosttest.Host, in *schema.Migration) { in.Config.Disk.Target = "/dev/sdb" }, "disk", "/dev/sdb"},
		{"no partition table", func(t *testing.T, h *hosttest.Host, _ *schema.Migration) {
			sparse(t, h.Root(), "/dev/vda", diskSize, nil)
		}, "disk", "partition table"},
		{"4Kn", func(_ *testing.T, h *hosttest.Host, _ *schema.Migration) {
			h.Put(sysDisk+"/queue/logical_block_size", "4096\n")
		}, "disk", "sectors of 4096 bytes"},
		{"write-protected", func(_ *testing.T, h *hosttest.Host, _ *schema.Migration) { h.Put(sysDisk+"/ro", "1\n") }, "disk", "write-protected"},
		{"a clone beside it", clone, "disk", "/dev/vdb"},
		{"work dir in memory", func(_ *testing.T, h *hosttest.Host, _ *schema.Migration) {
			h.Put(mountinfo, mountsOf(h)+"99 27 0:77 / /var/lib rw - tmpfs tmpfs rw\n")
		}, "disk", "the work dir"},
		{"work dir on f2fs", func(t *testing.T, h *hosttest.Host, _ *schema.Migration) {
			secondPartition(t, h)
			h.Put(mountinfo, mountsOf(h)+"99 27 254:2 / /var rw - f2fs /dev/vda2 rw\n")
		}, "disk", "f2fs"},
		{"boot loader to be installed (S57)", func(_ *testing.T, _ *hosttest.Host, in *schema.Migration) {
			in.Config.Boot.Grub.Install = "files"
		}, "options", "boot.grub.install"},
		{"bad blocks to be tested (S31)", func(_ *testing.T, _ *hosttest.Host, in *schema.Migration) {
			in.Config.Disk.MaxBadBlocks = "101%"
		}, "options", "disk.max_bad_blocks"},
		{"slow (S32, S53)", func(_ *testing.T, h *hosttest.Host, in *schema.Migration) {
			in.Config.Disk.MinWriteKBs = 200
			h.Put(sysDisk+"/stat", "0 0 0 0 9 0 20000 100000 0 100000 100000 0 0 0 0 0 0\n")
		}, "write-speed", "102 kB/s"},
	}
}

func mountsOf(h *hosttest.Host) string {
	data, _ := h.ReadFile(mountinfo)
	return string(data)
}

// clone adds a second disk with all the marks of the first.
func clone(t *testing.T, h *hosttest.Host, _ *schema.Migration) {
	dir := strings.Replace(sysDisk, "virtio0/block/vda", "virtio9/block/vdb", 1)
	h.Put(dir+"/size", "6291456\n")
	h.Put(dir+"/serial", "LAB0001")
	h.Put(dir+"/queue/logical_block_size", "512\n")
	h.Link("/sys/block/vdb", ".."+strings.TrimPrefix(dir, "/sys"))
	h.Link("/sys/class/block/vdb", "../.."+strings.TrimPrefix(dir, "/sys"))
	sparse(t, h.Root(), "/dev/vdb", diskSize, map[int64][]byte{0: machines()[0].bootRecord(t)})
}

// otherDisk adds a disk with one partition.
func otherDisk(t *testing.T, h *hosttest.Host) {
	dir := strings.Replace(sysDisk, "virtio0/block/vda", "virtio9/block/vdb", 1)
	h.Put(dir+"/vdb1/partition", "1\n")
	h.Link("/sys/class/block/vdb1", "../.."+strings.TrimPrefix(dir, "/sys")+"/vdb1")
	h.Link("/sys/dev/block/254:17", "../.."+strings.TrimPrefix(dir, "/sys")+"/vdb1")
	sparse(t, h.Root(), "/dev/vdb1", 1<<20, map[int64][]byte{0: superblock(t, "1ab00000-0b00-4000-8000-000000000002")})
}

func secondPartition(t *testing.T, h *hosttest.Host) {
	h.Put(sysDisk+"/vda2/partition", "2\n")
	h.Link("/sys/class/block/vda2", "../.."+strings.TrimPrefix(sysDisk, "/sys")+"/vda2")
	h.Link("/sys/dev/block/254:2", "../.."+strings.TrimPrefix(sysDisk, "/sys")+"/vda2")
	sparse(t, h.Root(), "/dev/vda2", 1<<20, map[int64][]byte{0: superblock(t, "1ab00000-0b00-4000-8000-000000000002")})
}

func configJSON(from, to string) func(*testing.T, *hosttest.Host, *schema.Migration) {
	return func(t *testing.T, h *hosttest.Host, _ *schema.Migration) { change(t, h, configName, from, to) }
}

func configFaults() []fault {
	return []fault{
		{"no config.json", func(_ *testing.T, _ *hosttest.Host, in *schema.Migration) { in.Config.Balena.ConfigJSON = "" }, "config-json", "no balena.config_json"},
		{"config.json missing", func(t *testing.T, h *hosttest.Host, _ *schema.Migration) { remove(t, h, configName) }, "config-json", configName},
		{"config.json is a directory", func(_ *testing.T, _ *hosttest.Host, in *schema.Migration) { in.Config.Balena.ConfigJSON = "/home" }, "config-json", "not a regular file"},
		{"config.json is no JSON (S60)", func(t *testing.T, h *hosttest.Host, _ *schema.Migration) {
			put(t, h, configName, "{"+canary)
		}, "config-json", "not JSON"},
		{"config.json is an image", func(_ *testing.T, _ *hosttest.Host, in *schema.Migration) {
			in.Config.Balena.ConfigJSON = imageFile
		}, "config-json", "bytes"},
		{"config.json without keys (E3)", configJSON(`"apiKey"`, `"noKey"`), "config-json", "apiKey: missing"},
		{"application as a text", configJSON("1234567", `"my-fleet"`), "config-json", "applicationId: a text"},
		{"config.json of a Pi (E6)", configJSON("genericx86-64-ext", "raspberrypi4-64"), "device-type", "raspberrypi4-64"},
		{"image of another than was asked for", func(_ *testing.T, _ *hosttest.Host, in *schema.Migration) {
			in.Facts.Image = prepared("genericx86-64-ext", 1<<20, 1<<20)
			in.Config.Image.DeviceType = "intel-nuc"
		}, "device-type", "an image for genericx86-64-ext"},
		{"image for another processor, though asked for", func(_ *testing.T, _ *hosttest.Host, in *schema.Migration) {
			in.Facts.Image = prepared("raspberrypi3", 1<<20, 1<<20)
			in.Facts.Image.Arch, in.Config.Image.DeviceType = "armv7hf", "raspberrypi3"
		}, "device-type", "an image for armv7hf"},
		{"image of another type (E38)", func(_ *testing.T, _ *hosttest.Host, in *schema.Migration) {
			in.Facts.Image = prepared("intel-nuc", 1<<20, 1<<20)
		}, "device-type", "an image for intel-nuc"},
		{"qemux86-64 on hardware (E5)", func(t *testing.T, h *hosttest.Host, _ *schema.Migration) {
			change(t, h, "/sys/devices/virtual/dmi/id/sys_vendor", "QEMU", "Dell Inc.")
			change(t, h, configName, "genericx86-64-ext", "qemux86-64")
		}, "device-type", "qemux86-64"},
	}
}

func networkFaults() []fault {
	return []fault{
		{"API not reachable (S40)", func(_ *testing.T, h *hosttest.Host, _ *schema.Migration) { h.Reachable = h.Reachable[1:] }, "api", "api.balena-cloud.com:443"},
		{"VPN not reachable (S40)", func(_ *testing.T, h *hosttest.Host, _ *schema.Migration) { h.Reachable = h.Reachable[:1] }, "vpn", "cloudlink.balena-cloud.com:443"},
		{"no host in the URL", func(_ *testing.T, _ *hosttest.Host, in *schema.Migration) { in.Config.Balena.APIURL = "https://" }, "api", "https://"},
	}
}

func TestOneFault(t *testing.T) {
	for _, f := range faults() {
		t.Run(f.name, func(t *testing.T) {
			h, in := machines()[0].start(t)
			f.do(t, h, in)
			res := converge(t, h, in)
			if got := strings.Join(names(res.Blocked), " "); got != f.block {
				t.Fatalf("blocked by %q, want %q: %+v", got, f.block, res.Blocked)
			}
			found := false
			for _, b := range res.Blocked {
				found = found || strings.Contains(b.Got, f.got)
				if b.Got == "" || b.Want == "" || b.Remedy == "" {
					t.Errorf("incomplete: %+v", b)
				}
				if c := status(t, res, b.Check); c.Status != "block" || !strings.Contains(c.Got, b.Got) {
					t.Errorf("fact %+v for blocker %+v", c, b)
				}
			}
			if !found {
				t.Errorf("no blocker says %q: %+v", f.got, res.Blocked)
			}
		})
	}
}

// TestOverlayRemedy: who runs it in a container, or on a Raspberry Pi with raspi-config's overlay, has no RAID to name a disk of.
func TestOverlayRemedy(t *testing.T) {
	for root, want := range map[string]string{
		" 0:50 / / rw,relatime shared:1 - overlay ": "switch the overlay off",
		" 0:50 / / rw,relatime shared:1 - zfs ":     "disk.target",
	} {
		h, in := machines()[0].start(t)
		change(t, h, mountinfo, rootMount, root)
		blocked := converge(t, h, in).Blocked
		i := slices.IndexFunc(blocked, func(b schema.Blocked) bool { return b.Check == "disk" })
		if i < 0 || !strings.Contains(blocked[i].Remedy, want) {
			t.Errorf("root on%s: %+v; want a disk blocker that says %q", root, blocked, want)
		}
	}
}

// breakAll makes every check block at once.
func breakAll(t *testing.T, h *hosttest.Host, in *schema.Migration) {
	t.Helper()
	do := func(f fault) { f.do(t, h, in) }
	put(t, h, "/usr/lib/os-release", "ID=ubuntu\n")
	remove(t, h, "/boot/vmlinuz-"+machines()[0].release)
	h.Put(efivar, "\x06\x00\x00\x00\x01")
	h.Put("/sys/firmware/efi/fw_platform_size", "32\n")
	put(t, h, "/boot/grub/grubenv", "short")
	h.Put(sysDisk+"/ro", "1\n")
	h.Put(sysDisk+"/device/life_time", "0x0b 0x01\n")
	sparse(t, h.Root(), imageFile, 51<<20, map[int64][]byte{0: gzipped(t, imageHead(4<<30))})
	h.Put("/proc/meminfo", "MemTotal: 65536 kB\n")
	change(t, h, configName, `"apiKey"`, `"noKey"`)
	do(diskFaults()[len(diskFaults())-1])
	in.Facts.Image, in.Config.Disk.MaxBadBlocks = prepared("intel-nuc", 51<<20, 4<<30), "300%"
	h.Unprivileged, h.MachineName, h.FreeBytes, h.Reachable = true, "riscv64", 1<<20, nil
}

func TestAllFaultsAtOnce(t *testing.T) {
	h, in := machines()[0].start(t)
	breakAll(t, h, in)
	res := converge(t, h, in)
	var want []string
	for _, c := range checks() {
		want = append(want, c.name)
	}
	if got := names(res.Blocked); !slices.Equal(got, want) {
		t.Errorf("blocked by %v, want %v", got, want)
	}
}
