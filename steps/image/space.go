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

// room refuses an image for which there is certainly not enough space: need bytes at the least, and about as many as a
// person should provide. What a run before left behind makes way.
func (j job) room(r host.Reader, need, about int64) error {
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
	if free := space.Free + old - j.keepFree; free < need || free <= 0 {
		return noRoom(space, j.dir, about, j.keepFree)
	}
	return nil
}

func noRoom(space host.Space, dir string, about, keep int64) error {
	return &refusal{
		Check: "space", Got: fmt.Sprintf("%d MiB free in %s", space.Free>>20, dir),
		Want:   fmt.Sprintf("about %d MiB for the image and %d MiB to spare", about>>20, keep>>20),
		Remedy: "make room in this file system, choose another with --work-dir, or lower disk.min_free_mb",
	}
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
