package main

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// limit makes kept the permitted, effective and inheritable rights of every thread (capset(2), version 3).
func limit() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := [2]unix.CapUserData{{Effective: kept, Permitted: kept, Inheritable: kept}}
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data[0])), 0)
	if errno != 0 {
		return errno
	}
	return nil
}
