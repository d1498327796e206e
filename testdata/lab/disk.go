package lab

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// errRunning keeps a disk from being read while a guest writes to it.
var errRunning = errors.New("machine is still on")

// RawDisk writes the disk of a machine that is off as a sparse raw file.
func (vm *VM) RawDisk(ctx context.Context, path string) error {
	select {
	case <-vm.exited:
	default:
		return fmt.Errorf("disk of %s: %w", vm.dir, errRunning)
	}
	return qemuImg(ctx, "convert", "-f", "qcow2", "-O", "raw", "-t", "unsafe", overlayPath(vm.dir), path)
}

// qemuImg runs qemu-img.
func qemuImg(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, "qemu-img", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("qemu-img %s: %w: %s", args[0], err, strings.TrimSpace(string(out)))
	}
	return nil
}
