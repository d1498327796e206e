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
