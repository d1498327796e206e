package target

import (
	"reflect"
	"strings"
	"testing"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps/device/boot"
	"github.com/balena-community/balena-migrate/steps/host"
	"github.com/balena-community/balena-migrate/steps/host/hosttest"
)

func debian(t *testing.T) (*hosttest.Host, boot.Site) {
	t.Helper()
	h := hosttest.Debian(t)
	s, err := boot.At(h)
	if err != nil {
		t.Fatal(err)
	}
	return h, s
}

// The disk is the one the system runs from, by what stays the same under any name; another wish is refused.
func TestDisk(t *testing.T) {
	h, s := debian(t)
	h.Put("/dev/vdb", "")
	h.Link("/dev/disk/by-id/virtio-LAB0001", "../../vda")
	for wanted, refusal := range map[string]string{
		"": "", "/dev/vda": "", "/dev/disk/by-id/virtio-LAB0001": "",
		"/dev/vdb": "disk.target is /dev/vdb, but the system runs from /dev/vda", "/dev/vda1": "expected the same disk", "/dev/loop": "expected the same disk",
	} {
		disk, root, err := Disk(s, wanted)
		if refusal != "" {
			if err == nil || !strings.Contains(err.Error(), refusal) {
				t.Errorf("%q: %v, want %q", wanted, err, refusal)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", wanted, err)
			continue
		}
		if disk.Name != "vda" || disk.Serial != hosttest.Serial || disk.Size != hosttest.DiskSize || disk.TableID != hosttest.DiskID {
			t.Errorf("%q: disk %+v", wanted, disk)
		}
		if root.UUID != hosttest.RootUUID || root.Type != "ext4" {
			t.Errorf("%q: root %+v", wanted, root)
		}
	}
}

// A file is found again by its file system and its path there, and links of the running system do not count then.
func TestRef(t *testing.T) {
	h, s := debian(t)
	h.Put("/data/image.gz", "x")
	h.Link("/var/lib/balena-migrate", "/data")
	want := schema.FileRef{FSUUID: hosttest.RootUUID, FSType: "ext4", Path: "/data/image.gz", Size: 1, SHA256: "digest"}
	for _, c := range []struct {
		files host.Reader
		name  string
	}{
		{h, "/data/image.gz"},
		{h, "/var/lib/balena-migrate/image.gz"},
		{host.At("/"), h.Root() + "/data/image.gz"}, // --root: the caller's path
	} {
		if got, err := Ref(s, c.files, c.name, 1, "digest"); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v; want %+v", c.name, got, err, want)
		}
	}
	fsys, dir, err := Place(s, host.At("/"), h.Root()+"/data")
	if err != nil || dir != "/data" || fsys.UUID != hosttest.RootUUID {
		t.Errorf("place %+v, %s, %v", fsys, dir, err)
	}
}

// What does not lie on the device itself is not there when stage 2 looks for it, however its path begins.
func TestRefOutside(t *testing.T) {
	h, s := debian(t)
	for _, name := range []string{t.TempDir() + "/image.gz", h.Root() + "2/image.gz", h.Root() + "/../image.gz"} {
		if got, err := Ref(s, host.At("/"), name, 1, ""); err == nil || !strings.Contains(err.Error(), "is not below "+h.Root()) {
			t.Errorf("%s: %+v, %v; want it refused", name, got, err)
		}
	}
}

// layered is Debian with its root on a volume over the partitions of some disks.
func layered(t *testing.T, disks ...string) (*hosttest.Host, boot.Site) {
	t.Helper()
	h := hosttest.Debian(t)
	for _, d := range disks {
		if d == "vdb" {
			h.Put("/sys/devices/pci1/block/vdb/size", "1\n")
			h.Link("/sys/block/vdb", "/sys/devices/pci1/block/vdb")
			h.Link("/sys/class/block/vdb", "/sys/devices/pci1/block/vdb")
		}
		h.Link("/sys/devices/virtual/block/md0/slaves/"+d, "/sys/class/block/"+d)
	}
	h.Put("/sys/devices/virtual/block/md0/size", "1\n")
	h.Link("/sys/class/block/md0", "/sys/devices/virtual/block/md0")
	h.Link("/sys/dev/block/9:0", "/sys/devices/virtual/block/md0")
	h.Put("/dev/md0", string(hosttest.Superblock(t, "99999999-2222-4333-8444-555555555555", "")))
	h.Put("/proc/self/mountinfo", "22 1 9:0 / / rw - ext4 /dev/md0 rw\n23 22 254:1 / /boot rw - ext2 /dev/vda1 rw\n")
	s, err := boot.At(h)
	if err != nil {
		t.Fatal(err)
	}
	return h, s
}

// D2: below the layers there is one disk, or one that is named.
func TestDiskBelowLayers(t *testing.T) {
	for _, c := range []struct {
		disks  []string
		wanted string
		refuse string // none: it is vda
		left   string
	}{
		{disks: []string{"vda1"}},
		{disks: []string{"vda1"}, wanted: "/dev/vda"},
		{disks: []string{"vda1"}, wanted: "/dev/vdb", refuse: "expected the same disk"},
		{disks: []string{"vda1", "vdb"}, refuse: "the system lies on /dev/vda and /dev/vdb: expected one disk, or one of them named"},
		{disks: []string{"vda1", "vdb"}, wanted: "/dev/vda", left: "vdb"},
		{disks: []string{"vda1", "vdb"}, wanted: "/dev/vdc", refuse: "expected one of them"},
		{refuse: "a software RAID"},
		{wanted: "/dev/vda"}, // as for zfs: nobody else can tell
		{wanted: "/dev/vda1", refuse: "expected one of /dev/vda"},
	} {
		_, s := layered(t, c.disks...)
		disk, root, err := Disk(s, c.wanted)
		if c.refuse != "" {
			if err == nil || !strings.Contains(err.Error(), c.refuse) {
				t.Errorf("%+v: %v", c, err)
			}
			continue
		}
		if err != nil || disk.Name != "vda" || root.Device != "md0" || strings.Join(Left(s, "vda"), " ") != c.left {
			t.Errorf("%+v: disk %+v, root %+v, %v, left %q", c, disk, root, err, Left(s, "vda"))
		}
	}
}

// The word of stage 2 goes into the work dir where that can be mounted, else to where the kernel or the firmware's files are.
func TestFindWord(t *testing.T) {
	const work = "/var/lib/balena-migrate"
	h, s := layered(t, "vda1")
	w, found := FindWord(s, h, work)
	if !found || w.Dir != "/boot/balena-migrate" || !w.OnDevice || w.FS.UUID != hosttest.RootUUID || w.FS.Type != "ext4" || w.Inside != "/balena-migrate" {
		t.Errorf("on /boot: %+v %v", w, found)
	}
	for mount, want := range map[string]string{
		"": "", "24 22 254:1 / /boot rw - zfs /dev/vda1 rw\n": "", "24 22 254:1 / /boot/efi rw - vfat /dev/vda1 rw\n": "/boot/efi/balena-migrate",
		"24 22 254:1 / /var rw - xfs /dev/vda1 rw\n": work,
	} {
		h.Put("/proc/self/mountinfo", "22 1 9:0 / / rw - ext4 /dev/md0 rw\n"+mount)
		s, err := boot.At(h)
		if err != nil {
			t.Fatal(err)
		}
		if w, found := FindWord(s, h, work); w.Dir != want || found != (want != "") || w.OnDevice != strings.HasPrefix(want, "/boot") {
			t.Errorf("%q: %+v %v, want %q", mount, w, found, want)
		}
	}
}
