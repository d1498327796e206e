package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"path"
	"slices"
	"strings"

	"github.com/balena-community/balena-migrate/stage2/ext4"
	"github.com/balena-community/balena-migrate/stage2/fat"
	"github.com/balena-community/balena-migrate/stage2/fsprobe"
	"github.com/balena-community/balena-migrate/stage2/parttable"
	"github.com/balena-community/balena-migrate/steps/device/devicetype"
)

// flasherBoot is the label, or GPT name, of a flasher's boot partition (E24).
const flasherBoot = "flash-boot"

// flasherRoots are the labels of its root file system.
func flasherRoots() []string { return []string{"flash-rootA", "flash-root"} }

// flasherMarks are empty files on the boot partition of a flasher image, today and before 2021 (E24).
func flasherMarks() []string { return []string{"balena-image-flasher", "resin-image-flasher"} }

// innerDir and innerNames are where the image lies in the root file system of a flasher: today's name and that before
// 2021. What stands for the star is the machine, which often is not the device type (E24, E25, S73).
const innerDir = "opt"

func innerNames() []string {
	return []string{"balena-image-*.balenaos-img", "resin-image-*.resinos-img"}
}

// isFlasher looks for the signs of a flasher on a boot partition.
func isFlasher(p parttable.Partition, label string, files *fat.FS) bool {
	if label == flasherBoot || p.Name == flasherBoot {
		return true
	}
	return slices.ContainsFunc(flasherMarks(), func(mark string) bool {
		_, err := files.Stat(mark)
		return err == nil
	})
}

// inner is the image inside a flasher image.
type inner struct {
	name string // in the flasher's root file system
	size int64
	// pieces are in the order of the inner image, their places in the flasher image. What is between them is zero.
	pieces []ext4.Extent
	file   *ext4.File
}

// flasher opens a flasher image to take out what is in it. Places that the reader does not reach end in errReach.
type flasher struct {
	job   job
	r     *watched
	table *parttable.Table
}

// openFlasher reads the partition table of a flasher image of size bytes, -1 if not known. Its root file system is never
// among the logical partitions (E20), whose boot records lie far inside.
func (j job) openFlasher(r *watched, size int64) (*flasher, error) {
	if size < 0 {
		size = math.MaxInt64
	}
	f := &flasher{job: j, r: r}
	var err error
	if f.table, err = parttable.Read(primaryOnly{r}, size); err != nil {
		return nil, f.broken("partition table", err)
	}
	return f, nil
}

// broken words what can't be read in a flasher. What the reader itself says stays as it is.
func (f *flasher) broken(what string, err error) error {
	switch {
	case f.r.err != nil:
		return f.r.err
	case errors.Is(err, errReach):
		return err
	case errors.Is(err, ext4.ErrUnsupported):
		return refuse(fmt.Sprintf("%s: a flasher image, %s: %v", f.job.source, what, err), "a file system that can be read here",
			"give the raw image of this device type, or the image from inside the flasher (/opt/*.balenaos-img)")
	}
	return refuse(fmt.Sprintf("%s: a flasher image, %s: %v", f.job.source, what, err), "an undamaged one", "download the image again")
}

// root opens the root file system, found by its label (E20), and returns where it begins.
func (f *flasher) root() (*ext4.FS, int64, error) {
	for _, p := range byStart(f.table.Partitions) {
		if p.Extended {
			continue
		}
		section := io.NewSectionReader(f.r, p.Start, p.Size)
		info, err := fsprobe.Probe(struct{ io.ReaderAt }{section}) // without its size: the end is far away
		if f.r.err != nil || errors.Is(err, errReach) {
			return nil, 0, f.broken("", err)
		}
		if !slices.Contains(flasherRoots(), info.Label) && !slices.Contains(flasherRoots(), p.Name) {
			continue
		}
		root, err := ext4.Open(section, p.Size)
		if err != nil {
			return nil, 0, f.broken(fmt.Sprintf("partition %d", p.Number), err)
		}
		return root, p.Start, nil
	}
	return nil, 0, refuse(f.job.source+": a flasher image without a partition labelled "+strings.Join(flasherRoots(), " or "),
		"the image to be installed in it", "download the image again")
}

// find finds the image to be installed.
func (f *flasher) find() (*inner, error) {
	root, start, err := f.root()
	if err != nil {
		return nil, err
	}
	name, err := f.only(root)
	if err != nil {
		return nil, err
	}
	file, err := root.OpenFile(name)
	if err != nil {
		return nil, f.broken("/"+name, err)
	}
	pieces, err := file.Extents()
	if err != nil {
		return nil, f.broken("/"+name, err)
	}
	in := &inner{name: "/" + name, size: file.Size(), file: file}
	for _, e := range pieces {
		e.Place += start
		if e.Length = min(e.Length, in.size-e.Offset); e.Length > 0 {
			in.pieces = append(in.pieces, e)
		}
	}
	return in, nil
}

