package host

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"unsafe"

	"golang.org/x/sys/unix"
)

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

// RawReader reads a disk past the page cache: offsets, lengths and memory must be multiples of its sectors.
type RawReader interface {
	io.ReaderAt
	io.Closer
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

// ZeroRange asks the drive to forget a range or to write zeros by itself: the kernel does so only where the range then
// reads as zeros, unlike after discard (fallocate(2), FALLOC_FL_PUNCH_HOLE on a block device is blkdev_issue_zeroout with
// BLKDEV_ZERO_NOFALLBACK). Where the drive can't, the kernel sends zeros (BLKZEROOUT), in requests as large as they can be.
func (d *blockDisk) ZeroRange(off, length int64) error {
	if punch(d.File, off, length) == nil {
		return nil
	}
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

// punch makes a hole in a file, or zeros without sending them on a block device.
func punch(f *os.File, off, length int64) error {
	return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, length)
}

// fileSector is the sector of a disk in a file, in bytes.
const fileSector = 512

// OpenFileDisk opens a regular file as a disk for this process alone; an empty one becomes size bytes long, in whole
// sectors.
func OpenFileDisk(name string, size int64) (Disk, error) {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	d := &fileDisk{File: f}
	if err := d.take(size); err != nil {
		return nil, errors.Join(&os.PathError{Op: "open", Path: name, Err: err}, f.Close())
	}
	return d, nil
}

type fileDisk struct {
	*os.File
	size int64
}

func (d *fileDisk) take(size int64) error {
	if err := unix.Flock(int(d.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return err
	}
	info, err := d.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("found %s, expected a regular file", info.Mode().Type())
	}
	if d.size = info.Size(); d.size > 0 {
		return nil
	}
	d.size = (size + fileSector - 1) / fileSector * fileSector
	return d.Truncate(d.size)
}

func (d *fileDisk) Size() int64       { return d.size }
func (d *fileDisk) SectorSize() int64 { return fileSector }

// ZeroRange makes a hole. On a file system that knows none it fails with [errors.ErrUnsupported].
func (d *fileDisk) ZeroRange(off, length int64) error {
	if err := punch(d.File, off, length); err != nil {
		return fmt.Errorf("hole of %d bytes at %d: %w", length, off, err)
	}
	return nil
}

// Flush implements Disk: what the page cache holds is on the disk then, and dropped, so that reading reads the disk.
func (d *fileDisk) Flush() error {
	if err := d.Sync(); err != nil {
		return err
	}
	return unix.Fadvise(int(d.Fd()), 0, 0, unix.FADV_DONTNEED)
}

// RereadTable implements Disk: a file has no partitions.
func (d *fileDisk) RereadTable() error { return nil }
