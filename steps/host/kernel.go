package host

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

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
	// Sync writes to the disks what they don't have yet; a disk that hangs hangs it.
	Sync()
	// Reboot syncs and restarts the machine.
	Reboot() error
	// Memory returns n bytes outside the heap, page-aligned, so that they suit direct I/O and cost nothing twice.
	Memory(n int) ([]byte, error)
	// Map returns a file that lies in memory, such as one of the initramfs, without a copy of it (mmap(2), MAP_SHARED).
	Map(name string) ([]byte, error)
	// Uptime is the time since the kernel started.
	Uptime() time.Duration
	Sleep(d time.Duration)
}

// Linux is the Kernel that runs.
type Linux struct{}

// IsInitramfs says whether "/" is the kernel's own file system in memory (statfs(2), f_type).
func IsInitramfs() bool {
	var st unix.Statfs_t
	if err := unix.Statfs("/", &st); err != nil {
		return false
	}
	return inMemory(uint32(st.Type))
}

// inMemory says whether a file system's type is ramfs or tmpfs. It is a number of 32 bits, which Go has with a sign where
// words have 32 bits, and ramfs's has the highest set.
func inMemory(kind uint32) bool { return kind == unix.RAMFS_MAGIC || kind == unix.TMPFS_MAGIC }

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

// Sync implements Kernel.
func (Linux) Sync() { unix.Sync() }

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

// Map implements Kernel.
func (Linux) Map(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() == 0 {
		return nil, nil
	}
	m, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, &os.PathError{Op: "mmap", Path: name, Err: err}
	}
	return m, nil
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
