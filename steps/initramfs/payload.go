package initramfs

import (
	"fmt"
	"path"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/flashplan"
	"github.com/balena-community/balena-migrate/stage2/inplace"
	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/device/boot"
	"github.com/balena-community/balena-migrate/steps/device/capacity"
	"github.com/balena-community/balena-migrate/steps/device/place"
	"github.com/balena-community/balena-migrate/steps/device/target"
)

// freight is a file that travels in the archive as it is: it is packed already.
type freight struct {
	name string // among the caller's files
	path string // in the initramfs
	size int64
}

// addPayload names the image and the backup, which stay on the old system's disk: in place what lies beyond the area that
// the flash writes, the rest until stage 2 takes it into memory. Where stage 2 can't mount that, they travel in the archive.
func (p *parts) addPayload(v steps.View, site boot.Site) error {
	image := v.Facts.Image
	var err error
	if p.plan.Image, err = p.ref(v, site, freight{image.Path, flashplan.Image, image.GzipSize}, image.GzipSHA256); err != nil {
		return err
	}
	if v.Facts.Backup.Path == "" {
		return nil
	}
	b := v.Facts.Backup
	ref, err := p.ref(v, site, freight{b.Path, flashplan.Backup, b.Size}, b.SHA256)
	p.plan.Backup = &ref
	return err
}

// ref finds a file again, and where it lies now: what the steps before recorded may be out of date.
func (p *parts) ref(v steps.View, site boot.Site, file freight, sha256 string) (schema.FileRef, error) {
	name, size := file.name, file.size
	fsys, _, err := target.Place(site, v.Files, name)
	if p.plan.Kexec && (err != nil || target.Mountable(site, fsys) != nil) {
		p.freight = append(p.freight, file)
		return schema.FileRef{FSType: flashplan.Carried, Path: file.path, Size: size, SHA256: sha256}, nil
	}
	ref, err := target.Ref(site, v.Files, name, size, sha256)
	if err != nil {
		return ref, err
	}
	f := place.File{Site: site, Files: v.Files, Disk: p.plan.Disk, Name: name, Written: inplace.Written(v.Facts.Image.RawSize)}
	ref.Extents, _ = f.InPlace(size)
	if len(ref.Extents) > maxExtents {
		ref.Extents = nil
	}
	return ref, nil
}

// maxExtents bounds the plan, which is read as one document: a file in more pieces is held in memory.
const maxExtents = 4096

// chooseCompany decides whether the host's own initramfs comes along: where memory is short it does not.
func (p *parts) chooseCompany(v steps.View, backend boot.Backend, site boot.Site) error {
	entry, err := boot.Assumed(backend).Running(site)
	if err != nil {
		return err
	}
	initrd := int64(0)
	if entry.Initrd != "" {
		info, err := v.Device.Stat(entry.Initrd)
		if err != nil {
			return err
		}
		initrd = info.Size()
	}
	total, err := capacity.Memory(v.Device)
	if err != nil {
		return err
	}
	archive, err := p.unpacked(v)
	if err != nil {
		return err
	}
	p.processors = capacity.Processors(v.Device)
	need := flashplan.Need(p.plan, p.processors) + archive
	p.plan.Alone = flashplan.Alone(total, need, v.Config.Stage2.MinFreeMB<<20, initrd)
	return nil
}

// moduleGrowth is how much larger a compressed module is unpacked, at most of those that were seen.
const moduleGrowth = 5

// unpacked estimates the size of the archive's files in memory, in bytes, from above: no module is unpacked for it.
func (p *parts) unpacked(v steps.View) (int64, error) {
	info, err := v.Files.Stat(v.Self)
	if err != nil {
		return 0, fmt.Errorf("own executable: %w", err)
	}
	n := info.Size() + flashplan.CarriedSize(p.plan)
	for _, data := range p.carried {
		n += int64(len(data))
	}
	for _, m := range p.files() {
		info, err := v.Device.Stat(p.tree.dir + "/" + m)
		if err != nil {
			return 0, err
		}
		if size := info.Size(); path.Ext(m) == ".ko" {
			n += size
		} else {
			n += moduleGrowth * size
		}
	}
	return n, nil
}
