package initramfs

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"path"
	"runtime"
	"sort"

	"github.com/cavaliergopher/cpio"
	"github.com/klauspost/pgzip"

	"github.com/balena-community/balena-migrate/stage2/flashplan"
	"github.com/balena-community/balena-migrate/steps/host"
)

// entry is a file of the archive.
type entry struct {
	path string // absolute, in the initramfs
	mode fs.FileMode
	data []byte
}

// pack writes a gzipped newc archive. The same entries give the same bytes: no times, no owners, sorted, inodes
// counted. Directories of the entries come first, each before what is in it.
func pack(w io.Writer, entries []entry) error {
	z, err := pgzip.NewWriterLevel(w, pgzip.DefaultCompression)
	if err != nil {
		return err
	}
	if err := z.SetConcurrency(1<<20, runtime.GOMAXPROCS(0)); err != nil {
		return err
	}
	c := cpio.NewWriter(z)
	for _, dir := range directories(entries) {
		h := &cpio.Header{Name: dir[1:], Mode: cpio.TypeDir | 0o755, Links: 2}
		if err := c.WriteHeader(h); err != nil {
			return fmt.Errorf("archive %s: %w", dir, err)
		}
	}
	sorted := append([]entry{}, entries...)
	sort.Slice(sorted, func(i, j int) bool { return sorted[i].path < sorted[j].path })
	for _, e := range sorted {
		h := &cpio.Header{Name: e.path[1:], Mode: cpio.TypeReg | cpio.FileMode(e.mode.Perm()), Size: int64(len(e.data)), Links: 1}
		if err := c.WriteHeader(h); err != nil {
			return fmt.Errorf("archive %s: %w", e.path, err)
		}
		if _, err := io.Copy(c, bytes.NewReader(e.data)); err != nil {
			return fmt.Errorf("archive %s: %w", e.path, err)
		}
	}
	if err := c.Close(); err != nil {
		return err
	}
	return z.Close()
}

// load writes a newc archive that is not packed, in front of the packed one: the kernel takes both from one buffer
// (Documentation/driver-api/early-userspace/buffer-format.rst). It holds files that are packed already and may be larger
// than what a device has to spare, so they are copied.
func load(w io.Writer, r host.Reader, files []freight) error {
	c := cpio.NewWriter(w)
	if err := c.WriteHeader(&cpio.Header{Name: flashplan.Dir[1:], Mode: cpio.TypeDir | 0o755, Links: 2}); err != nil {
		return err
	}
	for _, f := range files {
		if f.size > maxFreight {
			return fmt.Errorf("archive %s: %d bytes: expected at most %d", f.path, f.size, int64(maxFreight))
		}
		if err := c.WriteHeader(&cpio.Header{Name: f.path[1:], Mode: cpio.TypeReg | 0o600, Size: f.size, Links: 1}); err != nil {
			return fmt.Errorf("archive %s: %w", f.path, err)
		}
		if err := copyFile(c, r, f); err != nil {
			return fmt.Errorf("archive %s: %w", f.path, err)
		}
	}
	return c.Close()
}

// maxFreight is the largest file that stage 2 can be given in the archive, in bytes: kernels read no more than 2 GiB for
// kexec (kernel_read_file, INT_MAX), and something else is in it too.
const maxFreight = 2<<30 - 128<<20

func copyFile(w io.Writer, r host.Reader, f freight) error {
	in, err := r.Open(f.name)
	if err != nil {
		return err
	}
	defer in.Close()
	_, err = io.CopyN(w, in, f.size)
	return err
}

// directories lists the parents of all entries. None of them is a directory of the host's own initramfs: /lib, for one,
// is a symbolic link there, which a directory of ours would replace.
func directories(entries []entry) []string {
	seen := map[string]bool{"/": true}
	var out []string
	for _, e := range entries {
		for d := path.Dir(e.path); !seen[d]; d = path.Dir(d) {
			seen[d] = true
			out = append(out, d)
		}
	}
	sort.Strings(out)
	return out
}
