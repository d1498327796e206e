package precheck

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCardBesideEMMC: a BeagleBone that runs from its card is told what its ROM will do.
func TestCardBesideEMMC(t *testing.T) {
	d, in := device(t, filepath.Join(rootsDir, "bbb-debian-12-sd.txtar"))
	res := converge(t, d.Host, in)
	if !strings.Contains(strings.Join(res.Warnings, "\n"), "boot-loader: this system is on the SD card mmcblk0, but without button S2") {
		t.Errorf("warnings %q", res.Warnings)
	}
}

// TestKernelOfExtlinux: where extlinux.conf can't be read, it alone is what blocks: only it could tell where the kernel lies.
func TestKernelOfExtlinux(t *testing.T) {
	d, in := device(t, filepath.Join(rootsDir, "bbb-debian-12-extlinux.txtar"))
	if err := os.Rename(filepath.Join(d.Root(), "boot/vmlinuz-6.1.0-27-armmp"), filepath.Join(d.Root(), "boot/zImage")); err != nil {
		t.Fatal(err)
	}
	d.Put("/boot/extlinux/extlinux.conf", "label l0\nkernel /zImage\ninclude more.conf\n")
	res := converge(t, d.Host, in)
	if got := names(res.Blocked); strings.Join(got, " ") != "boot-loader" {
		t.Errorf("blocked by %v: %+v", got, res.Blocked)
	}
}
