package initramfs_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"path"
	"reflect"
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

const (
	work   = "/var/lib/balena-migrate"
	canary = "canary-api-key"
)

// ready is a machine on which everything before build-initramfs has converged.
func ready(t *testing.T) (*hosttest.Host, *schema.Migration) {
	t.Helper()
	h := hosttest.Debian(t)
	config := `{"deviceType":"genericx86-64-ext","apiKey":"` + canary + `"}`
	network := "[wifi-security]\npsk=" + canary + "\n"
	h.Put("/self", "\x7fELF program")
	h.Put("/in/config.json", config)
	h.Put(work+"/image.gz", "image")
	h.Put(work+"/image.index.json", "{}")
	h.Put(work+"/backup.tgz", "backup")
	h.Put(work+"/system-connections/resin-wifi-01", network)
	in := schema.NewMigration()
	in.Config.Balena.ConfigJSON = "/in/config.json"
	sum := func(s string) string { return disarm.Sum([]byte(s)) }
	in.Facts.Image = &schema.ImageFacts{
		Path: work + "/image.gz", Index: work + "/image.index.json", GzipSize: 5, GzipSHA256: sum("image"), RawSize: 1 << 20,
		RawSHA256: sum("raw"), SourceSHA256: sum("source"), Table: "mbr", DeviceType: "genericx86-64-ext",
	}
	in.Facts.Network = &schema.NetworkFacts{
		Dir: work + "/system-connections", Connections: []schema.Connection{{File: "resin-wifi-01", SHA256: sum(network)}},
	}
	in.Facts.Backup = &schema.BackupFacts{Path: work + "/backup.tgz", Size: 6, SHA256: sum("backup"), Volumes: []string{}}
	return h, in
}

// unpack reads the archive as the kernel does.
func unpack(t *testing.T, data []byte) (map[string]string, []string) {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	files, order := map[string]string{}, []string{}
	for r := cpio.NewReader(z); ; {
		head, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files, order
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files["/"+head.Name] = string(body)
		order = append(order, "/"+head.Name)
	}
}

func TestArchive(t *testing.T) {
	h, in := ready(t)
	res := steptest.Laws(t, initramfs.Step{}, steptest.RunOn(h), in, canary)
	f := res.Facts.Initramfs
	data, err := h.ReadFile(f.Path)
	if err != nil {
		t.Fatal(err)
	}
	if disarm.Sum(data) != f.SHA256 || f.MemoryNeed < flashplan.Program {
		t.Errorf("facts %+v", f)
	}
	files, order := unpack(t, data)
	for i, name := range order {
		if dir := path.Dir(name); dir != "/" && !strings.HasPrefix(strings.Join(order[:i], "\n")+"\n", flashplan.Dir+"\n") {
			t.Errorf("%s comes before its directory", name)
		}
		if !strings.HasPrefix(name, "/balena") {
			t.Errorf("%s is not in a directory of ours", name)
		}
	}
	if files[flashplan.Binary] != "\x7fELF program" || !strings.Contains(files[flashplan.ConfigJSON], canary) {
		t.Error("program or config.json is missing")
	}
	plan := &schema.FlashPlan{}
	if err := schema.Decode([]byte(files[flashplan.Plan]), "plan", "flash-plan", plan); err != nil {
		t.Fatal(err)
	}
	if plan.Disk.Serial != hosttest.Serial || plan.Root.UUID != hosttest.RootUUID || plan.WorkDir != work || plan.Backup == nil {
		t.Errorf("plan %+v", plan)
	}
	for _, m := range plan.Modules {
		if !strings.HasPrefix(files[m], "module ") {
			t.Errorf("%s is not in the archive", m)
		}
	}
	want := []string{"virtio", "virtio_ring", "virtio_blk", "virtio_pci", "crc32c_generic", "jbd2", "libcrc16", "ext4", "fat", "vfat", "nls_cp437", "nls_ascii"}
	if !reflect.DeepEqual(f.Modules, want) {
		t.Errorf("modules %v, want %v", f.Modules, want)
	}
}

func TestRebuiltWhenSomethingChanges(t *testing.T) {
	changes := map[string]func(h *hosttest.Host, in *schema.Migration){
		"config.json": func(h *hosttest.Host, _ *schema.Migration) {
			h.Put("/in/config.json", `{"deviceType":"genericx86-64-ext"}`)
		},
		"program":   func(h *hosttest.Host, _ *schema.Migration) { h.Put("/self", "\x7fELF newer") },
		"rehearsal": func(_ *hosttest.Host, in *schema.Migration) { in.Config.Stage2.Flash = false },
		"image":     func(_ *hosttest.Host, in *schema.Migration) { in.Facts.Image.GzipSHA256 = disarm.Sum([]byte("x")) },
		"damaged":   func(h *hosttest.Host, _ *schema.Migration) { h.Put(work+"/stage2.cpio.gz", "x") },
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			h, in := ready(t)
			run := steptest.RunOn(h)
			if res, err := run.Converge(context.Background(), initramfs.Step{}, in); err != nil || !res.Changed {
				t.Fatalf("%+v %v", res, err)
			}
			change(h, in)
			if res, err := run.Converge(context.Background(), initramfs.Step{}, in); err != nil || !res.Changed {
				t.Errorf("not rebuilt: %v", err)
			}
		})
	}
}

