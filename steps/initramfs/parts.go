package initramfs

import (
	"bytes"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/blockdev"
	"github.com/balena-community/balena-migrate/stage2/disarm"
	"github.com/balena-community/balena-migrate/stage2/flashplan"
	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/device/boot"
	"github.com/balena-community/balena-migrate/steps/device/configjson"
	"github.com/balena-community/balena-migrate/steps/device/target"
	"github.com/balena-community/balena-migrate/steps/device/watchdog"
	"github.com/balena-community/balena-migrate/steps/host"
)

// newSystemModules are needed after the flash, whatever the old system uses: the new system's boot partition is FAT
// (E22), mounted with the kernel's default character sets, its data partition ext4. Debian's initramfs has no vfat.
var newSystemModules = []string{"ext4", "vfat"} //nolint:gochecknoglobals // a table

// characterSets are what mounting FAT may ask for: the default code page, and the default iocharset of Debian's and of
// other kernels. A kernel has those that it asks for.
var characterSets = []string{"nls_cp437", "nls_ascii", "nls_iso8859_1", "nls_utf8"} //nolint:gochecknoglobals // a table

// firmwareModules are for the boot entries of EFI firmware, which stage 2 sets.
func firmwareModules(r host.Reader) []string {
	if _, err := r.Stat("/sys/firmware/efi"); err != nil {
		return nil
	}
	return []string{"efivarfs"}
}

// parts is what goes into an archive: the plan, and where the rest comes from.
type parts struct {
	plan     *schema.FlashPlan
	planJSON []byte
	self     string
	tree     *moduleTree
	modules  []string          // files below the tree's directory, in the order they are loaded
	dogs     []string          // those of the watchdog, which come before
	carried  map[string][]byte // what travels in the archive, by its path there
	freight  []freight         // what is too large for that: copied as it is
	logDisk  string
	recipe   string
	// processors are those that stage 2 will have.
	processors int
}

// newParts looks at the machine and at what the earlier steps left.
func newParts(v steps.View, site boot.Site) (*parts, error) {
	p := &parts{self: v.Self, carried: map[string][]byte{}}
	disk, root, err := target.Disk(site, v.Config.Disk.Target)
	if err != nil {
		return nil, err
	}
	backend, _ := boot.Find(site, v.Config.Boot.Method)
	p.plan = &schema.FlashPlan{Schema: schema.FlashPlanName, Disk: disk, Root: root, Stage2: v.Config.Stage2, MaxBadBlocks: v.Config.Disk.MaxBadBlocks}
	if err := p.chooseWord(v, site, backend); err != nil {
		return nil, err
	}
	if err := p.chooseLog(v); err != nil {
		return nil, err
	}
	if err := p.chooseModules(v.Device); err != nil {
		return nil, err
	}
	p.chooseWatchdog(v)
	if err := p.addPayload(v, site); err != nil {
		return nil, err
	}
	if err := p.addFiles(v); err != nil {
		return nil, err
	}
	if err := p.addBootFiles(v); err != nil {
		return nil, err
	}
	if err := p.chooseCompany(v, backend, site); err != nil {
		return nil, err
	}
	if p.planJSON, err = schema.Encode(p.plan); err != nil {
		return nil, err
	}
	p.recipe, err = p.digest(v)
	return p, err
}

// chooseWord says where stage 2 leaves word for the old system. A boot loader's files are put back by the record in the work
// dir, so there it must be that; kexec needs none.
func (p *parts) chooseWord(v steps.View, site boot.Site, backend boot.Backend) error {
	var err error
	if _, ok := backend.(boot.Loader); !ok {
		p.plan.WorkFS, p.plan.WorkDir, err = target.Place(site, v.Files, v.WorkDir)
		return err
	}
	p.plan.Kexec = true
	p.plan.Layered = target.Mountable(site, p.plan.Root) != nil
	p.plan.WorkDir = "/"
	if w, found := target.FindWord(site, v.Files, v.WorkDir); found {
		p.plan.WorkFS, p.plan.WorkDir = w.FS, w.Inside
	}
	return nil
}

// chooseLog identifies the partition for the log, which must outlive the flash.
func (p *parts) chooseLog(v steps.View) error {
	name := v.Config.Stage2.LogDevice
	if name == "" {
		return nil
	}
	hint := "name a partition of another disk in stage2.log_device, and its file system in stage2.log_fs"
	real, err := v.Device.RealPath(name)
	if err != nil {
		return err
	}
	device := path.Base(real)
	info, err := blockdev.ProbeFS(v.Device, device)
	if err != nil {
		return steps.WithHint(fmt.Errorf("stage2.log_device: %w", err), hint)
	}
	if info.Type != v.Config.Stage2.LogFS {
		return steps.WithHint(fmt.Errorf("stage2.log_device %s: found %q, expected %s", name, info.Type, v.Config.Stage2.LogFS), hint)
	}
	if p.logDisk, err = blockdev.DiskOf(v.Device, device); err != nil {
		return steps.WithHint(fmt.Errorf("stage2.log_device: %w", err), hint)
	}
	if p.logDisk == p.plan.Disk.Name {
		return steps.WithHint(fmt.Errorf("stage2.log_device %s: on the disk that is written over", name), hint)
	}
	p.plan.Log = &schema.FileSystem{Device: device, Type: info.Type, UUID: info.UUID}
	return nil
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
	if !p.plan.Layered {
		names = append(names, p.plan.Root.Type)
	}
	if p.plan.WorkFS.UUID != "" {
		names = append(names, p.plan.WorkFS.Type)
	}
	if p.plan.Log != nil {
		more, err := blockdev.Drivers(r, p.logDisk)
		if err != nil {
			return err
		}
		names = append(append(names, more...), p.plan.Log.Type)
	}
	names = append(append(names, newSystemModules...), p.tree.present(characterSets)...)
	names = append(names, p.tree.present(firmwareModules(r))...)
	if p.modules, err = p.tree.order(names); err != nil {
		return err
	}
	p.plan.Modules = inArchive(p.modules)
	return nil
}

