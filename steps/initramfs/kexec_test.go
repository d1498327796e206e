package initramfs_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/cavaliergopher/cpio"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/disarm"
	"github.com/balena-community/balena-migrate/stage2/flashplan"
	"github.com/balena-community/balena-migrate/steps/host/hosttest"
	"github.com/balena-community/balena-migrate/steps/initramfs"
	"github.com/balena-community/balena-migrate/steps/steptest"
)

// readyOn is a described machine on which everything before build-initramfs has converged.
func readyOn(t *testing.T, device string) (*hosttest.Host, *schema.Migration) {
	t.Helper()
	d := hosttest.LoadDevice(t, "../../testdata/roots/"+device+".txtar")
	_, in := ready(t) // its facts
	config, network := `{"deviceType":"genericx86-64-ext","apiKey":"`+canary+`"}`, "[wifi-security]\npsk="+canary+"\n"
	for name, content := range map[string]string{
		"/self": "\x7fELF program", "/in/config.json": config, work + "/image.gz": "image", work + "/image.index.json": "{}",
		work + "/backup.tgz": "backup", work + "/system-connections/resin-wifi-01": network,
	} {
		d.Put(name, content)
	}
	return d.Host, in
}

// split reads the plain archive in front, as the kernel does, and returns what is behind it.
func split(t *testing.T, data []byte) (files map[string]string, rest []byte) {
	t.Helper()
	files = map[string]string{}
	src := bytes.NewReader(data)
	for r := cpio.NewReader(src); ; {
		head, err := r.Next()
		if errors.Is(err, io.EOF) {
			rest = bytes.TrimLeft(data[len(data)-src.Len():], "\x00")
			return files, rest
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files["/"+head.Name] = string(body)
	}
}

// On LVM image and backup travel in the archive, packed as they are, and stage 2 knows of the disk and of /boot only.
func TestCarried(t *testing.T) {
	h, in := readyOn(t, "x86-debian-12-lvm")
	f := steptest.Laws(t, initramfs.Step{}, steptest.RunOn(h), in, canary).Facts.Initramfs
	if f.Carried != 11 || f.Held != 0 || f.InPlace != 0 || !f.Alone || slices.Contains(f.Modules, "dm_mod") {
		t.Errorf("facts %+v", f)
	}
	data, err := h.ReadFile(f.Path)
	if err != nil || disarm.Sum(data) != f.SHA256 {
		t.Fatalf("archive %v", err)
	}
	freight, rest := split(t, data)
	if freight[flashplan.Image] != "image" || freight[flashplan.Backup] != "backup" || len(freight) != 3 {
		t.Errorf("freight %q", freight)
	}
	files, _ := unpack(t, rest)
	plan := &schema.FlashPlan{}
	if err := schema.Decode([]byte(files[flashplan.Plan]), "plan", "flash-plan", plan); err != nil {
		t.Fatal(err)
	}
	for _, ref := range []schema.FileRef{plan.Image, *plan.Backup} {
		if ref.FSType != flashplan.Carried || disarm.Sum([]byte(freight[ref.Path])) != ref.SHA256 || ref.Size != int64(len(freight[ref.Path])) {
			t.Errorf("%+v is not what travels", ref)
		}
	}
	if !plan.Kexec || !plan.Layered || plan.Disk.Name != "sda" || plan.WorkFS.Device != "sda1" || plan.WorkDir != "/balena-migrate" {
		t.Errorf("plan %+v", plan)
	}
	h.Put(work+"/image.gz", "imagf") // of the same size, but not what was prepared: stage 2 finds out
	h.Put(work+"/image.gz", "im")
	_ = h.Remove(f.Path)
	if _, err := steptest.RunOn(h).Converge(context.Background(), initramfs.Step{}, in); err == nil || !strings.Contains(err.Error(), flashplan.Image) {
		t.Errorf("an image that was cut: %v", err)
	}
}

// On a btrfs of one partition stage 2 mounts where they lie: by the path from its top, whatever subvolume the root is.
func TestBtrfs(t *testing.T) {
	h, in := readyOn(t, "x86-debian-12-btrfs")
	res := steptest.Laws(t, initramfs.Step{}, steptest.RunOn(h), in, canary)
	plan := planOf(t, h, res.Facts.Initramfs)
	if !plan.Kexec || plan.Layered || !plan.Alone || plan.Root.Type != "btrfs" || plan.WorkDir != "/@rootfs"+work {
		t.Errorf("plan %+v", plan)
	}
	if plan.Image.Path != "/@rootfs"+work+"/image.gz" || plan.Image.FSUUID != plan.Root.UUID || res.Facts.Initramfs.Held != 11 {
		t.Errorf("image %+v, facts %+v", plan.Image, res.Facts.Initramfs)
	}
	if !slices.Contains(res.Facts.Initramfs.Modules, "btrfs") {
		t.Errorf("modules %v", res.Facts.Initramfs.Modules)
	}
}

// On xfs GRUB starts stage 2, which mounts it.
func TestXFS(t *testing.T) {
	h, in := readyOn(t, "x86-debian-12-xfs")
	res := steptest.Laws(t, initramfs.Step{}, steptest.RunOn(h), in, canary)
	if plan := planOf(t, h, res.Facts.Initramfs); plan.Kexec || plan.Root.Type != "xfs" || !slices.Contains(res.Facts.Initramfs.Modules, "xfs") {
		t.Errorf("plan %+v, modules %v", plan, res.Facts.Initramfs.Modules)
	}
}
