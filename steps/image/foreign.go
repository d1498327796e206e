package image

import (
	"bytes"
	"fmt"
	"io"
	"unicode"
	"unicode/utf8"

	"github.com/balena-community/balena-migrate/stage2/fsprobe"
)

// signature is how a kind of file is recognised.
type signature struct {
	at    int
	magic string
	name  string
}

// signatures are what is easily taken for a disk image. Offsets are in bytes.
func signatures() []signature {
	return []signature{
		{0x8001, "CD001", "an ISO 9660 file system"},
		{0, "\x7fELF", "an ELF program"},
		{0, "#!", "a script"},
		{0, "\x1f\x8b", "a gzip file"},
		{0, "PK\x03\x04", "a zip file"},
		{0, "\xfd7zXZ\x00", "an xz file"},
		{0, "\x28\xb5\x2f\xfd", "a zstd file"},
		{0, "BZh", "a bzip2 file"},
		{0, "7z\xbc\xaf\x27\x1c", "a 7-Zip file"},
		{257, "ustar", "a tar archive"},
		{0, "070701", "a cpio archive"},
		{0, "!<arch>\n", "a Debian package or static library"},
		{0, "QFI\xfb", "a qcow2 image"},
		{0, "KDMV", "a VMDK image"},
		{0, "vhdxfile", "a VHDX image"},
		{0, "\x27\x05\x19\x56", "a U-Boot image"},
		{0, "%PDF", "a PDF document"},
		{0, "MZ", "a DOS or Windows program"},
		{0, "<!", "an HTML page"},
		{0, "<?xml", "an XML document"},
		{0, "{", "a JSON document"},
	}
}

// describeBytes is how much describe looks at; the superblocks of btrfs lie behind 64 KiB.
const describeBytes = 68 << 10

// describe says what r is, if it is not a disk image; "" if it can't tell.
func describe(r io.ReaderAt) string {
	head := make([]byte, describeBytes)
	n, err := r.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return ""
	}
	head = head[:n]
	for _, s := range signatures() {
		if len(head) > s.at && bytes.HasPrefix(head[s.at:], []byte(s.magic)) {
			return s.name
		}
	}
	if info, err := fsprobe.Probe(bytes.NewReader(head)); err == nil && info.Type != "" {
		return fmt.Sprintf("a file system (%s) and no disk", info.Type)
	}
	switch {
	case len(head) == 0:
		return "nothing"
	case len(bytes.TrimLeft(head, "\x00")) == 0:
		return fmt.Sprintf("nothing but zeros in the first %d bytes", len(head))
	case isText(head):
		return "a text"
	}
	return ""
}

// isText says whether all of it, but for a character that is cut at its end, can be read by a person.
func isText(p []byte) bool {
	for len(p) > 0 {
		c, n := utf8.DecodeRune(p)
		switch {
		case c == utf8.RuneError && n == 1:
			return !utf8.FullRune(p)
		case !unicode.IsPrint(c) && !unicode.IsSpace(c):
			return false
		}
		p = p[n:]
	}
	return true
}
