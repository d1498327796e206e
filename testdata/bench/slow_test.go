package bench

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// slowFile is a file that takes limit bytes a second, whichever way the kernel is asked to write it, shown by FUSE
// (linux/fuse.h, version 7.31). Making a hole in it costs nothing, as on a drive that can zero a range by itself.
type slowFile struct {
	dev  *os.File
	data *os.File
	mu   sync.Mutex
	free time.Time // when the medium will have taken all that was given to it
}

// cache is how much time a drive's own cache covers: what is given late can be caught up.
const cache = 200 * time.Millisecond

// Operations and flags of linux/fuse.h.
const (
	opGetattr, opOpen, opRead, opWrite, opStatfs, opRelease, opFsync, opFlush = 3, 14, 15, 16, 17, 18, 20, 25
	opInit, opForget, opInterrupt, opBatchForget, opFallocate                 = 26, 2, 36, 42, 43

	headerIn, headerOut = 40, 16
	flagAsyncRead       = 1 << 0
	flagBigWrites       = 1 << 5
	flagAsyncDIO        = 1 << 15
	flagParallelDIO     = 1 << 18
	flagMaxPages        = 1 << 22
	openDirect          = 1 << 0
	maxWrite            = 1 << 20
)

// throttled makes a disk that takes limit bytes a second.
func throttled(t *testing.T, dir string) (device, file string) {
	t.Helper()
	s, point := &slowFile{}, filepath.Join(dir, "slow")
	var err error
	if s.data, err = os.Create(filepath.Join(dir, "disk")); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.data.Truncate(diskSize), os.WriteFile(point, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatalf("/dev/fuse: %v", err)
	}
	s.dev = os.NewFile(uintptr(fd), "/dev/fuse")
	if err := unix.Mount("slow", point, "fuse", unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("fd=%d,rootmode=100600,user_id=0,group_id=0,max_read=%d", fd, maxWrite)); err != nil {
		t.Fatalf("mount: %v", err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { s.serve(t) })
	}
	t.Cleanup(func() {
		if err := unix.Unmount(point, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
		wg.Wait()
		if err := errors.Join(s.dev.Close(), s.data.Close(), os.Remove(s.data.Name())); err != nil {
			t.Error(err)
		}
	})
	return loop(t, point, "on"), s.data.Name()
}

// serve answers requests until the file is unmounted (ENODEV).
func (s *slowFile) serve(t *testing.T) {
	buf := make([]byte, maxWrite+4096)
	for {
		n, err := syscall.Read(int(s.dev.Fd()), buf)
		switch {
		case errors.Is(err, syscall.EINTR), errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.EAGAIN):
			continue
		case errors.Is(err, syscall.ENODEV):
			return
		case err != nil:
			t.Errorf("/dev/fuse: %v", err)
			return
		}
		op, body := binary.NativeEndian.Uint32(buf[4:]), buf[headerIn:n]
		if op == opForget || op == opBatchForget || op == opInterrupt {
			continue
		}
		answer, errno := s.do(op, body)
		out := make([]byte, headerOut, headerOut+len(answer))
		binary.NativeEndian.PutUint32(out, uint32(headerOut+len(answer)))
		binary.NativeEndian.PutUint32(out[4:], uint32(-int32(errno)))
		copy(out[8:16], buf[8:16])
		if _, err := syscall.Write(int(s.dev.Fd()), append(out, answer...)); err != nil && !errors.Is(err, syscall.ENOENT) {
			t.Errorf("/dev/fuse: answer to %d: %v", op, err)
			return
		}
	}
}

func (s *slowFile) do(op uint32, body []byte) ([]byte, syscall.Errno) {
	e := binary.NativeEndian
	switch op {
	case opInit:
		out := make([]byte, 64)
		e.PutUint32(out, 7)
		e.PutUint32(out[4:], 31)
		e.PutUint32(out[8:], maxWrite) // read-ahead
		e.PutUint32(out[12:], flagAsyncRead|flagBigWrites|flagAsyncDIO|flagParallelDIO|flagMaxPages)
		e.PutUint16(out[16:], 64)
		e.PutUint16(out[18:], 48)
		e.PutUint32(out[20:], maxWrite)
		e.PutUint32(out[24:], 1)
		e.PutUint16(out[28:], maxWrite/4096)
		return out, 0
	case opGetattr:
		out := make([]byte, 16+88)
		e.PutUint64(out[16:], 1)        // inode
		e.PutUint64(out[24:], diskSize) // size
		e.PutUint64(out[32:], diskSize/512)
		e.PutUint32(out[76:], 0o100600) // mode
		e.PutUint32(out[80:], 1)        // links
		e.PutUint32(out[96:], 4096)     // block size
		return out, 0
	case opOpen:
		out := make([]byte, 16)
		e.PutUint32(out[8:], openDirect)
		return out, 0
	case opRead:
		out := make([]byte, e.Uint32(body[16:]))
		n, err := s.data.ReadAt(out, int64(e.Uint64(body[8:])))
		if n == 0 && err != nil {
			return nil, 0
		}
		return out[:n], 0
	case opWrite:
		size := e.Uint32(body[16:])
		s.wait(int64(size))
		out := make([]byte, 8)
		e.PutUint32(out, size)
		return out, errnoOf(s.write(body[40:40+size], int64(e.Uint64(body[8:]))))
	case opFallocate:
		return nil, errnoOf(unix.Fallocate(int(s.data.Fd()), e.Uint32(body[24:]), int64(e.Uint64(body[8:])), int64(e.Uint64(body[16:]))))
	case opRelease, opFsync, opFlush:
		return nil, 0
	case opStatfs:
		return make([]byte, 80), 0
	}
	return nil, syscall.ENOSYS
}

func (s *slowFile) write(p []byte, off int64) error {
	_, err := s.data.WriteAt(p, off)
	return err
}

// wait is the time that the medium takes for so many bytes.
func (s *slowFile) wait(n int64) {
	s.mu.Lock()
	if oldest := time.Now().Add(-cache); s.free.Before(oldest) {
		s.free = oldest
	}
	s.free = s.free.Add(time.Duration(n * int64(time.Second) / limit))
	until := s.free
	s.mu.Unlock()
	time.Sleep(time.Until(until))
}

func errnoOf(err error) syscall.Errno {
	var errno syscall.Errno
	if err != nil && !errors.As(err, &errno) {
		return syscall.EIO
	}
	return errno
}

// The slow disk is as fast as it is said to be, keeps what it is given, and makes holes at no cost.
func TestSlowDisk(t *testing.T) {
	device, file := throttled(t, t.TempDir())
	start := time.Now()
	must(t, "dd", "if=/dev/urandom", "of="+device, "bs=4M", "count=10", "oflag=direct", "conv=fsync", "status=none")
	if took := time.Since(start).Seconds(); took < 10*4*mib/float64(limit)-cache.Seconds()-0.1 {
		t.Errorf("40 MiB in %.2f s: faster than %d bytes/s", took, limit)
	}
	must(t, "cmp", "-n", fmt.Sprint(40*mib), device, file)
	start = time.Now()
	must(t, "fallocate", "--punch-hole", "--offset", "4MiB", "--length", "1GiB", device)
	if took := time.Since(start).Seconds(); took > 2 {
		t.Errorf("a hole of 1 GiB in %.2f s", took)
	}
	must(t, "cmp", "-n", fmt.Sprint(4*mib), "-i", fmt.Sprint(8*mib), device, "/dev/zero")
}
