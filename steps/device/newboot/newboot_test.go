package newboot

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps/device/devicetype"
	"github.com/balena-community/balena-migrate/steps/host/hosttest"
)

// grubFiles are made like those of grub-mkimage.
func grubFiles(size int) (boot, core string) {
	b := make([]byte, 512)
	copy(b, "\xeb\x63\x90")
	b[0x5c] = 1
	copy(b[0x180:], "GRUB ")
	c := bytes.Repeat([]byte{7}, size)
	copy(c[0x11b:], "loading")
	clear(c[0x140:512])
	c[0x1f4] = 2
	binary.LittleEndian.PutUint16(c[0x1fc:], uint16((size-1)/512))
	return string(b), string(c)
}

// view is a PC with the files of a flasher and an image that has boot code and a loader.
func view(t *testing.T) (Case, *hosttest.Host) {
	t.Helper()
	h := hosttest.New(t, nil)
	boot, core := grubFiles(30_000)
	for _, dir := range []string{"/in", "/extras"} {
		h.Put(dir+"/boot.img", boot)
		h.Put(dir+"/core.img", core)
	}
	h.Put("/in/grub.cfg", "set default=0\n")
	v := Case{Device: h, Files: h, Config: schema.DefaultConfig()}
	v.Facts.Image = &schema.ImageFacts{
		Path: "/w/image.gz", Table: "mbr", Partitions: []schema.PartitionFacts{{Number: 1, Label: "resin-boot"}, {Number: 2, Label: "balena-rootA"}},
		Starts: &schema.StartFacts{Loaders: []string{"bootx64.efi"}, BootCode: true, Gap: 4 << 20},
	}
	return v, h
}

// What the machine's firmware will not find in the image is told before there is no way back.
func TestImageStarts(t *testing.T) {
	for name, c := range map[string]struct {
		firmware, machine string
		change            func(*schema.ImageFacts)
		want              string
	}{
		"EFI":                        {firmware: devicetype.EFI, machine: "x86_64"},
		"BIOS":                       {firmware: devicetype.BIOS, machine: "i686"},
		"EFI of 64 bits under i686":  {firmware: devicetype.EFI, machine: "i686"},
		"EFI, an image for a BIOS":   {firmware: devicetype.EFI, machine: "x86_64", change: func(f *schema.ImageFacts) { f.Starts.Loaders = nil }, want: "EFI/BOOT/bootx64.efi on its boot partition (there: none)"},
		"arm64, an image for a PC":   {firmware: devicetype.EFI, machine: "aarch64", want: "EFI/BOOT/bootaa64.efi"},
		"BIOS, an image for EFI":     {firmware: devicetype.BIOS, machine: "x86_64", change: func(f *schema.ImageFacts) { f.Starts.BootCode = false }, want: "without boot code"},
		"a Raspberry Pi has neither": {firmware: devicetype.BIOS, machine: "aarch64", change: func(f *schema.ImageFacts) { f.Starts.BootCode = false }},
		"nobody looked":              {firmware: devicetype.EFI, machine: "x86_64", change: func(f *schema.ImageFacts) { f.Starts = nil }},
	} {
		t.Run(name, func(t *testing.T) {
			v, h := view(t)
			h.MachineName = c.machine
			if c.change != nil {
				c.change(v.Facts.Image)
			}
			in, blocked := Ask(v, c.firmware)
			got := ""
			for _, b := range blocked {
				got += b.Got
				if b.Check != "image" || b.Remedy == "" {
					t.Errorf("%+v", b)
				}
			}
			if in != nil || !strings.Contains(got, c.want) || (got == "") != (c.want == "") {
				t.Errorf("blocked by %q, want %q", got, c.want)
			}
		})
	}
}

