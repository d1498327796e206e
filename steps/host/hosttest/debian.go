package hosttest

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What Debian is made of.
const (
	Release  = "6.1.0-test-amd64"
	RootUUID = "11111111-2222-4333-8444-555555555555"
	BootID   = "0c0c0c0c-1111-2222-3333-444444444444"
	DiskID   = "1a2b3c4d"
	Serial   = "LAB0001"
	// DiskSize is the disk's size in bytes; there is one partition on it, from the first MiB to the end.
	DiskSize = 64 << 20
)

// Debian makes a machine with GRUB in BIOS mode and one ext4 partition on a virtio disk.
func Debian(t testing.TB) *Host {
	t.Helper()
	h := New(t, map[string]string{
		"/etc/os-release":                              "ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n",
		"/etc/hostname":                                "lab\n",
		"/boot/vmlinuz-" + Release:                     "kernel",
		"/boot/initrd.img-" + Release:                  "initrd",
		"/boot/grub/grub.cfg":                          "if [ \"${next_entry}\" ] ; then\n  set default=\"${next_entry}\"\nfi\nsource $prefix/custom.cfg\n",
		"/boot/grub/grubenv":                           Grubenv(""),
		"/lib/modules/" + Release + "/modules.builtin": "kernel/fs/nls/nls_base.ko\n",
		"/lib/modules/" + Release + "/modules.softdep": "softdep ext4 pre: crypto-crc32c\n",
		"/lib/modules/" + Release + "/modules.alias":   "alias crypto-crc32c crc32c_generic\nalias pci:v* virtio_pci\n",
		"/lib/modules/" + Release + "/modules.dep":     modulesDep,
	})
	for line := range strings.SplitSeq(strings.TrimSpace(modulesDep), "\n") {
		file, _, _ := strings.Cut(line, ":")
		h.Put("/lib/modules/"+Release+"/"+file, "module "+filepath.Base(file))
	}
	h.Running(Release)
	h.Disk("vda", Serial)
	return h
}

// Running adds what a kernel of this release shows in /proc when its root is the first partition of the disk vda.
func (h *Host) Running(release string) {
	h.t.Helper()
	for name, content := range map[string]string{
		"/proc/cmdline":                   "BOOT_IMAGE=/boot/vmlinuz-" + release + " root=UUID=" + RootUUID + " ro console=ttyS0\n",
		"/proc/sys/kernel/arch":           "x86_64\n",
		"/proc/sys/kernel/osrelease":      release + "\n",
		"/proc/sys/kernel/random/boot_id": BootID + "\n",
		"/proc/meminfo":                   "MemTotal:        1000000 kB\nMemFree:          700000 kB\nMemAvailable:     800000 kB\n",
		"/proc/filesystems":               "nodev\tsysfs\n\text4\n\tvfat\n",
		"/proc/self/mountinfo":            "22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,errors=remount-ro\n",
	} {
		h.Put(name, content)
	}
}

const modulesDep = `kernel/drivers/block/virtio_blk.ko: kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko
kernel/drivers/virtio/virtio_pci.ko: kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko
kernel/drivers/virtio/virtio_ring.ko: kernel/drivers/virtio/virtio.ko
kernel/drivers/virtio/virtio.ko:
kernel/crypto/crc32c_generic.ko:
kernel/lib/libcrc16.ko:
kernel/fs/jbd2/jbd2.ko:
kernel/fs/ext4/ext4.ko: kernel/lib/libcrc16.ko kernel/fs/jbd2/jbd2.ko
kernel/fs/fat/fat.ko:
kernel/fs/fat/vfat.ko: kernel/fs/fat/fat.ko
kernel/fs/nls/nls_cp437.ko:
kernel/fs/nls/nls_ascii.ko:
`

// Grubenv is a block with these lines in it.
func Grubenv(lines string) string {
	text := "# GRUB Environment Block\n" + lines
	return text + strings.Repeat("#", 1024-len(text))
}

