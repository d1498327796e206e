package blockdev

import (
	"slices"
	"testing"

	"github.com/balena-community/balena-migrate/steps/host/hosttest"
)

// What uses a disk is told through every layer: mounts of the disk, of its partitions and of what lies on them, and swap.
func TestUsers(t *testing.T) {
	h := hosttest.New(t, nil)
	const sys = "/sys/class/block/"
	for name, dev := range map[string]string{"sdb": "8:16", "sdb/sdb1": "8:17", "sdb/sdb2": "8:18", "dm-0": "253:0", "sdc": "8:32"} {
		h.Put("/sys/devices/"+name+"/dev", dev+"\n")
	}
	for link, to := range map[string]string{"sdb": "sdb", "sdb1": "sdb/sdb1", "sdb2": "sdb/sdb2", "dm-0": "dm-0", "sdc": "sdc"} {
		h.Link(sys+link, "/sys/devices/"+to)
	}
	h.Put("/sys/devices/sdb/sdb1/partition", "1\n")
	h.Put("/sys/devices/sdb/sdb2/partition", "2\n")
	h.Put("/sys/devices/sdb/sdb2/holders/dm-0/x", "")
	h.Put("/proc/swaps", "Filename Type Size Used Priority\n/dev/sdb1 partition 1 0 -2\n")
	h.Put("/proc/self/mountinfo", "20 1 253:0 / / rw - ext4 /dev/dm-0 rw\n21 20 8:32 / /mnt rw - ext4 /dev/sdc rw\n")
	got, err := Users(h, "sdb")
	want := []string{"sdb1 is swapped to", "sdb2 is part of dm-0", "dm-0 is mounted on /"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
	if got, err := Users(h, "sdc"); err != nil || !slices.Equal(got, []string{"sdc is mounted on /mnt"}) {
		t.Errorf("sdc: %q, %v", got, err)
	}
}
