package hosttest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// ImageSize is the size of Image in bytes.
const ImageSize = 24 << 20

// Image makes a small disk image in the form of balenaOS, by the programs of a Linux system: boot code, a FAT boot partition
// with device-type.json and a loader for EFI, and 3 MiB that do not compress in another.
func Image(t testing.TB) []byte {
	t.Helper()
	name := filepath.Join(t.TempDir(), "balena.img")
	script := fmt.Sprintf(`set -e; truncate -s %d %[2]s
		printf 'label: dos\nstart=8192, size=16384, type=c\nstart=24576, type=83\n' | sfdisk -q %[2]s
		mkfs.vfat -n resin-boot --offset 8192 %[2]s 8192 >/dev/null
		printf '{"slug":"genericx86-64-ext","arch":"amd64"}' | mcopy -i %[2]s@@4M - ::device-type.json
		mmd -i %[2]s@@4M ::EFI ::EFI/BOOT
		printf MZ | mcopy -i %[2]s@@4M - ::EFI/BOOT/bootx64.efi`, ImageSize, name)
	if out, err := exec.CommandContext(t.Context(), "sh", "-c", script).CombinedOutput(); err != nil {
		t.Fatalf("image: %v\n%s", err, out)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	copy(data, "\xeb\x63\x90") // a jump, with which boot code begins
	state := uint32(1)
	for i := range 3 << 20 {
		state = state*1664525 + 1013904223 // Numerical Recipes
		data[16<<20+i] = byte(state >> 24)
	}
	return data
}
