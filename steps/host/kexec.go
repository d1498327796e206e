package host

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// KexecLoaded says by "1" that a kernel is loaded for the next reboot by kexec (Documentation/ABI/testing/sysfs-kernel-kexec).
const KexecLoaded = "/sys/kernel/kexec_loaded"

// ErrOtherRoot is returned for what only the running system can do.
var ErrOtherRoot = errors.New("another root directory has no kernel")

// KexecLoad implements Host (kexec_file_load(2)).
func (r *Rooted) KexecLoad(k Kexec) error {
	if r.root != "/" {
		return ErrOtherRoot
	}
	killPoint()
	kernel, err := os.Open(k.Kernel)
	if err != nil {
		return err
	}
	defer kernel.Close()
	initramfs, err := os.Open(k.Initramfs)
	if err != nil {
		return err
	}
	defer initramfs.Close()
	if err := kexecFileLoad(int(kernel.Fd()), int(initramfs.Fd()), k.Args, 0); err != nil {
		return fmt.Errorf("load %s for kexec: %w", k.Kernel, err)
	}
	return nil
}

// KexecUnload implements Host.
func (r *Rooted) KexecUnload() error {
	if r.root != "/" {
		return ErrOtherRoot
	}
	killPoint()
	if err := kexecFileLoad(-1, -1, "", unix.KEXEC_FILE_UNLOAD); err != nil {
		return fmt.Errorf("unload the kernel for kexec: %w", err)
	}
	return nil
}
