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
