package image

import (
	"fmt"
	"path"
	"strings"

	"github.com/balena-community/balena-migrate/steps/host"
)

// outDir is the directory the image is really written to: image.gz may be a link to another disk.
func (j job) outDir(r host.Reader) (string, error) {
	name, err := r.RealPath(j.image)
	return path.Dir(name), err
}

// room refuses an image for which there is certainly not enough space: what is packed already hardly becomes smaller.
// What a run before left behind makes way.
func (j job) room(r host.Reader, src source, inPlace bool) error {
	if inPlace {
		return nil
	}
	dir, err := j.outDir(r)
	if err != nil {
		return err
	}
	old := leftovers(r, dir)
	for dir != "/" {
		if _, err := r.Stat(dir); err == nil {
			break
		}
		dir = path.Dir(dir)
	}
	space, err := r.Space(dir)
	if err != nil {
		return err
	}
	free := space.Free + old - j.keepFree
	if need := src.packedSize() / 4 * 3; free < need || free <= 0 {
		return &refusal{
			Check: "space", Got: fmt.Sprintf("%d MiB free in %s", space.Free>>20, j.dir),
			Want:   fmt.Sprintf("about %d MiB for the image and %d MiB to spare", src.packedSize()>>20, j.keepFree>>20),
			Remedy: "make room in this file system, choose another with --work-dir, or lower disk.min_free_mb",
		}
	}
	return nil
}

// leftovers are the bytes of an image that is replaced, finished or not.
func leftovers(r host.Reader, dir string) int64 {
	entries, err := r.ReadDir(dir)
	if err != nil {
		return 0
	}
	var n int64
	for _, e := range entries {
		if e.Name() != imageName && !strings.HasPrefix(e.Name(), "."+imageName+".") {
			continue
		}
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			n += info.Size()
		}
	}
	return n
}
