package blockdev

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/balena-community/balena-migrate/steps/host"
)

// Users lists what a disk and its partitions are used for, in words: what is mounted, swapped to, or lies below another
// device. It is for telling people; that nobody uses a disk, only the kernel can say (open(2), O_EXCL).
func Users(r host.Reader, disk string) ([]string, error) {
	mounts, err := Mounts(r)
	if err != nil {
		return nil, err
	}
	swaps, err := r.ReadFile("/proc/swaps")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	parts, err := Partitions(r, disk)
	if err != nil {
		return nil, err
	}
	u := users{r: r, mounts: mounts, swaps: string(swaps)}
	for _, name := range append([]string{disk}, parts...) {
		u.add(name, name, 0)
	}
	return u.out, nil
}

// deepest bounds what is followed from holder to holder.
const deepest = 8

type users struct {
	r      host.Reader
	mounts []Mount
	swaps  string
	out    []string
}

// add notes what a device is used for, and what lies on it.
func (u *users) add(name, what string, depth int) {
	number := attribute(u.r, name, "dev")
	for _, m := range u.mounts {
		if m.Device == number {
			u.out = append(u.out, fmt.Sprintf("%s is mounted on %s", what, m.Point))
		}
	}
	for line := range strings.SplitSeq(u.swaps, "\n") {
		if f := strings.Fields(line); len(f) > 0 && f[0] == "/dev/"+name {
			u.out = append(u.out, what+" is swapped to")
		}
	}
	holders, err := u.r.ReadDir(path.Join("/sys/class/block", name, "holders"))
	if err != nil || depth == deepest {
		return
	}
	for _, h := range holders {
		u.out = append(u.out, what+" is part of "+h.Name())
		u.add(h.Name(), h.Name(), depth+1)
	}
}
