package initramfs

import (
	"bytes"
	"fmt"
	"path"
	"strings"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/blockdev"
	"github.com/balena-community/balena-migrate/stage2/disarm"
	"github.com/balena-community/balena-migrate/stage2/flashplan"
	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/device/boot"
	"github.com/balena-community/balena-migrate/steps/device/target"
	"github.com/balena-community/balena-migrate/steps/host"
)

// newSystemModules are needed after the flash, whatever the old system uses: the new system's boot partition is FAT
// (E22), mounted with the kernel's default character sets, its data partition ext4. Debian's initramfs has no vfat.
var newSystemModules = []string{"ext4", "vfat"} //nolint:gochecknoglobals // a table

// characterSets are what mounting FAT may ask for: the default code page, and the default iocharset of Debian's and of
// other kernels. A kernel has those that it asks for.
var characterSets = []string{"nls_cp437", "nls_ascii", "nls_iso8859_1", "nls_utf8"} //nolint:gochecknoglobals // a table

// parts is what goes into an archive: the plan, and where the rest comes from.
type parts struct {
	plan     *schema.FlashPlan
	planJSON []byte
	self     string
	tree     *moduleTree
	modules  []string // files below the tree's directory, in the order they are loaded
	files    map[string]string
	recipe   string
}

// newParts looks at the machine and at what the earlier steps left.
func newParts(v steps.View, site boot.Site) (*parts, error) {
	p := &parts{self: v.Self, files: map[string]string{}}
	disk, root, err := target.Disk(site, v.Config.Disk.Target)
	if err != nil {
		return nil, err
	}
	p.plan = &schema.FlashPlan{Schema: schema.FlashPlanName, Disk: disk, Root: root, Stage2: v.Config.Stage2}
	if p.plan.WorkFS, p.plan.WorkDir, err = target.Place(site, v.Files, v.WorkDir); err != nil {
		return nil, err
	}
	if err := p.chooseModules(v.Device); err != nil {
		return nil, err
	}
	if err := p.addPayload(v, site); err != nil {
		return nil, err
	}
	if err := p.addFiles(v); err != nil {
		return nil, err
	}
	if p.planJSON, err = schema.Encode(p.plan); err != nil {
		return nil, err
	}
	p.recipe, err = p.digest(v)
	return p, err
}

// chooseModules lists the modules of the disk's drivers and of the file systems, old and new.
func (p *parts) chooseModules(r host.Reader) error {
	release, err := boot.Release(r)
	if err != nil {
		return err
	}
	p.plan.KernelRelease = release
	if p.tree, err = openModules(r, release); err != nil {
		return err
	}
	names, err := blockdev.Drivers(r, p.plan.Disk.Name)
	if err != nil {
		return err
	}
	names = append(names, p.plan.Root.Type, p.plan.WorkFS.Type)
	names = append(append(names, newSystemModules...), p.tree.present(characterSets)...)
	if p.modules, err = p.tree.order(names); err != nil {
		return err
	}
	p.plan.Modules = make([]string, len(p.modules))
	for i, m := range p.modules {
		p.plan.Modules[i] = flashplan.Modules + "/" + moduleName(m) + ".ko"
	}
	return nil
}

// addPayload names the image and the backup, which stay on the old system's disk until stage 2 takes them into memory.
func (p *parts) addPayload(v steps.View, site boot.Site) error {
	image := v.Facts.Image
	var err error
	if p.plan.Image, err = target.Ref(site, v.Files, image.Path, image.GzipSize, image.GzipSHA256); err != nil {
		return err
	}
	if v.Facts.Backup.Path == "" {
		return nil
	}
	b := v.Facts.Backup
	ref, err := target.Ref(site, v.Files, b.Path, b.Size, b.SHA256)
	p.plan.Backup = &ref
	return err
}

// addFiles names the files that travel in the archive.
func (p *parts) addFiles(v steps.View) error {
	var err error
	if p.plan.Index, err = p.carry(v.Files, v.Facts.Image.Index, flashplan.Index, "image-index.json"); err != nil {
		return err
	}
	if p.plan.ConfigJSON, err = p.carry(v.Files, v.Config.Balena.ConfigJSON, flashplan.ConfigJSON, "config.json"); err != nil {
		return err
	}
	p.plan.Networks = []schema.ArchiveFile{}
	for _, c := range v.Facts.Network.Connections {
		f, err := p.carry(v.Files, path.Join(v.Facts.Network.Dir, c.File), flashplan.Networks+"/"+c.File, c.File)
		if err != nil {
			return err
		}
		if f.SHA256 != c.SHA256 {
			return steps.WithHint(fmt.Errorf("%s: not the file that collect-wifi wrote", c.File), "run step collect-wifi again")
		}
		p.plan.Networks = append(p.plan.Networks, f)
	}
	return nil
}

// carry adds a file of the caller's to the archive.
func (p *parts) carry(r host.Reader, from, to, name string) (schema.ArchiveFile, error) {
	data, err := r.ReadFile(from)
	if err != nil {
		return schema.ArchiveFile{}, err
	}
	p.files[to] = from
	return schema.ArchiveFile{Name: name, Path: to, Size: int64(len(data)), SHA256: disarm.Sum(data)}, nil
}

// digest sums up all that the archive depends on. The modules count by what stat(2) says of them.
func (p *parts) digest(v steps.View) (string, error) {
	self, err := v.Files.ReadFile(v.Self)
	if err != nil {
		return "", fmt.Errorf("own executable: %w", err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n%s\n%s\n", v.Version, disarm.Sum(self), p.planJSON)
	for _, m := range p.modules {
		s, err := steps.Look(v.Device, p.tree.dir+"/"+m)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "%s %d %d\n", m, s.Size, s.MtimeNS)
	}
	return disarm.Sum([]byte(b.String())), nil
}

// entries reads everything and compares it with the plan once more.
func (p *parts) entries(t steps.Target) ([]entry, error) {
	self, err := t.Files.ReadFile(p.self)
	if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(self, []byte("\x7fELF")) {
		return nil, fmt.Errorf("own executable %s: found no ELF file", p.self)
	}
	out := []entry{{path: flashplan.Binary, mode: 0o755, data: self}, {path: flashplan.Plan, mode: 0o600, data: p.planJSON}}
	carried := append([]schema.ArchiveFile{p.plan.Index, p.plan.ConfigJSON}, p.plan.Networks...)
	for _, f := range carried {
		data, err := t.Files.ReadFile(p.files[f.Path])
		if err != nil {
			return nil, err
		}
		if disarm.Sum(data) != f.SHA256 {
			return nil, fmt.Errorf("%s changed while it was read", p.files[f.Path])
		}
		out = append(out, entry{path: f.Path, mode: 0o600, data: data})
	}
	for i, m := range p.modules {
		data, err := p.tree.readModule(t.Device, m)
		if err != nil {
			return nil, err
		}
		out = append(out, entry{path: p.plan.Modules[i], mode: 0o644, data: data})
	}
	return out, nil
}
