package hosttest

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/balena-community/balena-migrate/steps/host"
)

// Device is a fake machine of testdata/roots that is described by one file: what its /proc, /sys and /etc say, and in
// the lines before them what is made up around that:
//
//	machine  aarch64                 what uname -m prints
//	release  6.6.51+rpt-rpi-v8       the running kernel; "kernel" and "initrd" name its files
//	userland armhf                   what /bin/sh is built for
//	disk     DIR MBR|GPT ID MAJOR    the disk's directory in /sys, its table and its major number
//	attr     NAME VALUE              an attribute of the disk
//	driver   NODE DRIVER MODULE      what drives a node on the way to the disk; "-" for what is built in
//	part     N TYPE UUID MOUNT LABEL a partition of 64 MiB; "-" for what is not mounted; the label may be missing; a btrfs with its subvolume @rootfs
//	init     systemd                 what runs as process 1
//	cell     PATH NUMBER             a number of the device tree, of 32 bits
//	volume   NAME TYPE UUID MOUNT N  a device-mapper volume on partition N
//	kexec    FILE                    the running kernel, which can load one for kexec, under systemd
//	blocked  CHECK…                  the checks of precheck that block, none where a migration can begin
//	config   SLUG                    the device type of the fleet's config.json
//	builtin  MODULE…                 modules that the kernel has built in
//	grubenv  NAME=VALUE|-            a variable of GRUB's environment block
//	efi      BITS on|off|none        EFI firmware, and what its variable SecureBoot says
//
// Lines in a file below /sys/firmware/devicetree are strings with a NUL at their end.
type Device struct {
	*Host
	Name, Slug string
	Blocked    []string
	Release    string
}

// Devices lists the files.
func Devices(t testing.TB, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %d devices, %v", dir, len(files), err)
	}
	return files
}

// LoadDevice makes the machine that a file describes.
func LoadDevice(t testing.TB, file string) *Device {
	t.Helper()
	ar, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	d := &Device{Host: New(t, nil), Name: strings.TrimSuffix(filepath.Base(file), ".txtar")}
	for _, f := range ar.Files {
		text := string(f.Data)
		if strings.HasPrefix(f.Name, "sys/firmware/devicetree/") {
			text = strings.ReplaceAll(text, "\n", "\x00")
		}
		d.Put("/"+f.Name, text)
	}
	if _, err := d.Stat("/sys/firmware/devicetree/base"); err == nil {
		d.Link("/proc/device-tree", "/sys/firmware/devicetree/base")
	}
	d.Put("/proc/sys/kernel/random/boot_id", BootID+"\n")
	d.Put("/proc/meminfo", "MemTotal:        1000000 kB\nMemFree:          700000 kB\nMemAvailable:     800000 kB\n")
	made := &layout{d: d}
	for line := range strings.SplitSeq(string(ar.Comment), "\n") {
		if f := strings.Fields(line); len(f) > 1 {
			made.line(f[0], f[1:])
		}
	}
	made.finish()
	return d
}

// deviceSize is the size of a Device's disk in bytes.
const deviceSize = 4 << 30

// layout is what the lines say, for what can only be made at the end.
type layout struct {
	d       *Device
	disk    string // its directory in /sys
	table   string
	id      string
	major   string
	parts   []part
	volumes []volume
	modules []string
	builtin []string
}

type part struct {
	number, fstype, uuid, mount, label string
}

// volume lies on the partition of its number.
type volume struct {
	part
	name string
}

