package precheck

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"

	"github.com/balena-community/balena-migrate/stage2/parttable"
	"github.com/balena-community/balena-migrate/steps/device/packed"
)

// headSize is how much of a packed image is unpacked to read its partition table. A GPT takes 17 KiB.
const headSize = 1 << 20

// endless stands for the size of an image that only its end tells.
const endless = 1 << 60

// inspectGzip goes by the partition table: gzip's own field for the size has 32 bits (S52), and an image that does not
// hold all of its partitions is none.
func inspectGzip(f io.ReaderAt, n int64) (image, error) {
	z, err := gzip.NewReader(io.NewSectionReader(f, 0, n))
	if err != nil {
		return image{}, fmt.Errorf("gzip: %w", err)
	}
	defer z.Close()
	table, flasher, err := headTable(z, endless)
	if err != nil {
		return image{}, err
	}
	return image{format: "gzip", raw: table.End, atLeast: true, packed: n, table: table.Kind, flasher: flasher}, nil
}

// inspectStream goes by the size in the file where there is one (xz), else by the partition table.
func inspectStream(f io.ReaderAt, n int64, format packed.Format) (image, error) {
	raw, err := format.RawSize(f, n)
	if err != nil {
		return image{}, unsupported(err, format)
	}
	r, err := format.Reader(io.NewSectionReader(f, 0, n))
	if err != nil {
		return image{}, unsupported(err, format)
	}
	i := image{format: format.Name, raw: raw, packed: n}
	if raw < 0 {
		raw = endless
	}
	table, flasher, err := headTable(r, raw)
	if err == nil {
		err = table.Fits(raw)
	}
	if err != nil {
		return image{}, unsupported(err, format)
	}
	i.table, i.flasher = table.Kind, flasher
	if i.raw < 0 {
		i.raw, i.atLeast = table.End, true
	}
	return i, nil
}

// unsupported words what is good and yet not read.
func unsupported(err error, format packed.Format) error {
	if !errors.Is(err, packed.ErrUnsupported) {
		return err
	}
	return &refusal{got: err.Error(), want: format.Name + " as it is by default", remedy: "pack it again, e.g. " + format.Name + " -dc image | gzip >image.gz"}
}

// inspectZip goes by the directory at the file's end, whose sizes have 64 bits.
func inspectZip(f io.ReaderAt, n int64) (image, error) {
	z, err := zip.NewReader(f, n)
	if err != nil {
		return image{}, err
	}
	z.RegisterDecompressor(zip.Deflate, flate.NewReader)
	entry, err := onlyFile(z.File)
	if err != nil {
		return image{}, err
	}
	r, err := entry.Open()
	if err != nil {
		return image{}, fmt.Errorf("%s in the zip file: %w", entry.Name, err)
	}
	defer r.Close()
	raw := int64(min(entry.UncompressedSize64, endless))
	table, flasher, err := headTable(r, raw)
	if err == nil {
		err = table.Fits(raw)
	}
	if err != nil {
		return image{}, err
	}
	return image{format: "zip", raw: raw, packed: int64(min(entry.CompressedSize64, endless)), table: table.Kind, flasher: flasher}, nil
}

// onlyFile is S62: directories and what macOS adds do not count.
func onlyFile(all []*zip.File) (*zip.File, error) {
	var found []*zip.File
	for _, f := range all {
		if !strings.HasSuffix(f.Name, "/") && !strings.HasPrefix(f.Name, "__MACOSX/") {
			found = append(found, f)
		}
	}
	if len(found) != 1 {
		return nil, &refusal{got: fmt.Sprintf("%d files in it", len(found)), want: "exactly one file in it, the image", remedy: "unpack it and give the image itself"}
	}
	if found[0].Flags&1 != 0 { // APPNOTE 4.4.4, bit 0
		return nil, &refusal{got: "an encrypted zip file", want: "one without a password", remedy: "unpack it and give the image itself"}
	}
	return found[0], nil
}

// headTable reads the partition table of an image of total bytes from its beginning, and says whether it is a flasher's.
func headTable(r io.Reader, total int64) (*parttable.Table, bool, error) {
	b := make([]byte, headSize)
	n, err := io.ReadFull(r, b)
	switch {
	case err == nil:
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, false, &refusal{got: fmt.Sprintf("%d bytes unpacked, then its end", n), want: wantImage, remedy: again}
	default:
		return nil, false, fmt.Errorf("unpack its first %d bytes: %w", headSize, err)
	}
	table, err := parttable.Read(head(b), total)
	if err != nil {
		return nil, false, noDisk(err)
	}
	return table, isFlasher(table, func(sector []byte, off int64) error {
		if off+int64(len(sector)) <= headSize {
			copy(sector, b[off:])
			return nil
		}
		if _, err := io.CopyN(io.Discard, r, max(off-headSize, 0)); err != nil {
			return err
		}
		_, err := io.ReadFull(r, sector)
		return err
	}), nil
}

// flasherLabel is that of a flasher's boot partition, the first one (E24).
const flasherLabel = "flash-boot"

// maxBootStart is how far inside an image its first partition is looked for, in bytes: balena's begin at 4 MiB.
const maxBootStart = 16 << 20

// isFlasher looks at the label of the first partition, in its GPT entry or its FAT boot sector (for FAT16 at byte 43, for
// FAT32 at 71). What can't be read here is for prepare-image to tell.
func isFlasher(table *parttable.Table, read func(sector []byte, off int64) error) bool {
	if len(table.Partitions) == 0 {
		return false
	}
	first := table.Partitions[0]
	if first.Name == flasherLabel {
		return true
	}
	sector := make([]byte, 512)
	if first.Start > maxBootStart || read(sector, first.Start) != nil {
		return false
	}
	label := func(at int) string { return strings.TrimRight(string(sector[at:at+11]), " ") }
	return label(43) == flasherLabel || label(71) == flasherLabel
}

// head is a disk of which only the beginning is known. Everywhere behind it lies an empty boot record: there a chain of
// logical partitions ends, and the size of the extended partition around them still counts.
type head []byte

// ReadAt implements io.ReaderAt.
func (h head) ReadAt(b []byte, off int64) (int, error) {
	if off >= 0 && off+int64(len(b)) <= int64(len(h)) {
		return copy(b, h[off:]), nil
	}
	clear(b)
	if len(b) >= 512 {
		b[510], b[511] = 0x55, 0xaa
	}
	return len(b), nil
}

// The samples of a raw image that are packed to estimate what the whole becomes.
const (
	samples    = 32
	sampleSize = 16 << 10
)

// estimate guesses how many bytes a raw image has in gzip, from samples at even distances.
func estimate(f io.ReaderAt, n int64) (int64, error) {
	var packed, taken counter
	w, err := flate.NewWriter(&packed, flate.BestSpeed)
	if err != nil {
		return 0, err
	}
	b := make([]byte, sampleSize)
	for i := range int64(samples) {
		got, err := f.ReadAt(b, n/samples*i)
		if err != nil && err != io.EOF {
			return 0, err
		}
		taken += counter(got)
		if _, err := w.Write(b[:got]); err != nil {
			return 0, err
		}
	}
	if err := w.Close(); err != nil {
		return 0, err
	}
	return min(n, int64(float64(n)*float64(packed)/float64(max(taken, 1)))), nil
}

type counter int64

// Write implements io.Writer.
func (c *counter) Write(b []byte) (int, error) {
	*c += counter(len(b))
	return len(b), nil
}
