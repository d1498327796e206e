package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/fat"
	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/host"
)

// extrasName is the directory in the work dir for what a flasher image brings along.
const extrasName = "image.extras"

// maxExtra bounds one of these files, in bytes. core.img has some 100 kB, the others less.
const maxExtra = 2 << 20

// extraPlaces says what is looked for on the boot partition of a flasher and where (E27, S72).
func extraPlaces() []struct {
	name string
	from []string
} {
	return []struct {
		name string
		from []string
	}{
		{schema.ExtraGrubCfg, []string{"grub.cfg_internal", "EFI/BOOT/grub.cfg_internal"}},
		{schema.ExtraUEnv, []string{"uEnv.txt_internal"}},
		{schema.ExtraBootImg, []string{"grub/boot.img", "boot.img"}},
		{schema.ExtraCoreImg, []string{"grub/core.img", "core.img"}},
		{schema.ExtraConfigJSON, []string{"config.json"}},
	}
}

// extra is one of them in memory.
type extra struct {
	name, from string
	data       []byte
}

// outside is what the boot partition of a flasher holds.
type outside struct {
	findings
	extras []extra
}

// outside reads the boot partition of the flasher.
func (f *flasher) outside() (outside, error) {
	for _, p := range byStart(f.table.Partitions) {
		if p.Extended {
			continue
		}
		files, err := fat.Open(io.NewSectionReader(f.r, p.Start, p.Size), p.Size)
		if errors.Is(err, fat.ErrFormat) {
			continue
		}
		var label string
		if err == nil {
			label, err = files.Label()
		}
		if err != nil {
			return outside{}, f.broken(fmt.Sprintf("partition %d", p.Number), err)
		}
		if !isFlasher(p, label, files) {
			continue
		}
		var out outside
		if err := (survey{job: f.job, r: f.r}).deviceType(p, files, &out.findings); err != nil {
			return out, err
		}
		out.extras, err = f.readExtras(files)
		return out, err
	}
	return outside{}, refuse(f.job.source+": a flasher image without a boot partition", "one named "+flasherBoot, "download the image again")
}

func (f *flasher) readExtras(files *fat.FS) ([]extra, error) {
	var out []extra
	for _, e := range extraPlaces() {
		for _, from := range e.from {
			data, err := readSmall(files, from)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, f.broken("/"+from, err)
			}
			out = append(out, extra{name: e.name, from: "/" + from, data: data})
			break
		}
	}
	return out, nil
}

// readSmall reads a file that can't be large.
func readSmall(files fs.FS, name string) ([]byte, error) {
	f, err := files.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxExtra+1))
	if err == nil && len(data) > maxExtra {
		err = fmt.Errorf("more than %d bytes", maxExtra)
	}
	return data, err
}

// unwrap puts the image in a flasher in the place of the flasher image, and its extras into the work dir.
func (m *making) unwrap(ctx context.Context) error {
	if m.inPlace {
		return refuse(m.source+": a flasher image where the result goes", "it elsewhere", "move it out of the work dir")
	}
	f, err := m.openFlasher(&watched{r: (&File{job: m.job, src: m.src}).view(ctx)}, m.src.rawSize())
	if err != nil {
		return err
	}
	if m.outside, err = f.outside(); err != nil {
		return err
	}
	in, err := f.find()
	if err != nil {
		return err
	}
	if err := m.rawSize(in.size); err != nil {
		return err
	}
	if m.src, err = m.job.unwrap(m.src, in); err != nil {
		return err
	}
	return m.saveExtras()
}

// adopt takes over what an image brings along that was unwrapped elsewhere.
func (m *making) adopt(index *schema.ImageIndex) error {
	m.flasher = index.Flasher
	for _, e := range index.Extras {
		m.outside.extras = append(m.outside.extras, extra{name: e.Name, from: e.From, data: e.Data})
	}
	return m.saveExtras()
}

// indexExtras are those that travel with the image. A config.json holds keys, and each device has its own.
func (m *making) indexExtras() []schema.IndexExtra {
	var out []schema.IndexExtra
	for _, e := range m.outside.extras {
		if e.name != schema.ExtraConfigJSON {
			out = append(out, schema.IndexExtra{Name: e.name, From: e.from, Data: e.data})
		}
	}
	return out
}

// saveExtras writes them for root alone: config.json holds keys.
func (m *making) saveExtras() error {
	if len(m.outside.extras) == 0 {
		return nil
	}
	dir := m.extrasDir()
	if err := m.h.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, e := range m.outside.extras {
		if err := m.h.WriteFile(path.Join(dir, e.name), e.data, fileMode); err != nil {
			return err
		}
	}
	return nil
}

func (j job) extrasDir() string { return path.Join(j.dir, extrasName) }

// extraFacts says what lies in the work dir.
func (m *making) extraFacts() []schema.ExtraFile {
	var out []schema.ExtraFile
	for _, e := range m.outside.extras {
		sum := sha256.Sum256(e.data)
		out = append(out, schema.ExtraFile{
			Name: e.name, From: e.from, Path: path.Join(m.extrasDir(), e.name), Size: int64(len(e.data)), SHA256: hex.EncodeToString(sum[:]),
		})
	}
	return out
}

// extraStamps are those of the extras, whose digests are known.
func extraStamps(r host.Reader, extras []schema.ExtraFile) ([]schema.FileStamp, error) {
	var out []schema.FileStamp
	for _, e := range extras {
		s, err := steps.Look(r, e.Path)
		if err != nil {
			return nil, err
		}
		s.SHA256 = e.SHA256
		out = append(out, s)
	}
	return out, nil
}

// oldExtras lists what another flasher image left behind.
func (j job) oldExtras(r host.Reader) []string {
	entries, err := r.ReadDir(j.extrasDir())
	if err != nil {
		return nil
	}
	var out []string
	for _, e := range entries {
		out = append(out, path.Join(j.extrasDir(), e.Name()))
	}
	return out
}
