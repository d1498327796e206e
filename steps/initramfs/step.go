// Package initramfs builds the archive that the kernel unpacks over the host's own initramfs to start stage 2: this
// very executable, the flash plan, config.json, the networks, and the kernel modules on the way to the disk.
//
// Nothing of the host is run for it and nothing of the host changes; the archive lies in the work dir until arm-boot
// shows it to the boot loader. To undo it, delete the file.
package initramfs

import (
	"context"
	"fmt"
	"path"
	"slices"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/flashplan"
	"github.com/balena-community/balena-migrate/stage2/inplace"
	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/device/boot"
	"github.com/balena-community/balena-migrate/steps/device/configjson"
	"github.com/balena-community/balena-migrate/steps/device/devicetype"
	"github.com/balena-community/balena-migrate/steps/device/newboot"
)

const (
	archiveName = "stage2.cpio.gz"
	stampName   = "stage2.stamp.json"
)

// Step is build-initramfs.
type Step struct{}

// Name implements steps.Step.
func (Step) Name() string { return "build-initramfs" }

// Plan implements steps.Step.
func (Step) Plan(ctx context.Context, v steps.View) (steps.Plan, error) {
	plan := steps.Plan{Facts: v.Facts}
	plan.Facts.Initramfs = nil
	if needs(&plan, v.Facts) {
		return plan, nil
	}
	if plan.Blocked = suits(v); len(plan.Blocked) > 0 {
		return plan, nil
	}
	site, err := boot.At(v.Device)
	if err != nil {
		return plan, err
	}
	p, err := newParts(v, site)
	if err != nil {
		return plan, err
	}
	if size := v.Facts.Image.RawSize; size > p.plan.Disk.Size {
		plan.Block("image", fmt.Sprintf("an image of %d bytes unpacked", size),
			fmt.Sprintf("at most the %d bytes of /dev/%s", p.plan.Disk.Size, p.plan.Disk.Name), "choose a smaller image")
		return plan, nil
	}
	if plan.Blocked, err = otherDisk(v, p.plan.Disk.Name); err != nil || len(plan.Blocked) > 0 {
		return plan, err
	}
	stamp := steps.LoadStamp(v.Files, path.Join(v.WorkDir, stampName))
	if steps.Fresh(v.Files, stamp, p.recipe) {
		plan.Facts.Initramfs = stamp.Facts.Initramfs
		return plan, ctx.Err()
	}
	if _, err := v.Files.Stat(v.WorkDir); err != nil {
		plan.Add(steps.Mkdir{Place: steps.InFiles, Path: v.WorkDir, Mode: 0o700})
	}
	plan.Add(build{parts: p, workDir: v.WorkDir})
	return plan, nil
}

// needs says whether an earlier step is missing.
func needs(plan *steps.Plan, f schema.Facts) bool {
	if f.Image == nil {
		plan.Need("prepare-image")
	}
	if f.Network == nil {
		plan.Need("collect-wifi")
	}
	if f.Backup == nil {
		plan.Need("backup")
	}
	return len(plan.Needs) > 0
}

// suits checks what can only be known now that the image is: that it is for the device type of config.json and
// of the machine (E6, E37, E38), and that the machine's firmware will find something to start in it (E28).
func suits(v steps.View) []schema.Blocked {
	data, err := v.Files.ReadFile(v.Config.Balena.ConfigJSON)
	if err != nil {
		return []schema.Blocked{configBlocked(err)}
	}
	c, err := configjson.Parse(data)
	if err != nil {
		return []schema.Blocked{configBlocked(err)}
	}
	var out []schema.Blocked
	if !slices.Contains(v.Config.Checks.Skip, devicetype.Check) {
		out = disagree(v, c)
	}
	_, against := newboot.Ask(newboot.Case{Device: v.Device, Files: v.Files, Config: v.Config, Facts: v.Facts}, firmware(v))
	for _, b := range against {
		if b.Check == "options" || !slices.Contains(v.Config.Checks.Skip, b.Check) {
			out = append(out, b)
		}
	}
	return out
}

func disagree(v steps.View, c *configjson.File) []schema.Blocked {
	claims := devicetype.Claims{
		Image: v.Facts.Image.DeviceType, ImageArch: v.Facts.Image.Arch, Config: c.DeviceType(), Asked: v.Config.Image.DeviceType, Machine: v.Device.Machine(),
	}
	if v.Facts.Host != nil {
		claims.Device = v.Facts.Host.DeviceTypes
	}
	return claims.Disagree()
}

func configBlocked(err error) schema.Blocked {
	return schema.Blocked{
		Check: "config-json", Got: err.Error(), Want: "balena's config.json",
		Remedy: "set balena.config_json to the file downloaded from balena",
	}
}

// build packs the parts and leaves the archive and its stamp in the work dir.
type build struct {
	parts   *parts
	workDir string
}

// Note implements steps.Change.
func (b build) Note() schema.ChangeNote {
	return schema.ChangeNote{Action: "build", Target: path.Join(b.workDir, archiveName)}
}

// Apply implements steps.Change.
func (b build) Apply(ctx context.Context, t steps.Target) error {
	entries, err := b.parts.entries(t)
	if err != nil {
		return err
	}
	name := path.Join(b.workDir, archiveName)
	out, err := t.Files.Create(name, 0o600)
	if err != nil {
		return err
	}
	defer out.Discard()
	if len(b.parts.freight) > 0 {
		if err := load(out, t.Files, b.parts.freight); err != nil {
			return err
		}
	}
	if err := pack(out, entries); err != nil {
		return err
	}
	if err := out.Commit(); err != nil {
		return err
	}
	product, err := steps.Digest(ctx, t.Files, name)
	if err != nil {
		return err
	}
	return steps.SaveStamp(t.Files, path.Join(b.workDir, stampName), &schema.Stamp{
		Recipe: b.parts.recipe, Files: []schema.FileStamp{product},
		Facts: schema.Facts{Initramfs: b.facts(product, entries)},
	})
}

func (b build) facts(product schema.FileStamp, entries []entry) *schema.InitramfsFacts {
	plan := b.parts.plan
	f := &schema.InitramfsFacts{
		Path: product.Path, Size: product.Size, SHA256: product.SHA256, KernelRelease: plan.KernelRelease, Modules: []string{},
		MemoryNeed: flashplan.Need(plan, b.parts.processors), Alone: plan.Alone,
		Held: flashplan.Held(&plan.Image) + flashplan.Held(plan.Backup), InPlace: inplace.Total(plan.Image.Extents),
		Carried: flashplan.CarriedSize(plan),
	}
	if plan.Backup != nil {
		f.InPlace += inplace.Total(plan.Backup.Extents)
	}
	for _, m := range b.parts.files() {
		f.Modules = append(f.Modules, moduleName(m))
	}
	for _, e := range entries {
		f.MemoryNeed += int64(len(e.data))
	}
	f.MemoryNeed += f.Carried
	return f
}