// only is the one file that has a name of an inner image.
func (f *flasher) only(root *ext4.FS) (string, error) {
	entries, err := root.ReadDir(innerDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", f.broken("/"+innerDir, err)
	}
	var found []string
	for _, e := range entries {
		for _, pattern := range innerNames() {
			if ok, err := path.Match(pattern, e.Name()); err == nil && ok {
				found = append(found, path.Join(innerDir, e.Name()))
			}
		}
	}
	if len(found) == 1 {
		return found[0], nil
	}
	got := "no image in it"
	if len(found) > 1 {
		got = fmt.Sprintf("%d images in it: %s", len(found), strings.Join(found, ", "))
	}
	return "", refuse(f.job.source+": a flasher image, "+got, "exactly one of /"+innerDir+"/"+strings.Join(innerNames(), " or "),
		"give the raw image of this device type, or the image from inside the flasher")
}

// unwrap makes a source of what is in a flasher image.
func (j job) unwrap(src source, in *inner) (source, error) {
	switch s := src.(type) {
	case rawFile:
		return streamed{unwrapped{stream: s.stream, inner: in, at: s.view(context.Background())}}, nil
	case streamed:
		return streamed{unwrapped{stream: s.stream, inner: in}}, nil
	case prepared: // somebody made an index of the flasher image itself
		return streamed{unwrapped{stream: gzipStream{s.input}, inner: in}}, nil
	}
	return nil, fmt.Errorf("%s: a flasher image in a %s file can't be unwrapped", j.source, src.format())
}

// glanceInside looks at the image in a flasher as glance looks at any other, as far as it is within reach.
func (j job) glanceInside(src source, view io.ReaderAt, outer findings) (findings, error) {
	r := &watched{r: view}
	found := findings{flasher: true, partial: true, deviceType: outer.deviceType, arch: outer.arch, table: outer.table}
	f, err := j.openFlasher(r, src.rawSize())
	if err != nil {
		return found, ignoreReach(err)
	}
	in, err := f.find()
	if err != nil {
		return found, ignoreReach(err)
	}
	if err := j.rawSize(in.size); err != nil {
		return found, err
	}
	seen := &unreached{r: in.file}
	s := survey{job: j, r: &watched{r: seen}, size: in.size, reach: math.MaxInt64, outer: outer}
	inside, err := s.look()
	switch {
	case r.err != nil:
		return found, r.err
	case seen.missed:
		return found, nil
	case err != nil:
		return found, err
	case inside.flasher:
		return found, j.nested()
	}
	inside.flasher = true
	return inside, j.sameType(outer.deviceType, inside.deviceType)
}

func ignoreReach(err error) error {
	if errors.Is(err, errReach) {
		return nil
	}
	return err
}

// unreached remembers that a place could not be looked at: what is then said of the content means nothing.
type unreached struct {
	r      io.ReaderAt
	missed bool
}

// ReadAt implements io.ReaderAt.
func (u *unreached) ReadAt(p []byte, off int64) (int, error) {
	n, err := u.r.ReadAt(p, off)
	u.missed = u.missed || errors.Is(err, errReach)
	return n, err
}

func (j job) nested() error {
	return refuse(j.source+": a flasher image inside a flasher image", "the image to be installed in it", "give the raw image of this device type")
}

// unwrapped refuses a result that is a flasher itself, or is for another type than the flasher around it was.
func (m *making) unwrapped(found findings) error {
	switch {
	case found.flasher && m.flasher:
		return m.nested()
	case found.flasher:
		return refuse(fmt.Sprintf("%s: a flasher image whose boot partition begins beyond %d bytes", m.source, reach), "one that begins earlier",
			"unpack the file first and give the disk image itself")
	}
	return m.sameType(m.outside.deviceType, found.deviceType)
}

// sameType refuses a flasher that is put together from two.
func (j job) sameType(outer, inside string) error {
	if outer == "" || inside == "" || outer == inside || j.want.DeviceType == inside {
		return nil
	}
	return &refusal{
		Check: devicetype.Check, Got: fmt.Sprintf("%s: a flasher image for %s with an image for %s in it", j.source, outer, inside), Want: "the same device type",
		Remedy: "download the image again; if the image in it is the right one, set config.image.device_type to " + inside,
	}
}

// innerImage is what the image in a flasher image is called where something is to be extracted.
const innerImage = "inner"

// inside reads the image in a flasher image, which is unpacked to its end.
func (f *File) inside(ctx context.Context) (io.Reader, error) {
	fl, err := f.job.openFlasher(&watched{r: f.view(ctx)}, f.src.rawSize())
	if err != nil {
		return nil, err
	}
	in, err := fl.find()
	if err != nil {
		return nil, err
	}
	src, err := f.job.unwrap(f.src, in)
	if err != nil {
		return nil, err
	}
	return (&File{job: f.job, src: src}).unpack(ctx, io.Discard)
}
