package precheck

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/parttable"
	"github.com/balena-community/balena-migrate/steps/device/balena"
	"github.com/balena-community/balena-migrate/steps/device/packed"
	"github.com/balena-community/balena-migrate/steps/host"
)

// image is what is known of the image without reading it whole. Sizes are in bytes.
type image struct {
	format string
	// raw is the size unpacked, or with atLeast the least that it can be.
	raw     int64
	atLeast bool
	// packed is about what prepare-image makes of it; 0 when nothing is known.
	packed int64
	table  string
	// flasher says that the image to be flashed is inside this one; only prepare-image tells how large it is (E24).
	flasher bool
	// trouble says why it can't be used; its status is empty when it can.
	trouble answer
}

const (
	wantImage = "a balenaOS image: a raw disk image, or one in gzip, zip, xz, zstd or bzip2"
	again     = "download the image again and compare its size"
)

// readImage looks at the file, and takes the figures of prepare-image where there are some.
func (l *look) readImage() image {
	i, trouble := l.inspectImage()
	i.trouble = trouble
	if f := l.Facts.Image; f != nil {
		i.raw, i.atLeast, i.packed, i.flasher = f.RawSize, false, f.GzipSize, false
	}
	return i
}

func (l *look) inspectImage() (image, answer) {
	c := l.Config.Image
	switch {
	case c.Path != "" && c.URL != "":
		return image{}, block("image.path and image.url", "one of the two", "remove one of them")
	case c.Path == "" && (c.URL != "" || c.Version != "") && l.Facts.Image != nil:
		return image{format: "downloaded", table: l.Facts.Image.Table}, answer{}
	case c.URL != "":
		return image{}, pass("to be downloaded by prepare-image")
	case c.Path == "" && c.Version != "":
		return image{}, byVersion(c.Version)
	case c.Path == "":
		return image{}, block("no image.path", wantImage, "name the image file in image.path, where to fetch it in image.url, or its image.version")
	}
	f, n, err := openRegular(l.Files, c.Path)
	if err != nil {
		return image{}, block(err.Error(), wantImage, "put the image there, or mend image.path")
	}
	defer f.Close()
	if n == 0 {
		return image{}, block(c.Path+" is empty", wantImage, again)
	}
	i, err := inspect(f, n)
	var r *refusal
	switch {
	case errors.As(err, &r):
		return i, block(c.Path+": "+r.got, r.want, r.remedy)
	case err != nil:
		return i, block(c.Path+": "+err.Error(), wantImage, again)
	}
	return i, answer{}
}

// byVersion is for an image that balena is asked for (P3).
func byVersion(text string) answer {
	if _, err := balena.ParseWish(text); err != nil {
		return block("image.version: "+err.Error(), "a version of balenaOS or a range", "mend image.version")
	}
	return pass("balenaOS %s, to be downloaded by prepare-image", text)
}

// openRegular opens a file and returns its size.
func openRegular(r host.Reader, name string) (host.File, int64, error) {
	info, err := r.Stat(name)
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, &fs.PathError{Op: "open", Path: name, Err: errors.New("not a regular file")}
	}
	f, err := r.Open(name)
	return f, info.Size(), err
}

// inspect finds format, sizes and partition table of an image of n bytes.
func inspect(f io.ReaderAt, n int64) (image, error) {
	var magic [8]byte
	if _, err := f.ReadAt(magic[:], 0); err != nil && err != io.EOF {
		return image{}, err
	}
	switch {
	case magic[0] == 0x1f && magic[1] == 0x8b:
		return inspectGzip(f, n)
	case bytes.HasPrefix(magic[:], []byte("PK\x03\x04")), bytes.HasPrefix(magic[:], []byte("PK\x05\x06")):
		return inspectZip(f, n)
	}
	if format, ok := packed.Detect(magic[:]); ok {
		return inspectStream(f, n, format)
	}
	return inspectRaw(f, n)
}

func inspectRaw(f io.ReaderAt, n int64) (image, error) {
	table, err := parttable.Read(f, n)
	if err != nil {
		return image{}, noDisk(err)
	}
	if err := table.Fits(n); err != nil {
		return image{}, err
	}
	packed, err := estimate(f, n)
	flasher := isFlasher(table, func(sector []byte, off int64) error {
		_, err := f.ReadAt(sector, off)
		return err
	})
	return image{format: "raw", raw: n, packed: packed, table: table.Kind, flasher: flasher}, err
}

// refusal is an image that is no good, with what helps.
type refusal struct{ got, want, remedy string }

func (r *refusal) Error() string { return r.got }

// noDisk words what parttable said of something that is no disk image.
func noDisk(err error) error {
	if !errors.Is(err, parttable.ErrNoTable) {
		return err
	}
	return &refusal{got: err.Error(), want: wantImage, remedy: "give the disk image itself, unpacked or in gzip, zip, xz, zstd or bzip2"}
}

// askImage is S42 and S52: there is one, and it fits.
func (l *look) askImage() answer {
	i := l.image
	if i.trouble.status != "" {
		return i.trouble
	}
	got := fmt.Sprintf("%s, %s, %s unpacked", i.format, i.table, i.unpacked())
	if i.flasher {
		return pass("%s, a flasher image: prepare-image takes out what is inside, and then its size is known", i.format)
	}
	if l.disks.target == nil {
		return unknown("there is no disk to compare with an image of " + i.unpacked())
	}
	if disk := *l.disks.target; i.raw > disk.Size {
		return block(got, fmt.Sprintf("at most the %s of /dev/%s", size(disk.Size), disk.Name), "choose an image for smaller disks, or put in a larger disk")
	}
	for _, b := range l.newBoot {
		if b.Check == "image" {
			return block(b.Got, b.Want, b.Remedy)
		}
	}
	return pass("%s", got)
}

func (i image) unpacked() string {
	if i.atLeast {
		return "at least " + size(i.raw)
	}
	return size(i.raw)
}

// known says whether the figures may be used.
func (i image) known(f *schema.ImageFacts) bool {
	return f != nil || i.trouble.status == "" && !i.flasher
}
