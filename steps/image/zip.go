package image

import (
	"archive/zip"
	"bufio"
	"context"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"strings"

	"github.com/klauspost/compress/flate"

	"github.com/balena-community/balena-migrate/steps"
)

// zipEncrypted is bit 0 of the general purpose flags (APPNOTE 4.4.4).
const zipEncrypted = 1

// zipStream is the one file in a zip file.
type zipStream struct {
	input
	entry *zip.File
	off   int64
}

// openZip reads the directory at the end of a zip file and refuses what is not exactly one file (S62).
func openZip(in input) (source, error) {
	r, err := zip.NewReader(in.f, in.size)
	if err != nil {
		return nil, steps.WithHint(fmt.Errorf("%s: zip directory at the end, offset %d: %w", in.name, in.size, err), damaged)
	}
	entry, err := oneFile(in.name, r.File)
	if err != nil {
		return nil, err
	}
	if entry.Flags&zipEncrypted != 0 {
		return nil, refuse(in.name+": encrypted", "a zip file without a password", "unpack it first and give the image itself")
	}
	if entry.Method != zip.Store && entry.Method != zip.Deflate {
		return nil, refuse(fmt.Sprintf("%s: zip method %d", in.name, entry.Method), "stored (0) or deflated (8)", "unpack it first and give the image itself")
	}
	if entry.UncompressedSize64 > maxRaw {
		return nil, refuse(fmt.Sprintf("%s: a file of %d bytes in it", in.name, entry.UncompressedSize64), fmt.Sprintf("at most %d", int64(maxRaw)), "is it damaged? download it again")
	}
	off, err := entry.DataOffset()
	if err != nil {
		return nil, steps.WithHint(fmt.Errorf("%s: %s in it: %w", in.name, entry.Name, noEOF(err)), damaged)
	}
	if off > in.size || entry.CompressedSize64 > uint64(in.size-off) {
		return nil, steps.WithHint(fmt.Errorf("%s: %s in it has %d bytes from offset %d, the zip file ends at %d",
			in.name, entry.Name, entry.CompressedSize64, off, in.size), damaged)
	}
	return streamed{zipStream{input: in, entry: entry, off: off}}, nil
}

// oneFile finds the only file; directories and what macOS adds to every zip file do not count.
func oneFile(name string, all []*zip.File) (*zip.File, error) {
	var files []*zip.File
	for _, f := range all {
		if !strings.HasSuffix(f.Name, "/") && !strings.HasPrefix(f.Name, "__MACOSX/") {
			files = append(files, f)
		}
	}
	const want, remedy = "exactly one file in it, the image", "unpack it and give the image itself"
	switch len(files) {
	case 0:
		return nil, refuse(name+": a zip file without a file in it", want, "download it again")
	case 1:
		return files[0], nil
	case 2:
		return nil, refuse(fmt.Sprintf("%s: 2 files in it: %q and %q", name, files[0].Name, files[1].Name), want, remedy)
	default:
		return nil, refuse(fmt.Sprintf("%s: %d files in it: %q, %q, …", name, len(files), files[0].Name, files[1].Name), want, remedy)
	}
}

func (s zipStream) format() string    { return "zip" }
func (s zipStream) rawSize() int64    { return int64(s.entry.UncompressedSize64) }
func (s zipStream) packedSize() int64 { return int64(s.entry.CompressedSize64) }
func (s zipStream) end() int64        { return s.off + s.packedSize() }

func (s zipStream) unpack(ctx context.Context, tee io.Writer) (io.Reader, error) {
	if _, err := io.Copy(io.Discard, s.section(ctx, 0, s.off, tee)); err != nil {
		return nil, fmt.Errorf("read %s: %w", s.name, err)
	}
	body := &counter{r: s.section(ctx, s.off, s.packedSize(), tee)}
	u := &unzip{zip: s, body: body, raw: body, crc: crc32.NewIEEE()}
	u.rest = s.section(ctx, s.end(), s.size-s.end(), tee)
	if s.entry.Method == zip.Deflate {
		u.raw = flate.NewReader(bufio.NewReaderSize(body, 256<<10))
	}
	return u, nil
}

// unzip unpacks a file and compares it with its entry in the directory.
type unzip struct {
	zip  zipStream
	body *counter  // the packed file
	raw  io.Reader // unpacks body
	rest io.Reader // the zip file behind body
	crc  hash.Hash32
	n    int64
}

var errZipSize = errors.New("the size is not the one in the zip directory")

// Read implements io.Reader.
func (u *unzip) Read(p []byte) (int, error) {
	n, err := u.raw.Read(p)
	u.n += int64(n)
	u.crc.Write(p[:n])
	switch {
	case u.body.err != nil && u.body.err != io.EOF:
		return n, u.body.err
	case u.n > u.zip.rawSize():
		return n, u.explain(errZipSize)
	case err == io.EOF:
		return n, u.finish()
	case err != nil:
		return n, u.explain(err)
	}
	return n, nil
}

func (u *unzip) explain(err error) error {
	return steps.WithHint(fmt.Errorf("%s: %s in it, near offset %d of %d: %w", u.zip.name, u.zip.entry.Name, u.zip.off+u.body.n, u.zip.size, err), damaged)
}

// finish is io.EOF if the file is what the directory says.
func (u *unzip) finish() error {
	switch {
	case u.n != u.zip.rawSize():
		return u.explain(errZipSize)
	case u.crc.Sum32() != u.zip.entry.CRC32:
		return u.explain(zip.ErrChecksum)
	}
	if _, err := io.Copy(io.Discard, io.MultiReader(u.body, u.rest)); err != nil {
		return fmt.Errorf("read %s: %w", u.zip.name, err)
	}
	return io.EOF
}
