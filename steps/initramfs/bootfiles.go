package initramfs

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/disarm"
	"github.com/balena-community/balena-migrate/stage2/flashplan"
	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/device/devicetype"
	"github.com/balena-community/balena-migrate/steps/device/newboot"
	"github.com/balena-community/balena-migrate/steps/device/uenv"
	"github.com/balena-community/balena-migrate/steps/host"
)

// addBootFiles takes along what the flasher that the image was in would have put on the boot partition (E27). What it
// brought beside that, boot.img, core.img and a config.json, does not belong there.
func (p *parts) addBootFiles(v steps.View) error {
	for _, e := range v.Facts.Image.Extras {
		for _, to := range bootPaths(e.Name, firmware(v)) {
			if err := p.addBootFile(v, e.Path, e.SHA256, to, "prepare-image"); err != nil {
				return err
			}
		}
	}
	if err := p.addBootCode(v); err != nil {
		return err
	}
	proxy := v.Facts.Network.Proxy
	if proxy == nil {
		return nil
	}
	for _, f := range proxy.Files { // E31
		if err := p.addBootFile(v, path.Join(proxy.Dir, f.File), f.SHA256, "/system-proxy/"+f.File, "collect-wifi"); err != nil {
			return err
		}
	}
	return nil
}

// otherDisk says that the flasher's uEnv.txt has U-Boot start the new system from another disk than the one that will be
// flashed. On a BeagleBone, the only board that has such a file, U-Boot's disk 0 is the SD card and 1 the eMMC (E29).
func otherDisk(v steps.View, disk string) ([]schema.Blocked, error) {
	names := map[string]string{"SD": "0", "MMC": "1"}
	kind, err := v.Device.ReadFile("/sys/block/" + disk + "/device/type")
	own := names[strings.TrimSpace(string(kind))]
	if err != nil || own == "" {
		return nil, nil //nolint:nilerr // no such disk
	}
	for _, e := range v.Facts.Image.Extras {
		if e.Name != schema.ExtraUEnv {
			continue
		}
		data, err := v.Files.ReadFile(e.Path)
		if err != nil {
			return nil, err
		}
		f, err := uenv.Parse(string(data))
		if told, found := f.Get("mmcdev"); err == nil && found && told != own {
			return []schema.Blocked{{
				Check: "disk", Got: fmt.Sprintf("an image whose U-Boot starts from its disk %s (mmcdev in %s), and /dev/%s, which is disk %s", told, e.From, disk, own),
				Want: "the disk that the image is made for", Remedy: "migrate a system that runs from that disk: 0 is the SD card, 1 the eMMC",
			}}, nil
		}
	}
	return nil, nil
}

// addBootFile takes a file along that a step wrote.
func (p *parts) addBootFile(v steps.View, name, sha256, to, step string) error {
	data, err := v.Files.ReadFile(name)
	if err != nil {
		return err
	}
	if disarm.Sum(data) != sha256 {
		return steps.WithHint(fmt.Errorf("%s: not the file that %s wrote", name, step), "run step "+step+" again")
	}
	p.carryBootFile(data, path.Base(name), to)
	return nil
}

// carryBootFile takes a file along for a place on the boot partition, in place of another that was to go there.
func (p *parts) carryBootFile(data []byte, name, to string) {
	p.plan.BootFiles = slices.DeleteFunc(p.plan.BootFiles, func(b schema.BootFile) bool { return b.To == to })
	at := fmt.Sprintf("%s/%d-%s", flashplan.BootFiles, len(p.carried), name)
	f := p.carry(data, at, name)
	p.plan.BootFiles = append(p.plan.BootFiles, schema.BootFile{Name: f.Name, Path: f.Path, Size: f.Size, SHA256: f.SHA256, To: to})
}

// addBootCode takes GRUB for a BIOS along where the image has none, and its grub.cfg (S57, S58).
func (p *parts) addBootCode(v steps.View) error {
	in, blocked := newboot.Ask(newboot.Case{Device: v.Device, Files: v.Files, Config: v.Config, Facts: v.Facts}, firmware(v))
	switch {
	case in == nil:
		return nil
	case len(blocked) > 0:
		return fmt.Errorf("%s: expected %s", blocked[0].Got, blocked[0].Want) // asked before; something has changed meanwhile
	}
	p.plan.BootCode = &schema.BootCodePlan{
		BootImg: p.carry(in.BootImg, flashplan.BootCode+"/boot.img", schema.ExtraBootImg),
		CoreImg: p.carry(in.CoreImg, flashplan.BootCode+"/core.img", schema.ExtraCoreImg),
	}
	if in.Cfg != nil {
		p.carryBootFile(in.Cfg, schema.ExtraGrubCfg, "/grub/grub.cfg")
	}
	return nil
}

// bootPaths are where a file goes on the boot partition. GRUB reads its configuration from beside the EFI program, or
// as started by a BIOS from /grub as well.
func bootPaths(name, firmware string) []string {
	switch {
	case name == schema.ExtraUEnv:
		return []string{"/uEnv.txt"}
	case name == schema.ExtraGrubCfg && firmware == devicetype.EFI:
		return []string{"/EFI/BOOT/grub.cfg"}
	case name == schema.ExtraGrubCfg:
		return []string{"/EFI/BOOT/grub.cfg", "/grub/grub.cfg"}
	}
	return nil
}

// firmware is what precheck saw, or else what can be seen: the kernel has this directory only when EFI started it.
func firmware(v steps.View) string {
	if f := v.Facts.Host; f != nil && f.Firmware != "" {
		return f.Firmware
	}
	if isDir(v.Device, "/sys/firmware/efi") {
		return devicetype.EFI
	}
	return devicetype.BIOS
}

func isDir(r host.Reader, name string) bool {
	info, err := r.Stat(name)
	return err == nil && info.IsDir()
}