// inArchive is where module files lie in the archive.
func inArchive(files []string) []string {
	out := make([]string, len(files))
	for i, f := range files {
		out[i] = flashplan.Modules + "/" + moduleName(f) + ".ko"
	}
	return out
}

// chooseWatchdog takes the drivers of the machine's watchdogs along. One that the kernel's lists lack is left out: a
// watchdog is for the worst case, and no reason not to migrate.
func (p *parts) chooseWatchdog(v steps.View) {
	if v.Config.Boot.Watchdog == "off" {
		return
	}
	for _, name := range watchdog.Modules(v.Device, p.plan.KernelRelease) {
		files, err := p.tree.order([]string{name})
		if err != nil {
			continue
		}
		for _, f := range files {
			if !slices.Contains(p.dogs, f) {
				p.dogs = append(p.dogs, f)
			}
		}
	}
	p.plan.Watchdog = &schema.WatchdogPlan{Modules: inArchive(p.dogs)}
}

// files are all module files of the archive.
func (p *parts) files() []string {
	out := slices.Clone(p.modules)
	for _, f := range p.dogs {
		if !slices.Contains(out, f) {
			out = append(out, f)
		}
	}
	return out
}

// addFiles reads the files that travel in the archive.
func (p *parts) addFiles(v steps.View) error {
	index, err := v.Files.ReadFile(v.Facts.Image.Index)
	if err != nil {
		return err
	}
	p.plan.Index = p.carry(index, flashplan.Index, "image-index.json")
	config, err := configFor(v)
	if err != nil {
		return err
	}
	p.plan.ConfigJSON = p.carry(config, flashplan.ConfigJSON, "config.json")
	p.plan.Networks = []schema.ArchiveFile{}
	for _, c := range v.Facts.Network.Connections {
		data, err := v.Files.ReadFile(path.Join(v.Facts.Network.Dir, c.File))
		if err != nil {
			return err
		}
		f := p.carry(data, flashplan.Networks+"/"+c.File, c.File)
		if f.SHA256 != c.SHA256 {
			return steps.WithHint(fmt.Errorf("%s: not the file that collect-wifi wrote", c.File), "run step collect-wifi again")
		}
		p.plan.Networks = append(p.plan.Networks, f)
	}
	return nil
}

// configFor is config.json as the new system gets it: the operator's, with what the old system has where that has none of
// its own (P14, E2), and without the Wi-Fi key that a connection file holds (E5).
func configFor(v steps.View) ([]byte, error) {
	data, err := v.Files.ReadFile(v.Config.Balena.ConfigJSON)
	if err != nil {
		return nil, err
	}
	kept := configjson.Kept{WifiMoved: v.Config.Network.FromConfigJSON}
	if name, err := v.Device.ReadFile("/etc/hostname"); err == nil && v.Config.Network.KeepHostname {
		kept.Hostname = strings.TrimSpace(string(name)) // a system without a name has none to keep
	}
	if s := v.Facts.Network.System; s != nil {
		kept.NTPServers, kept.DNSServers = s.NTPServers, s.DNSServers
	}
	c, err := configjson.Parse(data)
	if err != nil {
		return nil, err
	}
	if changed, ok, err := c.Keep(kept); ok || err != nil {
		return changed, err
	}
	return data, nil
}

// carry adds a file to the archive.
func (p *parts) carry(data []byte, to, name string) schema.ArchiveFile {
	p.carried[to] = data
	return schema.ArchiveFile{Name: name, Path: to, Size: int64(len(data)), SHA256: disarm.Sum(data)}
}

// digest sums up all that the archive depends on. The modules count by what stat(2) says of them.
func (p *parts) digest(v steps.View) (string, error) {
	self, err := v.Files.ReadFile(v.Self)
	if err != nil {
		return "", fmt.Errorf("own executable: %w", err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n%s\n%s\n", v.Version, disarm.Sum(self), p.planJSON)
	for _, m := range p.files() {
		s, err := steps.Look(v.Device, p.tree.dir+"/"+m)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "%s %d %d\n", m, s.Size, s.MtimeNS)
	}
	return disarm.Sum([]byte(b.String())), nil
}

// entries is everything that goes into the archive.
func (p *parts) entries(t steps.Target) ([]entry, error) {
	self, err := t.Files.ReadFile(p.self)
	if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(self, []byte("\x7fELF")) {
		return nil, fmt.Errorf("own executable %s: found no ELF file", p.self)
	}
	out := []entry{{path: flashplan.Binary, mode: 0o755, data: self}, {path: flashplan.Plan, mode: 0o600, data: p.planJSON}}
	for at, data := range p.carried {
		out = append(out, entry{path: at, mode: 0o600, data: data})
	}
	files := p.files()
	for i, at := range inArchive(files) {
		data, err := p.tree.readModule(t.Device, files[i])
		if err != nil {
			return nil, err
		}
		out = append(out, entry{path: at, mode: 0o644, data: data})
	}
	return out, nil
}
