package precheck

import (
	"fmt"
	"slices"
	"strings"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/blockdev"
	"github.com/balena-community/balena-migrate/steps/device/boot"
	"github.com/balena-community/balena-migrate/steps/device/target"
	"github.com/balena-community/balena-migrate/steps/host"
)

// disks is the disk to be flashed, and the file systems of the old system that stage 2 or the boot loader reads. What
// was not found is nil.
type disks struct {
	target, twin     *schema.Disk
	left             []string // other disks below the root
	root, boot, work *schema.FileSystem
	targetErr        error
	bootErr, workErr error
}

func (l *look) readDisks() disks {
	var d disks
	if l.siteErr != nil {
		return disks{targetErr: l.siteErr, bootErr: l.siteErr, workErr: l.siteErr}
	}
	disk, root, err := target.Disk(l.site, l.Config.Disk.Target)
	if d.targetErr = err; err == nil {
		d.target = &disk
		d.twin = l.twin(disk)
		d.left = target.Left(l.site, disk.Name)
	}
	if root.Device != "" {
		d.root = &root
	}
	if fsys, _, err := l.site.FileSystem("/boot"); err == nil {
		d.boot = &fsys
	} else {
		d.bootErr = err
	}
	if fsys, _, err := target.Place(l.site, l.Files, l.WorkDir); err == nil {
		d.work = &fsys
	} else {
		d.workErr = err
	}
	return d
}

// twin finds another disk that stage 2 could not tell from the target: a clone that was never told apart. A disk that
// can't be identified, such as an empty card reader, is none.
func (l *look) twin(want schema.Disk) *schema.Disk {
	names, err := blockdev.Names(l.Device)
	if err != nil {
		return nil
	}
	for _, name := range names {
		if name == want.Name {
			continue
		}
		if d, err := blockdev.Identify(l.Device, name); err == nil && len(blockdev.Differences(d, want)) == 0 {
			return &d
		}
	}
	return nil
}

// noSignature is the disk signature of an MBR that was never given one.
const noSignature = "00000000"

// askDisk is S51, D2 and D14: one whole disk under the system, that can be known again whatever it is called then.
func (l *look) askDisk() answer {
	d := l.disks
	if d.targetErr != nil {
		if l.needsRoot(d.targetErr) {
			return unknown("to read the partition table takes root rights")
		}
		return block(d.targetErr.Error(), "the system on one disk", l.diskRemedy())
	}
	all := slices.Concat(l.askTarget(), l.askOneDisk(), l.askFileSystems())
	if len(all) > 0 {
		return blockAll(all)
	}
	got := describe(*d.target)
	if len(d.left) > 0 {
		return warn(got, fmt.Sprintf("/dev/%s stays as it is, with its part of the old system on it: detach it or wipe its beginning before the migration, "+
			"for the firmware may start the old system from there", strings.Join(d.left, " and /dev/")))
	}
	if d.target.Serial == "" && d.target.TableID == noSignature {
		return warn(got, "the disk has neither a serial number nor a disk signature: stage 2 knows it by its size only")
	}
	return pass("%s", got)
}

// diskRemedy is for a root that leads to no disk. Below an overlay it is another than what can be seen and written.
func (l *look) diskRemedy() string {
	if m, _, err := l.site.Locate("/"); err == nil && m.Type == "overlay" {
		return "in a container: run it on the device itself; a root below an overlay (raspi-config's overlay file system, overlayroot, " +
			"a live system): switch the overlay off and reboot"
	}
	return "leave disk.target empty where there is one disk; of a RAID, or where the kernel does not tell (zfs), name one of its disks there"
}

func describe(d schema.Disk) string {
	id := "no serial number"
	if d.Serial != "" {
		id = "serial " + d.Serial
	}
	return fmt.Sprintf("/dev/%s, %s, %s, %s %s", d.Name, size(d.Size), id, d.Table, d.TableID)
}

// askTarget is about the disk itself.
func (l *look) askTarget() []schema.Blocked {
	var out []schema.Blocked
	d := l.disks
	if d.twin != nil {
		out = append(out, schema.Blocked{
			Got:  fmt.Sprintf("/dev/%s and /dev/%s with the same serial number, size and table id", d.target.Name, d.twin.Name),
			Want: "a disk that can be told from the others", Remedy: "give one of them another disk id (sfdisk --disk-id), or detach it",
		})
	}
	if d.target.SectorSize != 512 {
		out = append(out, schema.Blocked{
			Got: fmt.Sprintf("/dev/%s with sectors of %d bytes", d.target.Name, d.target.SectorSize), Want: "logical sectors of 512 bytes",
			Remedy: "balenaOS images count in sectors of 512 bytes; if the drive can be formatted to them (nvme format, sg_format), do so and install the old system again",
		})
	}
	if host.Line(l.Device, "/sys/class/block/"+d.target.Name+"/ro") == "1" {
		out = append(out, schema.Blocked{
			Got: "/dev/" + d.target.Name + " is write-protected", Want: "a disk that can be written",
			Remedy: "look for a write-protect switch, or blockdev --setrw /dev/" + d.target.Name,
		})
	}
	return out
}

