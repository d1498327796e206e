package initramfs_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/disarm"
	"github.com/balena-community/balena-migrate/stage2/flashplan"
	"github.com/balena-community/balena-migrate/steps/initramfs"
	"github.com/balena-community/balena-migrate/steps/steptest"
)

// S57, S58: GRUB's files travel with the plan that says so; a grub.cfg of the operator's goes before that of a flasher, and
// what changes on disk makes a new archive.
func TestBootCodeTravels(t *testing.T) {
	h, in := ready(t)
	boot, core := make([]byte, 512), bytes.Repeat([]byte{7}, 30_000)
	copy(boot, "\xeb\x63\x90")
	boot[0x5c] = 1
	copy(boot[0x180:], "GRUB ")
	copy(core[0x11b:], "loading")
	clear(core[0x140:512])
	core[0x1f4] = 2
	binary.LittleEndian.PutUint16(core[0x1fc:], uint16((len(core)-1)/512))
	h.Put("/in/boot.img", string(boot))
	h.Put("/in/core.img", string(core))
	h.Put("/in/grub.cfg", "set default=operator\n")
	h.Put("/extras/grub.cfg", "set default=flasher\n")
	in.Config.Boot.Grub = schema.GrubConfig{BootDevice: "hd0", Install: "files", BootImg: "/in/boot.img", CoreImg: "/in/core.img", Cfg: "/in/grub.cfg"}
	in.Facts.Image.Extras = []schema.ExtraFile{{Name: "grub.cfg", Path: "/extras/grub.cfg", SHA256: disarm.Sum([]byte("set default=flasher\n"))}}
	in.Facts.Image.Starts = &schema.StartFacts{Loaders: []string{}, Gap: 1<<20 - 512}
	res := steptest.Laws(t, initramfs.Step{}, steptest.RunOn(h), in)
	data, err := h.ReadFile(res.Facts.Initramfs.Path)
	if err != nil {
		t.Fatal(err)
	}
	files, _ := unpack(t, data)
	plan := &schema.FlashPlan{}
	if err := schema.Decode([]byte(files[flashplan.Plan]), "plan", "flash-plan", plan); err != nil {
		t.Fatal(err)
	}
	if c := plan.BootCode; c == nil || files[c.BootImg.Path] != string(boot) || files[c.CoreImg.Path] != string(core) {
		t.Errorf("plan %+v", plan.BootCode)
	}
	to := map[string]string{}
	for _, b := range plan.BootFiles {
		if to[b.To] != "" {
			t.Errorf("%s twice", b.To)
		}
		to[b.To] = files[b.Path]
	}
	if to["/grub/grub.cfg"] != "set default=operator\n" || to["/EFI/BOOT/grub.cfg"] != "set default=flasher\n" {
		t.Errorf("boot files %v", to)
	}
	core[20_000]++
	h.Put("/in/core.img", string(core))
	if again, err := steptest.RunOn(h).Converge(context.Background(), initramfs.Step{}, in); err != nil || !again.Changed {
		t.Errorf("another core.img: changed %v, %v", again.Changed, err)
	}
}

// What the firmware would not find is a blocker, and skipped by name; what was asked for and can't be done is not.
func TestNewSystemMustStart(t *testing.T) {
	h, in := ready(t)
	in.Facts.Image.Starts = &schema.StartFacts{Loaders: []string{}}
	ask := func() *schema.Result {
		res, err := steptest.RunOn(h).Converge(context.Background(), initramfs.Step{}, in)
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	if res := ask(); res.Status != schema.BlockedBy || res.Blocked[0].Check != "image" || !strings.Contains(res.Blocked[0].Got, "without boot code") {
		t.Errorf("BIOS: %s %+v", res.Status, res.Blocked)
	}
	h.Put("/sys/firmware/efi/fw_platform_size", "64\n")
	if res := ask(); res.Status != schema.BlockedBy || !strings.Contains(res.Blocked[0].Got, "bootx64.efi") {
		t.Errorf("EFI: %s %+v", res.Status, res.Blocked)
	}
	in.Config.Boot.Grub.Install = "host"
	in.Config.Checks.Skip = []string{"image", "options"}
	if res := ask(); res.Status != schema.BlockedBy || res.Blocked[0].Check != "options" {
		t.Errorf("host: %s %+v", res.Status, res.Blocked)
	}
	in.Config.Boot.Grub.Install = "none"
	if res := ask(); res.Status != schema.Converged {
		t.Errorf("skipped: %s %+v", res.Status, res.Blocked)
	}
}
