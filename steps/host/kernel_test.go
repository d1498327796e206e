package host

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const loopSize = 8 << 20

// loopDisk makes a disk of the kernel's own out of a file, and returns its name in /dev.
func loopDisk(t *testing.T, sector int) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("not root: what is done to disks is tested on a loop device, which takes root rights (run it with sudo)")
	}
	file := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, loopSize); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("losetup", "--find", "--show", "--partscan", "--sector-size", strconv.Itoa(sector), file).CombinedOutput()
	if err != nil {
		t.Fatalf("losetup: %v: %s", err, out)
	}
	device := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if out, err := exec.Command("losetup", "--detach", device).CombinedOutput(); err != nil {
			t.Errorf("losetup --detach %s: %v: %s", device, err, out)
		}
	})
	return device
}

func openDisk(t *testing.T, device string) Disk {
	t.Helper()
	d, err := Linux{}.OpenDisk(device)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

// memory returns n page-aligned bytes, each of them b.
func memory(t *testing.T, n int, b byte) []byte {
	t.Helper()
	m, err := Linux{}.Memory(n)
	if err != nil {
		t.Fatal(err)
	}
	for i := range m {
		m[i] = b
	}
	return m
}

// A disk is written past the page cache, zeroed to the byte and flushed: what another reader finds there then is it.
func TestBlockDisk(t *testing.T) {
	for _, sector := range []int{512, 4096} {
		t.Run(fmt.Sprint(sector), func(t *testing.T) {
			device := loopDisk(t, sector)
			d := openDisk(t, device)
			if d.Size() != loopSize || d.SectorSize() != int64(sector) {
				t.Errorf("size %d, sectors of %d; want %d and %d", d.Size(), d.SectorSize(), loopSize, sector)
			}
			if _, err := d.WriteAt(memory(t, 1<<20, 0xa5), 1<<20); err != nil {
				t.Fatal(err)
			}
			if err := d.ZeroRange(1<<20+4096, 3*4096); err != nil {
				t.Fatal(err)
			}
			if err := d.Flush(); err != nil {
				t.Fatal(err)
			}
			want := bytes.Repeat([]byte{0xa5}, 1<<20)
			clear(want[4096 : 4*4096])
			got := memory(t, 1<<20, 1)
			if _, err := d.ReadAt(got, 1<<20); err != nil || !bytes.Equal(got, want) {
				t.Errorf("read back through the disk: other bytes, %v", err)
			}
			if data, err := os.ReadFile(device); err != nil || !bytes.Equal(data[1<<20:2<<20], want) {
				t.Errorf("read back by another reader: other bytes, %v", err)
			}
		})
	}
}

// Direct I/O is what makes reading back a proof; the kernel then wants whole sectors.
func TestBlockDiskIsDirect(t *testing.T) {
	d := openDisk(t, loopDisk(t, 512))
	if _, err := d.WriteAt(memory(t, 512, 1), 100); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("a write between sectors: %v, want %v", err, syscall.EINVAL)
	}
	for what, err := range map[string]error{
		"between sectors": d.ZeroRange(100, 512), "half a sector": d.ZeroRange(512, 100), "behind the end": d.ZeroRange(loopSize, 512),
	} {
		if !errors.Is(err, syscall.EINVAL) || !strings.Contains(err.Error(), "zero ") {
			t.Errorf("zeros %s: %v, want %v", what, err, syscall.EINVAL)
		}
	}
	if n, err := d.ReadAt(memory(t, 1024, 0), loopSize-512); n != 512 || err == nil {
		t.Errorf("a read past the end: %d bytes, %v; want 512 and an error", n, err)
	}
}

