//go:build !386

package host

import "golang.org/x/sys/unix"

func kexecFileLoad(kernel, initramfs int, args string, flags int) error {
	return unix.KexecFileLoad(kernel, initramfs, args, flags)
}