// Disk adds a virtio disk with an MBR and one ext4 partition, in /sys and as sparse files in /dev.
func (h *Host) Disk(name, serial string) {
	h.t.Helper()
	bus := "/sys/devices/pci0000:00/0000:00:03.0"
	disk := bus + "/virtio1/block/" + name
	part := disk + "/" + name + "1"
	h.Put(disk+"/size", fmt.Sprintln(DiskSize/512))
	h.Put(disk+"/serial", serial)
	h.Put(disk+"/queue/logical_block_size", "512\n")
	h.Put(part+"/size", fmt.Sprintln((DiskSize-1<<20)/512))
	h.Put(part+"/partition", "1\n")
	h.Link(disk+"/device", "../../../virtio1")
	h.Link(bus+"/driver", "/sys/bus/pci/drivers/virtio-pci")
	h.Link("/sys/bus/pci/drivers/virtio-pci/module", "/sys/module/virtio_pci")
	h.Link(bus+"/virtio1/driver", "/sys/bus/virtio/drivers/virtio_blk")
	h.Link("/sys/bus/virtio/drivers/virtio_blk/module", "/sys/module/virtio_blk")
	h.Link("/sys/block/"+name, ".."+strings.TrimPrefix(disk, "/sys"))
	h.Link("/sys/class/block/"+name, "../.."+strings.TrimPrefix(disk, "/sys"))
	h.Link("/sys/class/block/"+name+"1", "../.."+strings.TrimPrefix(part, "/sys"))
	h.Link("/sys/dev/block/254:0", "../.."+strings.TrimPrefix(disk, "/sys"))
	h.Link("/sys/dev/block/254:1", "../.."+strings.TrimPrefix(part, "/sys"))
	super := Superblock(h.t, RootUUID, "rootfs")
	h.sparse("/dev/"+name, DiskSize, map[int64][]byte{0: MBR((DiskSize - 1<<20) / 512), 1 << 20: super})
	h.sparse("/dev/"+name+"1", DiskSize-1<<20, map[int64][]byte{0: super})
}

// sparse writes a file with these parts and zeros between them.
func (h *Host) sparse(name string, size int64, parts map[int64][]byte) {
	h.t.Helper()
	h.Put(name, "")
	p := filepath.Join(h.Root(), name)
	if err := os.Truncate(p, size); err != nil {
		h.t.Fatal(err)
	}
	f, err := os.OpenFile(p, os.O_WRONLY, 0)
	if err != nil {
		h.t.Fatal(err)
	}
	defer f.Close()
	for off, data := range parts {
		if _, err := f.WriteAt(data, off); err != nil {
			h.t.Fatal(err)
		}
	}
}

// MBR is a boot sector with the disk signature and one Linux partition from 1 MiB on, of so many sectors.
func MBR(sectors uint32) []byte {
	b := make([]byte, 512)
	id, _ := hex.DecodeString(DiskID)
	binary.LittleEndian.PutUint32(b[440:], binary.BigEndian.Uint32(id))
	entry := b[446:]
	entry[0], entry[4] = 0x80, 0x83
	binary.LittleEndian.PutUint32(entry[8:], 2048)
	binary.LittleEndian.PutUint32(entry[12:], sectors)
	b[510], b[511] = 0x55, 0xaa
	return b
}

// Superblock is the beginning of an ext4 file system (Documentation/filesystems/ext4/super.rst): enough to know it by.
func Superblock(t testing.TB, uuid, label string) []byte {
	t.Helper()
	b := make([]byte, 4096)
	s := b[1024:]
	binary.LittleEndian.PutUint32(s[0x00:], 8)                // inodes
	binary.LittleEndian.PutUint32(s[0x04:], (DiskSize>>12)-1) // blocks
	binary.LittleEndian.PutUint32(s[0x18:], 2)                // log2(block size) - 10
	binary.LittleEndian.PutUint16(s[0x38:], 0xEF53)
	binary.LittleEndian.PutUint32(s[0x4C:], 1)    // dynamic revision
	binary.LittleEndian.PutUint32(s[0x5C:], 0x4)  // has_journal
	binary.LittleEndian.PutUint32(s[0x60:], 0x40) // extents
	id, err := hex.DecodeString(strings.ReplaceAll(uuid, "-", ""))
	if err != nil {
		t.Fatal(err)
	}
	copy(s[0x68:], id)
	copy(s[0x78:], label)
	return b
}
