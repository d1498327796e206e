package host

import "testing"

// The kernel's own root is ramfs where the command line has root=, else tmpfs (Documentation/filesystems/ramfs-rootfs-initramfs.rst);
// the numbers are those of linux/magic.h as statfs(2) gives them on 64 and on 32 bits.
func TestInMemory(t *testing.T) {
	ramfs := uint32(0x858458f6)
	for magic, want := range map[int64]bool{
		int64(ramfs): true, int64(int32(ramfs)): true, 0x01021994: true, 0xef53: false, 0x9123683e: false, int64(int32(-0x6edc97c2)): false,
	} {
		if inMemory(magic) != want {
			t.Errorf("%#x: %v, want %v", magic, !want, want)
		}
	}
}