func (l *layout) line(key string, f []string) {
	d := l.d
	switch key {
	case "machine":
		d.MachineName = f[0]
		d.Put("/proc/sys/kernel/arch", f[0]+"\n")
	case "release":
		d.Release = f[0]
		d.Put("/proc/sys/kernel/osrelease", f[0]+"\n")
	case "kernel", "initrd":
		d.Put(f[0], key)
	case "userland":
		d.Put("/bin/sh", elfHeader(d.t, f[0]))
	case "disk":
		l.disk, l.table, l.id, l.major = f[0], f[1], f[2], f[3]
	case "attr":
		d.Put(l.disk+"/"+f[0], strings.Join(f[1:], " ")+"\n")
	case "driver":
		l.driver(f[0], f[1], f[2])
	case "volume":
		l.volumes = append(l.volumes, volume{part{number: f[4], fstype: f[1], uuid: f[2], mount: f[3]}, f[0]})
	case "kexec":
		d.Put(f[0], strings.Repeat("\x00", 0x202)+"HdrS")
		d.Put(host.KexecLoaded, "0\n")
		d.Put("/run/systemd/system/x.conf", "")
	case "part":
		l.parts = append(l.parts, part{f[0], f[1], f[2], f[3], strings.Join(f[4:], " ")})
	case "init":
		if err := os.MkdirAll(filepath.Join(d.Root(), "run", f[0], "system"), 0o755); err != nil {
			d.t.Fatal(err)
		}
	case "cell":
		n, err := strconv.ParseUint(f[1], 0, 32)
		if err != nil {
			d.t.Fatal(err)
		}
		d.Put("/sys/firmware/devicetree/base/"+f[0], string(binary.BigEndian.AppendUint32(nil, uint32(n))))
	case "blocked":
		d.Blocked = f
	case "config":
		d.Slug = f[0]
	case "efi":
		d.Put("/sys/firmware/efi/fw_platform_size", f[0]+"\n")
		d.Put("/sys/firmware/efi/efivars/BootCurrent-8be4df61-93ca-11d2-aa0d-00e098032b8c", "\x06\x00\x00\x00\x00\x00")
		if value, ok := map[string]string{"on": "\x01", "off": "\x00"}[f[1]]; ok {
			d.Put("/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c", "\x06\x00\x00\x00"+value)
		}
	case "grubenv":
		d.Put("/boot/grub/grubenv", Grubenv(strings.TrimPrefix(f[0]+"\n", "-\n")))
	case "builtin":
		l.builtin = append(l.builtin, f...)
	}
}

// driver links a node of the disk's path to its driver.
func (l *layout) driver(node, driver, module string) {
	before, _, found := strings.Cut(l.disk+"/", "/"+node+"/")
	if !found {
		l.d.t.Fatalf("%s: driver of %s, which is not in %s", l.d.Name, node, l.disk)
	}
	at := "/sys/bus/any/drivers/" + driver
	l.d.Link(before+"/"+node+"/driver", at)
	if module == "-" {
		l.d.Put(at+"/bind", "")
		return
	}
	l.d.Link(at+"/module", "/sys/module/"+module)
	l.modules = append(l.modules, module)
}

func (l *layout) finish() {
	l.kernelModules()
	if l.disk == "" {
		return
	}
	d, name := l.d, path.Base(l.disk)
	device := path.Dir(l.disk)
	if path.Base(device) == "block" {
		device = path.Dir(device)
	}
	d.Put(l.disk+"/size", fmt.Sprintln(deviceSize/512))
	d.Put(l.disk+"/queue/logical_block_size", "512\n")
	d.Put(l.disk+"/stat", "0 0 0 0 0 0 0 0 0 0 0\n")
	d.Link(l.disk+"/device", device)
	for _, dir := range []string{"/sys/block/", "/sys/class/block/"} {
		d.Link(dir+name, l.disk)
	}
	d.Link("/sys/dev/block/"+l.major+":0", l.disk)
	contents := map[int64][]byte{}
	var mounts strings.Builder
	var entries []tableEntry
	for i, p := range l.parts {
		start, size := int64(1+i*64)<<20, int64(63)<<20
		entries = append(entries, tableEntry{number: atoi(d.t, p.number), start: start, size: size, fat: p.fstype == "vfat"})
		l.partition(&mounts, p, contents, start, size)
	}
	for i, v := range l.volumes {
		l.volume(&mounts, v, i)
	}
	for off, b := range partitionTable(d.t, l.table, l.id, deviceSize, entries) {
		contents[off] = b
	}
	d.sparse("/dev/"+name, deviceSize, contents)
	d.Put("/proc/self/mountinfo", mounts.String())
}