// askOneDisk is S51: what starts the old system must be on the disk that is written over. On another disk it would stay,
// and go on trying to start what is no longer there.
func (l *look) askOneDisk() []schema.Blocked {
	var out []schema.Blocked
	for _, p := range []struct{ what, path string }{{"the file system of /boot", "/boot"}, {"the EFI system partition /boot/efi", "/boot/efi"}} {
		m, _, err := l.site.Locate(p.path)
		if err != nil || p.path == "/boot/efi" && m.Point != p.path {
			continue // askFileSystems speaks about /boot; not every machine has the other
		}
		device, err := blockdev.NameOf(l.Device, m)
		if err != nil {
			continue
		}
		if disk, err := blockdev.DiskOf(l.Device, device); err == nil && disk != l.disks.target.Name {
			out = append(out, schema.Blocked{
				Got: fmt.Sprintf("%s is on /dev/%s, the system on /dev/%s", p.what, disk, l.disks.target.Name), Want: "both on one disk",
				Remedy: "move it to the disk of the system and install the boot loader there",
			})
		}
	}
	return out
}

// loads says that stage 2 is started by kexec, which needs nothing of what lies on the disk.
func (l *look) loads() bool {
	_, ok := l.backend.(boot.Loader)
	return ok
}

// carries says that image and backup travel in the initramfs: stage 2 can't mount where the work dir is.
func (l *look) carries() bool {
	return l.loads() && (l.disks.work == nil || target.Mountable(l.Device, *l.disks.work) != nil)
}

// askFileSystems is about what lies on it: stage 2 mounts the root and the work dir, unless it is started by kexec.
func (l *look) askFileSystems() []schema.Blocked {
	if l.loads() {
		return l.askLasting()
	}
	places := []struct {
		what, path string
		fsys       *schema.FileSystem
		err        error
	}{
		{"the root file system", "/", l.disks.root, nil},
		{"the file system of /boot", "/boot", l.disks.boot, l.disks.bootErr},
		{"the file system of the work dir " + l.WorkDir, l.WorkDir, l.disks.work, l.disks.workErr},
	}
	var out []schema.Blocked
	seen := map[string]bool{}
	for _, p := range places {
		if p.err != nil {
			out = append(out, schema.Blocked{
				Got: p.what + ": " + p.err.Error(), Want: "a file system on a plain partition", Remedy: remedyFor(p.path, "put it on a plain partition"),
			})
			continue
		}
		if !seen[p.fsys.Device] {
			out = append(out, l.askFileSystem(p.what, p.path, *p.fsys)...)
		}
		seen[p.fsys.Device] = true
	}
	return out
}

// askLasting wants the work dir to be there after a reboot, whatever it is on: status reads from it.
func (l *look) askLasting() []schema.Blocked {
	m, _, err := l.site.Locate(l.WorkDir)
	if err == nil && (m.Type == "tmpfs" || m.Type == "ramfs" || m.Type == "overlay") {
		return []schema.Blocked{{Got: "the work dir " + l.WorkDir + " on " + m.Type, Want: "a file system that outlasts a reboot", Remedy: "choose another directory with --work-dir"}}
	}
	return nil
}

// askFileSystem is about one of them. What /boot may be is the boot loader's to say.
func (l *look) askFileSystem(what, path string, fsys schema.FileSystem) []schema.Blocked {
	var out []schema.Blocked
	if err := target.Mountable(l.Device, fsys); err != nil && path != "/boot" && fsys.UUID != "" {
		out = append(out, schema.Blocked{Got: what + ": " + err.Error(), Want: "one that stage 2 can mount", Remedy: remedyFor(path, "set boot.method to kexec, which needs none")})
	} else if fsys.UUID == "" {
		out = append(out, schema.Blocked{Got: what + " without a UUID", Want: "one by which it is found again", Remedy: "tune2fs -U random /dev/" + fsys.Device})
	}
	if l.readOnly(fsys.Mount) {
		out = append(out, schema.Blocked{
			Got: what + " is mounted read-only", Want: "one that can be written",
			Remedy: "look for disk errors in dmesg, then remount it: mount -o remount,rw " + fsys.Mount,
		})
	}
	return out
}

// remedyFor knows that a work dir is easily put elsewhere.
func remedyFor(name, other string) string {
	if name == "/" || name == "/boot" {
		return other
	}
	return "choose a directory on ext4, xfs or btrfs on this device with --work-dir"
}

// readOnly looks at the last mount on a point, which is the one that is seen.
func (l *look) readOnly(point string) bool {
	ro := false
	for _, m := range l.site.Mounts {
		if m.Point == point {
			ro = m.ReadOnly
		}
	}
	return ro
}
