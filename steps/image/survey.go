package image

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"slices"
	"strings"

	"github.com/goccy/go-json"

	"github.com/balena-community/balena-migrate/stage2/fat"
	"github.com/balena-community/balena-migrate/stage2/parttable"
)

// findings is what an image says of itself. partial says that its boot partition may lie where it was not looked, and
// flasher that it only installs another image, which is then what the rest is about.
type findings struct {
	table, deviceType, arch, version string
	parts                            []parttable.Partition
	partial, flasher                 bool
}

// survey looks at a raw image of size bytes, -1 if not known. Partitions that begin at reach or behind are left out.
type survey struct {
	job   job
	r     *watched
	size  int64
	reach int64
	// outer is what the flasher image around it says.
	outer findings
}

// glance looks at an image before it is prepared. What lies too far inside is left to the look afterwards.
func (j job) glance(ctx context.Context, src source) (findings, error) {
	s := survey{job: j, size: src.rawSize(), reach: math.MaxInt64}
	view := src.view(ctx)
	if w, packed := view.(*window); packed {
		view, s.reach = primaryOnly{w}, reach
	}
	s.r = &watched{r: view}
	found, err := s.look()
	if err == nil && found.flasher {
		return j.glanceInside(src, view, found)
	}
	if err == nil && s.size >= 0 {
		err = j.rawSize(s.size) // last, for what is no image at all mostly has an odd size, too
	}
	return found, err
}

// look reads the partition table, then the boot partition. An image that can't be read is an error; one that was read
// and is not what it should be is a *refusal.
func (s survey) look() (findings, error) {
	found, err := s.read()
	if s.r.err != nil {
		return found, s.r.err
	}
	found.deviceType, found.arch = cmp.Or(found.deviceType, s.outer.deviceType), cmp.Or(found.arch, s.outer.arch)
	if err == nil && !found.partial {
		err = s.job.deviceType(found.deviceType, found.arch)
	}
	return found, err
}

func (s survey) read() (findings, error) {
	size := s.size
	if size < 0 {
		size = math.MaxInt64
	}
	table, err := parttable.Read(s.r, size)
	if err != nil {
		return findings{}, s.noTable(err)
	}
	if err := s.job.whole(table, s.size); err != nil {
		return findings{}, err
	}
	found, err := s.partitions(table)
	if err == nil && !found.flasher { // of a flasher only what is in it comes to the disk
		err = s.job.suits(table)
	}
	return found, err
}

// partitions looks at one after the other until the boot partition is found.
func (s survey) partitions(table *parttable.Table) (findings, error) {
	found := findings{table: table.Kind, parts: table.Partitions}
	for _, p := range byStart(table.Partitions) {
		if p.Extended {
			continue
		}
		boot, err := s.partition(p, &found)
		switch {
		case errors.Is(err, errReach):
			found.partial = true
		case err != nil:
			return found, err
		case boot:
			found.partial = false
			return found, nil
		}
	}
	if found.partial {
		return found, nil
	}
	// Stage 2 would have no place for config.json and the networks: the device would come up out of reach.
	return found, refuse(s.job.source+": no partition labelled "+strings.Join(bootNames(), " or "), "a balenaOS image (E20)",
		"give the image as balena offers it for download")
}

// byStart is partitions in the order in which they lie, in which a stream can be looked at.
func byStart(parts []parttable.Partition) []parttable.Partition {
	parts = slices.Clone(parts)
	slices.SortFunc(parts, func(a, b parttable.Partition) int { return cmp.Compare(a.Start, b.Start) })
	return parts
}

// noTable refuses what is not a disk image and says what it is instead, or that it ends too early.
func (s survey) noTable(err error) error {
	if s.size >= 0 && !errors.Is(err, parttable.ErrNoTable) {
		t, tableErr := parttable.Read(primaryOnly{s.r}, s.size)
		if tableErr == nil && t.Fits(s.size) != nil {
			return s.job.whole(t, s.size)
		}
	}
	got := describe(s.r)
	if got == "" {
		got = strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	return refuse(s.job.source+": "+got, "a disk image with a partition table", "give the image as balena offers it for download")
}

// The names of boot partitions, as label or as GPT partition name (E20, E23, E24).
func bootNames() []string { return []string{"resin-boot", "balena-boot"} }

// partition looks at one partition and returns whether it is the boot partition.
func (s survey) partition(p parttable.Partition, found *findings) (bool, error) {
	if p.Start >= s.reach {
		return false, errReach
	}
	files, err := fat.Open(io.NewSectionReader(s.r, p.Start, p.Size), p.Size)
	if errors.Is(err, fat.ErrFormat) {
		return false, nil
	}
	if err != nil {
		return false, s.unreadable(p, err)
	}
	label, err := files.Label()
	if err != nil {
		return false, s.unreadable(p, err)
	}
	if isFlasher(p, label, files) {
		found.flasher = true
		return true, s.deviceType(p, files, found)
	}
	if !slices.Contains(bootNames(), label) && !slices.Contains(bootNames(), p.Name) {
		return false, nil
	}
	found.version = readVersion(files, "os-release") // some device types have one there
	return true, s.deviceType(p, files, found)
}

// unreadable is damage in a partition, unless it only lies too far inside.
func (s survey) unreadable(p parttable.Partition, err error) error {
	if errors.Is(err, errReach) {
		return err
	}
	return refuse(fmt.Sprintf("%s: partition %d: %v", s.job.source, p.Number, err), "a readable boot partition", "the image is damaged: download it again")
}

// maxDeviceType is the largest device-type.json that is read, in bytes; those of balena have a few kB.
const maxDeviceType = 1 << 20

// deviceType reads device-type.json (E38). An image without has an empty device type.
func (s survey) deviceType(p parttable.Partition, files *fat.FS, found *findings) error {
	const name = "device-type.json"
	f, err := files.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return s.unreadable(p, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxDeviceType))
	if err != nil {
		return s.unreadable(p, err)
	}
	var doc map[string]any // exact keys: the decoder would match those of a struct regardless of case
	if err := json.Unmarshal(data, &doc); err != nil {
		return s.unreadable(p, fmt.Errorf("%s: %w", name, err))
	}
	found.deviceType, _ = doc["slug"].(string)
	found.arch, _ = doc["arch"].(string)
	return nil
}

// watched remembers the error of a file that can't be read, which the readers of file systems on it take for damage.
type watched struct {
	r   io.ReaderAt
	err error
}

// ReadAt implements io.ReaderAt.
func (w *watched) ReadAt(p []byte, off int64) (int, error) {
	n, err := w.r.ReadAt(p, off)
	if err != nil && err != io.EOF && !errors.Is(err, errReach) {
		w.err = err
	}
	return n, err
}

// otherType is "non-FS data": primaryOnly makes an extended partition one without partitions in it.
const otherType = 0xda

// primaryOnly hides logical partitions: their boot records lie behind the two root file systems, too far inside a
// packed image to be looked at. The boot partition is never among them.
type primaryOnly struct{ io.ReaderAt }

// ReadAt implements io.ReaderAt.
func (p primaryOnly) ReadAt(b []byte, off int64) (int, error) {
	n, err := p.ReaderAt.ReadAt(b, off)
	if off == 0 && n >= 512 && binary.LittleEndian.Uint16(b[510:]) == 0xaa55 {
		for entry := range slices.Chunk(b[446:510], 16) {
			switch entry[4] {
			case 0x05, 0x0f, 0x85: // extended: CHS, LBA, Linux
				entry[4] = otherType
			}
		}
	}
	return n, err
}
