package lab

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// UBoot is a kind of board that the real U-Boot starts, of Debian's package u-boot-qemu: QEMU's machine "virt" with a disk
// on virtio, the only one that this build of U-Boot has a driver for.
type UBoot struct {
	Arch     string // of Debian
	QEMU     string // program
	Machine  string // its machine, with properties
	CPU      string
	Firmware string
	// Way is how U-Boot is led to the old system, as uboot-disk.sh names it.
	Way string
	// Environment says that U-Boot has that of a BeagleBone (build/uboot/beaglebone.env), and not its own.
	Environment bool
}

// Extlinux64 is a board with 64 bits that U-Boot starts by its own environment, which finds extlinux.conf.
func Extlinux64() UBoot {
	return UBoot{
		Arch: "arm64", QEMU: "qemu-system-aarch64", Machine: "virt", CPU: "cortex-a53",
		Firmware: "/usr/lib/u-boot/qemu_arm64/u-boot.bin", Way: "extlinux",
	}
}

// BeagleBone is a board with 32 bits whose U-Boot is led by uEnv.txt, and whose system is told to be on a BeagleBone Black:
// a kernel that read so in the device tree itself would look for that processor's parts.
func BeagleBone() UBoot {
	return UBoot{
		Arch: "armhf", QEMU: "qemu-system-arm", Machine: "virt,highmem=off", CPU: "cortex-a15",
		Firmware: "/usr/lib/u-boot/qemu_arm/u-boot.bin", Way: "uenv", Environment: true,
	}
}

// BuildUBoot makes the disk of a board with U-Boot, and the new system for it (Image).
func BuildUBoot(ctx context.Context, board UBoot, log io.Writer) (art Artifacts, disk string, err error) {
	art, card, err := BuildBoard(ctx, log, board.Arch)
	if err != nil {
		return art, "", err
	}
	b := builder{dir: art.Dir, log: log}
	disk = b.make(ctx, "uboot-disk.sh", "uboot-"+board.Way+"-"+board.Arch+".img", card, board.Way)
	art.Image = b.make(ctx, "uboot-newos-image.sh", "uboot-newos-"+board.Arch+".img", filepath.Join(art.Dir, "pi-tree-"+board.Arch))
	return art, disk, b.err
}

// StartUBoot switches a board on, with a copy of the disk. It restarts by itself.
func (a Artifacts) StartUBoot(ctx context.Context, board UBoot, dir, disk string) (*VM, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	vm := &VM{Port: port, dir: dir, key: a.Key, exited: make(chan struct{})}
	args, err := board.arguments(ctx, dir, disk)
	if err != nil {
		return nil, err
	}
	if vm.log, err = os.OpenFile(vm.consolePath(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644); err != nil {
		return nil, fmt.Errorf("console: %w", err)
	}
	vm.cmd = exec.CommandContext(ctx, board.QEMU, append(args, "-netdev", fmt.Sprintf("user,id=net,hostfwd=tcp:127.0.0.1:%d-:22", port))...)
	vm.cmd.Stdout, vm.cmd.Stderr = vm.log, &vm.stderr
	vm.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // no machine outlives its test
	if err := vm.cmd.Start(); err != nil {
		vm.log.Close()
		return nil, fmt.Errorf("start of QEMU: %w", err)
	}
	go vm.reap()
	return vm, nil
}

// arguments makes what the machine is made of, and returns QEMU's command line.
func (u UBoot) arguments(ctx context.Context, dir, disk string) ([]string, error) {
	own := Board{card: filepath.Join(dir, "disk.raw"), options: BoardOptions{Card: disk}}
	if err := own.insertCard(ctx); err != nil {
		return nil, err
	}
	args := []string{
		"-M", u.Machine + ",accel=tcg", "-bios", u.Firmware, "-cpu", u.CPU, "-smp", "2", "-m", "1024", "-nodefaults", "-display", "none", "-monitor", "none",
		"-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
		"-drive", "if=none,id=disk,format=raw,cache=unsafe,discard=unmap,file=" + own.card,
		"-device", "virtio-blk-pci,drive=disk,serial=LAB0001",
		"-device", "virtio-net-pci,netdev=net,romfile=", "-device", "virtio-rng-pci",
	}
	if u.Environment {
		flash := filepath.Join(dir, "environment.raw")
		if err := script(ctx, "uboot-env.sh", flash); err != nil {
			return nil, err
		}
		args = append(args, "-drive", "if=pflash,unit=1,format=raw,file="+flash)
	}
	return args, nil
}

// script runs one of the build scripts that keep nothing.
func script(ctx context.Context, name string, args ...string) error {
	scripts, err := scriptDir()
	if err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, filepath.Join(scripts, name), args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return nil
}
