package hosttest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// PartStart is where the partition begins that Ext4 makes, in bytes.
const PartStart = 1 << 20

// Ext4 makes a disk of so many MiB, which stands for the machine's vda, with a real ext4 in its one partition, and mounts
// that at a directory: files in there have extents. It returns the file that is the disk. It takes root.
func (h *Host) Ext4(dir string, mib int, options ...string) string {
	h.t.Helper()
	disk := filepath.Join(h.t.TempDir(), "disk")
	if err := os.WriteFile(disk, nil, 0o600); err != nil {
		h.t.Fatal(err)
	}
	if err := os.Truncate(disk, int64(mib)<<20); err != nil {
		h.t.Fatal(err)
	}
	args := append([]string{"-q", "-F", "-t", "ext4", "-E", fmt.Sprint("offset=", PartStart)}, options...)
	h.Exec("mke2fs", append(args, disk, fmt.Sprint(mib<<10-PartStart>>10, "K"))...)
	point := filepath.Join(h.Root(), dir)
	if err := os.MkdirAll(point, 0o755); err != nil {
		h.t.Fatal(err)
	}
	h.Exec("mount", "-o", fmt.Sprint("loop,offset=", PartStart), disk, point)
	h.t.Cleanup(func() { h.Exec("umount", point) })
	h.Put("/sys/devices/pci0000:00/0000:00:03.0/virtio1/block/vda/vda1/start", fmt.Sprintln(PartStart/512))
	h.Put("/sys/devices/pci0000:00/0000:00:03.0/virtio1/block/vda/vda1/size", fmt.Sprintln((mib<<20-PartStart)/512))
	h.Put("/proc/self/mountinfo", "22 1 254:1 / / rw - ext4 /dev/vda1 rw\n23 22 254:1 / "+dir+" rw - ext4 /dev/vda1 rw\n")
	return disk
}

// Exec runs a program of the machine that the test runs on; it must succeed.
func (h *Host) Exec(name string, args ...string) {
	h.t.Helper()
	if out, err := exec.CommandContext(context.Background(), name, args...).CombinedOutput(); err != nil {
		h.t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}