// The disk is ours alone: it can't be opened while something on it is mounted or somebody else has taken it.
func TestOpenDiskWantsItAlone(t *testing.T) {
	device, dir := loopDisk(t, 512), t.TempDir()
	d := openDisk(t, device)
	if _, err := (Linux{}).OpenDisk(device); !errors.Is(err, syscall.EBUSY) {
		t.Errorf("a disk that is taken: %v, want %v", err, syscall.EBUSY)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs.ext4", "-q", device).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.ext4: %v: %s", err, out)
	}
	var k Linux
	if err := k.Mount(device, dir, "ext4", "errors=remount-ro", true); err != nil {
		t.Fatal(err)
	}
	if _, err := k.OpenDisk(device); !errors.Is(err, syscall.EBUSY) {
		t.Errorf("a disk that is mounted: %v, want %v", err, syscall.EBUSY)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); !errors.Is(err, syscall.EROFS) {
		t.Errorf("written to what is mounted read-only: %v, want %v", err, syscall.EROFS)
	}
	if err := k.Remount(dir, false); err != nil {
		t.Error(err)
	} else if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Error(err)
	}
	if err := k.Unmount(dir); err != nil {
		t.Fatal(err)
	}
	openDisk(t, device)
	if err := k.Unmount(dir); !errors.Is(err, syscall.EINVAL) || !strings.Contains(err.Error(), dir) {
		t.Errorf("unmount twice: %v, want %v and the place", err, syscall.EINVAL)
	}
}

func TestOpenDiskRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{file, filepath.Dir(file), "/dev/no-such-disk"} {
		if d, err := (Linux{}).OpenDisk(name); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v, %v; want an error that names it", name, d, err)
		}
	}
}

// After the table was written the kernel has to forget the old partitions and to look for new ones, and it says so when
// it can't. The old one is made by hand (addpart), because not every kernel knows the table of a PC.
func TestRereadTable(t *testing.T) {
	device := loopDisk(t, 512)
	part := filepath.Join("/sys/class/block", filepath.Base(device)+"p1")
	if out, err := exec.Command("addpart", device, "1", "2048", "4096").CombinedOutput(); err != nil {
		t.Fatalf("addpart: %v: %s", err, out)
	}
	if _, err := os.Stat(part); err != nil {
		t.Fatal(err)
	}
	d := openDisk(t, device)
	inUse, err := os.Open(device + "p1")
	if err != nil {
		t.Fatal(err)
	}
	if err := d.RereadTable(); !errors.Is(err, syscall.EBUSY) || !strings.Contains(err.Error(), filepath.Base(device)) {
		t.Errorf("a partition is in use: %v, want %v and the disk's name", err, syscall.EBUSY)
	}
	if err := inUse.Close(); err != nil {
		t.Fatal(err)
	}
	if err := d.RereadTable(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(part); !os.IsNotExist(err) {
		t.Errorf("the old partition: %v, want it gone", err)
	}
}

// Memory is page-aligned, as direct I/O wants it, and zero bytes of it are no error.
func TestMemory(t *testing.T) {
	for _, n := range []int{0, 1, 4096, 1<<20 + 1} {
		m, err := Linux{}.Memory(n)
		if err != nil || len(m) != n || n > 0 && !bytes.Equal(m, make([]byte, n)) {
			t.Errorf("%d bytes: %d, %v", n, len(m), err)
		}
	}
	if _, err := (Linux{}).Memory(math.MaxInt); err == nil {
		t.Error("more memory than there are addresses: no error")
	}
}

// A processor of 32 bits has ramfs's number as a negative one.
func TestInMemory(t *testing.T) {
	ramfs := int32(-2054924042) // 0x858458f6
	for kind, want := range map[uint32]bool{uint32(ramfs): true, unix.RAMFS_MAGIC: true, unix.TMPFS_MAGIC: true, unix.EXT4_SUPER_MAGIC: false} {
		if inMemory(kind) != want {
			t.Errorf("type %#x: %v, want %v", kind, inMemory(kind), want)
		}
	}
}

// TestRAMFS: the kernel's own answer for a ramfs, in whatever width of word the test is built for.
func TestRAMFS(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("test", dir, "ramfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, 0) })
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil || !inMemory(uint32(st.Type)) {
		t.Errorf("ramfs has type %#x, %v", st.Type, err)
	}
}