func TestBlocked(t *testing.T) {
	tests := []struct {
		name, check string
		breakIt     func(h *hosttest.Host, in *schema.Migration)
	}{
		{"too large", "image", func(_ *hosttest.Host, in *schema.Migration) { in.Facts.Image.RawSize = hosttest.DiskSize + 1 }},
		{"other device type", "device-type", func(_ *hosttest.Host, in *schema.Migration) { in.Facts.Image.DeviceType = "raspberrypi3" }},
		{"no config.json", "config-json", func(h *hosttest.Host, _ *schema.Migration) { _ = h.Remove("/in/config.json") }},
		{"before prepare-image", "order", func(_ *hosttest.Host, in *schema.Migration) { in.Facts.Image = nil }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, in := ready(t)
			tt.breakIt(h, in)
			res, err := steptest.RunOn(h).Converge(context.Background(), initramfs.Step{}, in)
			if err != nil || res.Status != schema.BlockedBy || res.Blocked[0].Check != tt.check {
				t.Errorf("%s %v %v", res.Status, err, res.Blocked)
			}
		})
	}
}

// A module that the disk needs and the kernel's lists don't know must be an error now, not a disk that does not appear.
func TestUnknownDriverIsAnError(t *testing.T) {
	h, in := ready(t)
	h.Put("/lib/modules/"+hosttest.Release+"/modules.dep", "kernel/fs/ext4/ext4.ko:\n")
	_, err := steptest.RunOn(h).Converge(context.Background(), initramfs.Step{}, in)
	if err == nil || !strings.Contains(err.Error(), "virtio_blk") {
		t.Errorf("got %v", err)
	}
}

// E27: what a flasher would have put on the boot partition goes along, to where the firmware wants it.
func TestBootFiles(t *testing.T) {
	for _, tt := range []struct {
		firmware string
		want     map[string]string
	}{
		{"bios", map[string]string{"/uEnv.txt": "uenv", "/EFI/BOOT/grub.cfg": "grub", "/grub/grub.cfg": "grub", "/system-proxy/redsocks.conf": canary}},
		{"efi", map[string]string{"/uEnv.txt": "uenv", "/EFI/BOOT/grub.cfg": "grub", "/system-proxy/redsocks.conf": canary}},
	} {
		h, in := ready(t)
		if tt.firmware == "efi" {
			h.Put("/sys/firmware/efi/fw_platform_size", "64\n")
		}
		for name, content := range map[string]string{"grub.cfg": "grub", "uEnv.txt": "uenv", "boot.img": "b", "core.img": "c", "config.json": canary} {
			at := work + "/image.extras/" + name
			h.Put(at, content)
			in.Facts.Image.Extras = append(in.Facts.Image.Extras, schema.ExtraFile{Name: name, From: "/" + name, Path: at, Size: int64(len(content)), SHA256: disarm.Sum([]byte(content))})
		}
		h.Put(work+"/system-proxy/redsocks.conf", canary)
		in.Facts.Network.Proxy = &schema.ProxyFacts{Dir: work + "/system-proxy", Files: []schema.ProxyFile{{File: "redsocks.conf", SHA256: disarm.Sum([]byte(canary))}}}
		res := steptest.Laws(t, initramfs.Step{}, steptest.RunOn(h), in, canary)
		data, err := h.ReadFile(res.Facts.Initramfs.Path)
		if err != nil {
			t.Fatal(err)
		}
		files, _ := unpack(t, data)
		plan := &schema.FlashPlan{}
		if err := schema.Decode([]byte(files[flashplan.Plan]), "plan", "flash-plan", plan); err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, b := range plan.BootFiles {
			got[b.To] = files[b.Path]
		}
		if !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.firmware, got, tt.want)
		}
		h.Put(work+"/image.extras/grub.cfg", "another")
		if _, err := steptest.RunOn(h).Converge(context.Background(), initramfs.Step{}, in); err == nil || !strings.Contains(err.Error(), "not the file that prepare-image wrote") {
			t.Errorf("%s: changed extras: %v", tt.firmware, err)
		}
	}
}

// An image for a BeagleBone's eMMC would start from there although the SD card was flashed, and the other way round.
func TestImageForAnotherDisk(t *testing.T) {
	for _, tt := range []struct {
		kind, uenv string
		blocked    bool
	}{{"SD", "mmcdev=1\nbootpart=1:2\n", true}, {"MMC", "mmcdev=1\nbootpart=1:2\n", false}, {"MMC", "mmcdev=0\n", true}, {"SD", "bootpart=1:2\n", false}, {"", "mmcdev=1\n", false}} {
		h, in := ready(t)
		if tt.kind != "" {
			h.Put("/sys/block/vda/device/type", tt.kind+"\n")
		}
		at := work + "/image.extras/uEnv.txt"
		h.Put(at, tt.uenv)
		in.Facts.Image.Extras = []schema.ExtraFile{{Name: "uEnv.txt", From: "/uEnv.txt_internal", Path: at, Size: int64(len(tt.uenv)), SHA256: disarm.Sum([]byte(tt.uenv))}}
		res, err := steptest.RunOn(h).Converge(context.Background(), initramfs.Step{}, in)
		if err != nil || (res.Status == schema.BlockedBy) != tt.blocked || tt.blocked && res.Blocked[0].Check != "disk" {
			t.Errorf("%s, %q: %s %+v, %v", tt.kind, tt.uenv, res.Status, res.Blocked, err)
		}
	}
}
