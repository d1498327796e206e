package host

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Kernel is what only PID 1 of an initramfs does.
type Kernel interface {
	Mount(source, target, fstype, options string, readOnly bool) error
	Remount(target string, readOnly bool) error
	Unmount(target string) error
	// LoadModule loads an unpacked module; one that is loaded already is no error.
	LoadModule(module []byte) error
	// OpenDisk opens a whole disk for this process alone: it fails while anything on it is mounted or in use.
	OpenDisk(device string) (Disk, error)
	// OpenRaw opens a whole disk for direct reading, beside whatever else uses it.
	OpenRaw(device string) (RawReader, error)
	// Exec replaces this process.
	Exec(program string, args []string) error
	// SwitchRoot makes a mounted file system the root, takes /dev, /proc and /sys along, and replaces this process by its
	// init. It returns only when it failed.
	SwitchRoot(root, init string) error
	// Reboot syncs and restarts the machine.
	Reboot() error
	// Memory returns n bytes outside the heap, page-aligned, so that they suit direct I/O and cost nothing twice.
	Memory(n int) ([]byte, error)
	// Uptime is the time since the kernel started.
	Uptime() time.Duration
	Sleep(d time.Duration)
}

// Disk is a whole disk, open for direct I/O.
type Disk interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	ZeroRange(off, length int64) error
	// Flush makes what was written durable, in the drive too, and forgets what the page cache holds.
	Flush() error
	// RereadTable makes the kernel read the partition table again.
	RereadTable() error
	Size() int64
	SectorSize() int64
}

// RawReader reads a disk past the page cache: offsets, lengths and memory must be multiples of its sectors.
type RawReader interface {
	io.ReaderAt
	io.Closer
}

// Linux is the Kernel that runs.
type Linux struct{}

// IsInitramfs says whether "/" is the kernel's own file system in memory (statfs(2), f_type).
func IsInitramfs() bool {
	var st unix.Statfs_t
	if err := unix.Statfs("/", &st); err != nil {
		return false
	}
	return int64(st.Type) == unix.RAMFS_MAGIC || int64(st.Type) == unix.TMPFS_MAGIC
}

// Mount implements Kernel.
func (Linux) Mount(source, target, fstype, options string, readOnly bool) error {
	if err := unix.Mount(source, target, fstype, mountFlags(readOnly), options); err != nil {
		return &os.PathError{Op: "mount " + fstype, Path: source, Err: err}
	}
	return nil
}

func mountFlags(readOnly bool) uintptr {
	if readOnly {
		return unix.MS_RDONLY
	}
	return 0
}

// Remount implements Kernel.
func (Linux) Remount(target string, readOnly bool) error {
	if err := unix.Mount("", target, "", unix.MS_REMOUNT|mountFlags(readOnly), ""); err != nil {
		return &os.PathError{Op: "remount", Path: target, Err: err}
	}
	return nil
}

// Unmount implements Kernel.
func (Linux) Unmount(target string) error {
	if err := unix.Unmount(target, 0); err != nil {
		return &os.PathError{Op: "unmount", Path: target, Err: err}
	}
	return nil
}

// LoadModule implements Kernel (init_module(2)).
func (Linux) LoadModule(module []byte) error {
	err := unix.InitModule(module, "")
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}

// Exec implements Kernel.
func (Linux) Exec(program string, args []string) error {
	return &os.PathError{Op: "exec", Path: program, Err: syscall.Exec(program, args, []string{"HOME=/", "TERM=linux"})}
}

// SwitchRoot implements Kernel, as switch_root(8) does but for the files that it deletes: they end with the next boot.
func (k Linux) SwitchRoot(root, init string) error {
	for _, dir := range []string{"/dev", "/proc", "/sys"} {
		if err := unix.Mount(dir, root+dir, "", unix.MS_MOVE, ""); err != nil {
			return &os.PathError{Op: "move", Path: dir, Err: err}
		}
	}
	if err := unix.Chdir(root); err != nil {
		return &os.PathError{Op: "chdir", Path: root, Err: err}
	}
	if err := unix.Mount(root, "/", "", unix.MS_MOVE, ""); err != nil {
		return &os.PathError{Op: "move", Path: root, Err: err}
	}
	if err := unix.Chroot("."); err != nil {
		return &os.PathError{Op: "chroot", Path: root, Err: err}
	}
	return k.Exec(init, []string{init})
}

// Reboot implements Kernel.
func (Linux) Reboot() error {
	unix.Sync()
	return unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
}

// Memory implements Kernel (mmap(2), MAP_ANONYMOUS).
func (Linux) Memory(n int) ([]byte, error) {
	m, err := unix.Mmap(-1, 0, max(n, 1), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("%d bytes of memory: %w", n, err)
	}
	return m[:n], nil
}

// Uptime implements Kernel.
func (Linux) Uptime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// Sleep implements Kernel.
func (Linux) Sleep(d time.Duration) { time.Sleep(d) }

// OpenDisk implements Kernel. O_EXCL on a block device fails with EBUSY while the kernel uses it (open(2)).
func (Linux) OpenDisk(device string) (Disk, error) {
	f, err := os.OpenFile(device, os.O_RDWR|unix.O_EXCL|unix.O_DIRECT, 0)
	if err != nil {
		return nil, err
	}
	d := &blockDisk{File: f}
	if d.size, err = f.Seek(0, io.SeekEnd); err != nil {
		return nil, errors.Join(fmt.Errorf("size of %s: %w", device, err), f.Close())
	}
	sector, err := unix.IoctlGetInt(int(f.Fd()), unix.BLKSSZGET)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("sector size of %s: %w", device, err), f.Close())
	}
	d.sector = int64(sector)
	return d, nil
}

// OpenRaw implements Kernel (open(2), O_DIRECT).
func (Linux) OpenRaw(device string) (RawReader, error) {
	f, err := os.OpenFile(device, os.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		return nil, err
	}
	return f, nil
}

type blockDisk struct {
	*os.File
	size, sector int64
}

func (d *blockDisk) Size() int64       { return d.size }
func (d *blockDisk) SectorSize() int64 { return d.sector }

// ZeroRange asks the kernel for zeros (BLKZEROOUT); where the drive can't, the kernel writes them itself.
func (d *blockDisk) ZeroRange(off, length int64) error {
	span := [2]uint64{uint64(off), uint64(length)}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, d.Fd(), unix.BLKZEROOUT, uintptr(unsafe.Pointer(&span))); errno != 0 {
		return fmt.Errorf("zero %d bytes at %d: %w", length, off, errno)
	}
	return nil
}

// Flush implements Disk.
func (d *blockDisk) Flush() error {
	if err := d.Sync(); err != nil {
		return err
	}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, d.Fd(), unix.BLKFLSBUF, 0); errno != 0 {
		return fmt.Errorf("drop the cache of %s: %w", path.Base(d.Name()), errno)
	}
	return nil
}

// RereadTable implements Disk.
func (d *blockDisk) RereadTable() error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, d.Fd(), unix.BLKRRPART, 0); errno != 0 {
		return fmt.Errorf("read the partition table of %s again: %w", path.Base(d.Name()), errno)
	}
	return nil
}
