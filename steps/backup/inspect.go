package backup

import (
	"archive/tar"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/klauspost/compress/gzip"

	"github.com/balena-community/balena-migrate/steps"
)

// The hints for what scripts most likely did.
const (
	hintLayout = `name the volumes' directories to tar, e.g. tar -C DIR -czf "$1" VOLUME`
	hintFormat = "make it with tar --format=gnu and without --sparse, which the tar of the new system does not know"
	hintGzip   = "it must be a gzip compressed tar archive, complete and with nothing behind it"
)

// inspector reads an archive that somebody else made, with the eyes of the supervisor (E17) and of its tar, that of
// BusyBox: what makes either of them stop would be tried again forever.
type inspector struct {
	allowed []string
	volumes []string
	files   int64
	// links are the symbolic links; an entry below one would be written to where it leads. names are all other files.
	links map[string]bool
	names map[uint64]bool
	seed  maphash.Seed
}

// inspect reads a whole gzip tar and returns what is in it.
func inspect(r io.Reader, allowed []string) (product, error) {
	gz, err := gzip.NewReader(r)
	if err != nil {
		return product{}, steps.WithHint(fmt.Errorf("no gzip file: %w", err), hintGzip)
	}
	in := inspector{allowed: allowed, links: map[string]bool{}, names: map[uint64]bool{}, seed: maphash.MakeSeed()}
	for tr := tar.NewReader(gz); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return product{}, steps.WithHint(fmt.Errorf("damaged: %w", err), hintGzip)
		}
		if err := in.entry(h); err != nil {
			return product{}, err
		}
	}
	// The checksum comes last, and only one who reads as far learns of it.
	if _, err := io.Copy(io.Discard, gz); err != nil {
		return product{}, steps.WithHint(fmt.Errorf("damaged: %w", err), hintGzip)
	}
	if len(in.volumes) == 0 {
		return product{}, steps.WithHint(errors.New("no volume in it"), hintLayout)
	}
	return product{volumes: in.volumes, files: in.files}, nil
}

// entry checks one entry.
func (in *inspector) entry(h *tar.Header) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return steps.WithHint(fmt.Errorf("%s: found a sparse file, expected one written in full", h.Name), hintFormat)
		}
	}
	if err := in.place(h.Name, h.Typeflag == tar.TypeDir); err != nil {
		return err
	}
	name := path.Clean(h.Name)
	switch h.Typeflag {
	case tar.TypeDir:
		return nil
	case tar.TypeSymlink:
		in.links[name] = true
	case tar.TypeLink:
		if !in.names[maphash.String(in.seed, path.Clean(h.Linkname))] || path.IsAbs(h.Linkname) {
			return steps.WithHint(fmt.Errorf("%s: found a hard link to %s, expected the name of a file before it in the archive", h.Name, h.Linkname), hintLayout)
		}
	case tar.TypeReg, tar.TypeFifo:
	case tar.TypeChar, tar.TypeBlock:
		return steps.WithHint(fmt.Errorf("%s: found a device node, expected files and directories", h.Name), "leave it out, e.g. with tar --exclude")
	default:
		return steps.WithHint(fmt.Errorf("%s: found an entry of type %q, expected files and directories", h.Name, h.Typeflag), hintFormat)
	}
	in.names[maphash.String(in.seed, name)] = true
	in.files++
	return nil
}

// place checks where an entry would lie.
func (in *inspector) place(name string, dir bool) error {
	bad := func(got, want string) error {
		return steps.WithHint(fmt.Errorf("entry %q: found %s, expected %s", name, got, want), hintLayout)
	}
	parts := strings.Split(strings.TrimSuffix(name, "/"), "/")
	volume := parts[0]
	switch {
	case path.IsAbs(name):
		return bad("an absolute path", "VOLUME/path")
	case volume == ".":
		return bad("a path that begins with ./", "VOLUME/path")
	case slices.Contains(parts, ".."):
		return bad("..", "a path inside its volume")
	case strings.HasPrefix(volume, "."):
		return bad("a hidden name at the top level", "only directories named like volumes")
	case len(parts) == 1 && !dir:
		return bad("a file at the top level", "only directories named like volumes")
	case !volumeName.MatchString(volume):
		return bad(fmt.Sprintf("the volume name %q", volume), volumeWant(nil))
	case !known(volume, in.allowed):
		return bad(fmt.Sprintf("the volume %q", volume), volumeWant(in.allowed))
	}
	for up := path.Dir(path.Clean(name)); up != "."; up = path.Dir(up) {
		if in.links[up] {
			return bad("a path through the link "+up, "a path inside its volume")
		}
	}
	if !slices.Contains(in.volumes, volume) {
		in.volumes = append(in.volumes, volume)
	}
	return nil
}