// partition makes one partition in /sys and /dev, and its mount.
func (l *layout) partition(mounts *strings.Builder, p part, disk map[int64][]byte, start, size int64) {
	d, name := l.d, l.name(p)
	dir := l.disk + "/" + name
	d.Put(dir+"/partition", p.number+"\n")
	d.Put(dir+"/start", fmt.Sprintln(start/512))
	d.Put(dir+"/size", fmt.Sprintln(size/512))
	d.Link("/sys/class/block/"+name, dir)
	d.Link("/sys/dev/block/"+l.major+":"+p.number, dir)
	super := superblock(d.t, p)
	disk[start] = super
	d.sparse("/dev/"+name, size, map[int64][]byte{0: super})
	switch {
	case p.mount == "-":
	case p.fstype == "btrfs": // has a number of its own
		fmt.Fprintf(mounts, "%d 1 0:24 /@rootfs %s rw,relatime shared:1 - btrfs /dev/%s rw,subvol=/@rootfs\n", 20+mounts.Len(), p.mount, name)
		d.Link("/sys/fs/btrfs/"+p.uuid+"/devices/"+name, dir)
		d.Put("/sys/fs/btrfs/features/x", "1\n")
	default:
		fmt.Fprintf(mounts, "%d 1 %s:%s / %s rw,relatime shared:1 - %s /dev/%s rw\n", 20+mounts.Len(), l.major, p.number, p.mount, p.fstype, name)
	}
}

// name is the kernel's of a partition.
func (l *layout) name(p part) string {
	name := path.Base(l.disk)
	if c := name[len(name)-1]; c >= '0' && c <= '9' { // mmcblk0p1, nvme0n1p1
		name += "p"
	}
	return name + p.number
}

// volume makes a device-mapper volume and its mount.
func (l *layout) volume(mounts *strings.Builder, v volume, minor int) {
	d, dir, number := l.d, "/sys/devices/virtual/block/"+v.name, fmt.Sprintf("253:%d", minor)
	d.Put(dir+"/size", fmt.Sprintln(int64(62)<<20/512))
	d.Put(dir+"/dm/name", "vg-"+v.name+"\n")
	d.Link(dir+"/slaves/"+l.name(v.part), l.disk+"/"+l.name(v.part))
	for _, at := range []string{"/sys/block/", "/sys/class/block/"} {
		d.Link(at+v.name, dir)
	}
	d.Link("/sys/dev/block/"+number, dir)
	d.sparse("/dev/"+v.name, 62<<20, map[int64][]byte{0: superblock(d.t, v.part)})
	if v.mount != "-" {
		fmt.Fprintf(mounts, "%d 1 %s / %s rw,relatime shared:1 - %s /dev/mapper/vg-%s rw\n", 20+mounts.Len(), number, v.mount, v.fstype, v.name)
	}
}

// superblock is as much of a file system's beginning as it is known by.
func superblock(t testing.TB, p part) []byte {
	t.Helper()
	id := func(b []byte, at int) {
		if _, err := hex.Decode(b[at:], []byte(strings.ReplaceAll(p.uuid, "-", ""))); err != nil {
			t.Fatal(err)
		}
	}
	switch p.fstype {
	case "vfat":
		return fatSector(p.uuid, p.label)
	case "btrfs":
		b := make([]byte, 0x11000)
		copy(b[0x10040:], "_BHRfS_M")
		id(b, 0x10020)
		return b
	case "xfs":
		b := make([]byte, 512)
		copy(b, "XFSB")
		id(b, 32)
		return b
	case "LVM2_member":
		b := make([]byte, 1024)
		copy(b[512:], "LABELONE")
		copy(b[536:], "LVM2 001")
		return b
	}
	return Superblock(t, p.uuid, "")
}

// kernelModules is what depmod(8) writes, as far as anybody asks.
func (l *layout) kernelModules() {
	dir := "/lib/modules/" + l.d.Release
	var dep, builtin strings.Builder
	for _, m := range append(l.modules, "ext4", "xfs", "btrfs", "vfat", "efivarfs") {
		if strings.Contains(" "+strings.Join(l.builtin, " ")+" ", " "+m+" ") {
			fmt.Fprintf(&builtin, "kernel/x/%s.ko\n", m)
			continue
		}
		fmt.Fprintf(&dep, "kernel/x/%s.ko:\n", m)
		l.d.Put(dir+"/kernel/x/"+m+".ko", "module "+m)
	}
	l.d.Put(dir+"/modules.dep", dep.String())
	l.d.Put(dir+"/modules.builtin", builtin.String())
}
