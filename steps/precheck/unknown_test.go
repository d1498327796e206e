package precheck

import (
	"slices"
	"strings"
	"testing"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/flashplan"
	"github.com/balena-community/balena-migrate/steps/host/hosttest"
)

// TestWithoutGroundNothingPasses: a check that could not look warns, also where the one it depends on is skipped.
func TestWithoutGroundNothingPasses(t *testing.T) {
	noDisk := func(t *testing.T, h *hosttest.Host, _ *schema.Migration) { remove(t, h, "/dev/vda") }
	noImage := func(t *testing.T, h *hosttest.Host, _ *schema.Migration) { remove(t, h, imageFile) }
	for _, c := range []struct {
		name string
		do   func(*testing.T, *hosttest.Host, *schema.Migration)
		skip []string
		warn []string
	}{
		{"no disk", noDisk, nil, []string{"image", "write-speed"}},
		{"no disk, skipped", noDisk, []string{"disk"}, []string{"image", "write-speed"}},
		{"no image", noImage, nil, []string{"memory", "space"}},
		{"no image, skipped", noImage, []string{"image"}, []string{"memory", "space"}},
		{"no config.json", func(t *testing.T, h *hosttest.Host, _ *schema.Migration) { remove(t, h, configName) }, nil, []string{"device-type"}},
		{"no GRUB", func(t *testing.T, h *hosttest.Host, _ *schema.Migration) { remove(t, h, "/boot/grub/grub.cfg") }, nil, []string{"grubenv"}},
		{"EFI variables not mounted", func(_ *testing.T, h *hosttest.Host, _ *schema.Migration) { h.Put("/sys/firmware/efi/runtime", "") }, nil, []string{"secure-boot"}},
		{"EFI variable of another form", func(_ *testing.T, h *hosttest.Host, _ *schema.Migration) { h.Put(efivar, "\x00") }, nil, []string{"secure-boot"}},
		{"speed unknown, and a limit", func(_ *testing.T, h *hosttest.Host, in *schema.Migration) {
			h.Put(sysDisk+"/stat", "0 0 0 0 0 0 0 0 0 0 0")
			in.Config.Disk.MinWriteKBs = 1
			h.FreeBytes = speedSize
		}, nil, []string{"write-speed"}},
		{"statistics of another form", func(_ *testing.T, h *hosttest.Host, _ *schema.Migration) { h.Put(sysDisk+"/stat", "1 2") }, nil, []string{"write-speed"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, in := machines()[0].start(t)
			c.do(t, h, in)
			in.Config.Checks.Skip = append([]string{}, c.skip...)
			res := converge(t, h, in)
			for _, name := range c.warn {
				if got := status(t, res, name); got.Status != "warn" || !strings.HasPrefix(got.Got, "not known: ") {
					t.Errorf("%+v, want a warning that it is not known", got)
				}
				if !slices.ContainsFunc(res.Warnings, func(w string) bool { return strings.HasPrefix(w, name+": could not look: ") }) {
					t.Errorf("warnings %v, want one for %s", res.Warnings, name)
				}
			}
		})
	}
}

// TestWarnings are what a migration may go on with.
func TestWarnings(t *testing.T) {
	for _, c := range []struct {
		check, text string
		do          func(*testing.T, *hosttest.Host, *schema.Migration)
	}{
		{"write-speed", "102 kB/s", func(_ *testing.T, h *hosttest.Host, _ *schema.Migration) {
			h.Put(sysDisk+"/stat", "0 0 0 0 9 0 20000 100000 0 100000 100000 0 0 0 0 0 0\n")
		}},
		{"disk", "neither", func(t *testing.T, h *hosttest.Host, _ *schema.Migration) {
			remove(t, h, sysDisk+"/serial")
			m := machines()[0]
			m.diskID = noSignature
			sparse(t, h.Root(), "/dev/vda", diskSize, map[int64][]byte{0: m.bootRecord(t)})
		}},
		{"device-type", "expects efi", func(t *testing.T, h *hosttest.Host, _ *schema.Migration) {
			change(t, h, configName, "genericx86-64-ext", "generic-amd64")
		}},
		{"grubenv", "next boot", func(t *testing.T, h *hosttest.Host, _ *schema.Migration) {
			put(t, h, "/boot/grub/grubenv", hosttest.Grubenv("next_entry=memtest\n"))
		}},
	} {
		h, in := machines()[0].start(t)
		c.do(t, h, in)
		res := converge(t, h, in)
		if res.Status != schema.Converged || len(res.Warnings) != 1 || !strings.Contains(res.Warnings[0], c.text) {
			t.Errorf("%s: status %s, blocked %v, warnings %v, want one with %q", c.check, res.Status, res.Blocked, res.Warnings, c.text)
		}
		if got := status(t, res, c.check); got.Status != "warn" {
			t.Errorf("%+v, want a warning", got)
		}
	}
}

// TestFiguresOfLaterSteps: what prepare-image, backup and build-initramfs found out counts in place of estimates.
func TestFiguresOfLaterSteps(t *testing.T) {
	h, in := machines()[0].start(t)
	estimated := converge(t, h, in)
	in.Facts.Image = prepared("genericx86-64-ext", 61<<20, 440<<20)
	in.Facts.Backup = &schema.BackupFacts{Path: "/b", Size: 7 << 20, SHA256: strings.Repeat("0", 64), Volumes: []string{"v"}}
	known := converge(t, h, in)
	a, b := estimated.Facts.Host.Memory, known.Facts.Host.Memory
	if got, want := b.Held+b.InPlace-a.Held-a.InPlace, int64(17<<20); got != want {
		t.Errorf("10 MiB more of image and 7 of backup are %d bytes more, want %d", got, want)
	}
	in.Facts.Initramfs = &schema.InitramfsFacts{Path: "/i", SHA256: strings.Repeat("0", 64), Modules: []string{}, MemoryNeed: 100 << 20}
	exact := converge(t, h, in)
	if got, want := exact.Facts.Host.Memory.Need, flashplan.Machine(100<<20, 64<<20, machines()[0].initrd); got != want {
		t.Errorf("need %d bytes, want %d", got, want)
	}
}

// TestSeparateBoot: the archive of stage 2 goes to /boot, which may be small.
func TestSeparateBoot(t *testing.T) {
	h, in := machines()[0].start(t)
	secondPartition(t, h)
	h.Put(mountinfo, mountsOf(h)+"99 27 254:2 / /boot rw - ext2 /dev/vda2 rw\n")
	res := converge(t, h, in)
	if res.Status != schema.Converged || res.Facts.Host.Boot.Device != "vda2" || res.Facts.Host.Boot.Type != "ext2" {
		t.Errorf("status %s, blocked %v, /boot %+v", res.Status, res.Blocked, res.Facts.Host.Boot)
	}
	h.FreeBytes = 8 << 20
	res = converge(t, h, in)
	if !slices.ContainsFunc(res.Blocked, func(b schema.Blocked) bool { return b.Check == "space" && strings.Contains(b.Got, "in /boot") }) {
		t.Errorf("blocked %v, want too little space in /boot", res.Blocked)
	}
}