func TestFiles(t *testing.T) {
	given := func(v *Case) {
		v.Config.Boot.Grub.BootImg, v.Config.Boot.Grub.CoreImg = "/in/boot.img", "/in/core.img"
	}
	brought := func(v *Case) {
		v.Facts.Image.Extras = []schema.ExtraFile{{Name: "boot.img", Path: "/extras/boot.img"}, {Name: "core.img", Path: "/extras/core.img"}}
	}
	kernel := func(v *Case) { v.Facts.Image.Starts.Kernel = true }
	for name, c := range map[string]struct {
		change []func(*Case)
		cfg    string // a part of grub.cfg, "-" for none
		want   string
	}{
		"given, with a kernel":          {change: []func(*Case){given, kernel}, cfg: "set root='hd0,msdos1'\n\tlinux /vmlinuz root=LABEL=balena-rootA rootwait"},
		"given, another disk":           {change: []func(*Case){given, kernel, func(v *Case) { v.Config.Boot.Grub.BootDevice = "hd1" }}, cfg: "hd1,msdos1"},
		"given, the image has grub.cfg": {change: []func(*Case){given, func(v *Case) { v.Facts.Image.Starts.GrubCfg = true }}, cfg: "-"},
		"given, with grub.cfg":          {change: []func(*Case){given, func(v *Case) { v.Config.Boot.Grub.Cfg = "/in/grub.cfg" }}, cfg: "set default=0"},
		"of a flasher":                  {change: []func(*Case){brought, kernel}, cfg: "menuentry"},
		"nothing to start":              {change: []func(*Case){given}, want: "neither /grub/grub.cfg nor /vmlinuz"},
		"none":                          {want: "neither boot.grub.boot_img and core_img nor a flasher"},
		"one":                           {change: []func(*Case){given, func(v *Case) { v.Config.Boot.Grub.CoreImg = "" }}, want: "both or neither"},
		"a missing file":                {change: []func(*Case){given, func(v *Case) { v.Config.Boot.Grub.CoreImg = "/in/none" }}, want: "no such file"},
		"swapped":                       {change: []func(*Case){given, func(v *Case) { v.Config.Boot.Grub.BootImg = "/in/core.img" }}, want: "boot.img: 30000 bytes"},
		"no room":                       {change: []func(*Case){given, kernel, func(v *Case) { v.Facts.Image.Starts.Gap = 62*512 - 2048 }}, want: "room for 29696"},
		"GPT":                           {change: []func(*Case){given, kernel, func(v *Case) { v.Facts.Image.Table, v.Facts.Image.Starts.Gap = "gpt", 0 }}, want: "the image (gpt) room for 0"},
		"an image nobody looked into":   {change: []func(*Case){given, func(v *Case) { v.Facts.Image.Starts = nil }}, want: "earlier version"},
		"not prepared yet":              {change: []func(*Case){given, func(v *Case) { v.Facts.Image = nil }}, cfg: "-"},
	} {
		t.Run(name, func(t *testing.T) {
			v, _ := view(t)
			v.Config.Boot.Grub.Install = "files"
			for _, change := range c.change {
				change(&v)
			}
			in, blocked := Ask(v, devicetype.BIOS)
			if c.want != "" {
				if len(blocked) != 1 || !strings.Contains(blocked[0].Got, c.want) || !strings.Contains(blocked[0].Remedy, "grub-mkimage") {
					t.Errorf("blocked by %+v, want %q", blocked, c.want)
				}
				return
			}
			if len(blocked) > 0 || in == nil || len(in.CoreImg) != 30_000 {
				t.Fatalf("blocked by %+v", blocked)
			}
			if (c.cfg == "-") != (in.Cfg == nil) || c.cfg != "-" && !strings.Contains(string(in.Cfg), c.cfg) {
				t.Errorf("grub.cfg is %q, want %q", in.Cfg, c.cfg)
			}
		})
	}
}

// The old system's own files look for the old system's partition; boot code is of no use to EFI firmware or a Raspberry Pi.
func TestRefused(t *testing.T) {
	for name, c := range map[string]struct{ install, firmware, machine, want string }{
		"of the host":    {"host", devicetype.BIOS, "x86_64", "will be gone"},
		"EFI":            {"files", devicetype.EFI, "x86_64", "started by EFI firmware"},
		"a Raspberry Pi": {"files", devicetype.BIOS, "armv7l", "this machine is armv7l"},
	} {
		v, h := view(t)
		h.Put("/boot/grub/i386-pc/core.img", "x")
		h.MachineName, v.Config.Boot.Grub.Install = c.machine, c.install
		in, blocked := Ask(v, c.firmware)
		if in != nil || len(blocked) != 1 || !strings.Contains(blocked[0].Got, c.want) || blocked[0].Remedy == "" {
			t.Errorf("%s: %+v", name, blocked)
		}
	}
}
