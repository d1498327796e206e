package blockdev

import (
	"fmt"
	"slices"
	"strings"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps/host"
)

// mappable are file systems whose FIEMAP tells offsets on their one device, and which leave a file that nobody writes to
// where it is. btrfs tells offsets in a space of its own, f2fs moves blocks when it cleans up.
var mappable = []string{"ext2", "ext3", "ext4", "xfs"} //nolint:gochecknoglobals // a table

// Mappable says whether Extents can tell where files of a type of file system lie.
func Mappable(fstype string) bool { return slices.Contains(mappable, fstype) }

// Extents lists where a file lies on the whole disk: what can be read there, in the file's order. name is a path below
// r, on a mounted partition of that kernel name and type. Of what is left out and is no hole, doubts says why.
func Extents(r host.Reader, name, partition, fstype string) (list []schema.Extent, doubts string, err error) {
	if !Mappable(fstype) {
		return nil, "", fmt.Errorf("file system %s: expected one that tells where files lie, such as ext4", fstype)
	}
	start, err := Start(r, partition)
	if err != nil {
		return nil, "", err
	}
	found, err := r.Extents(name)
	if err != nil {
		return nil, "", err
	}
	var why []string
	for _, e := range found {
		if d := e.Doubt(); d != "" {
			why = append(why, d)
			continue
		}
		list = append(list, schema.Extent{Logical: e.Logical, DiskOffset: start + e.Physical, Length: e.Length})
	}
	return list, strings.Join(unique(why), ", "), nil
}

// Start is where a partition begins on its disk, in bytes.
func Start(r host.Reader, partition string) (int64, error) {
	n, err := number(r, "/sys/class/block/"+partition+"/start")
	return n * 512, err
}
