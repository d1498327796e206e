package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// BootTimeout is enough for a guest to start without KVM on two overloaded cores (45 s when they are
// free; 180 s were seen).
const BootTimeout = 10 * time.Minute

// Options describe a machine. Only Dir is a must, and Disk when Dir is new.
type Options struct {
	Dir     string    // the machine's own folder: its disk and its console live there
	Disk    string    // raw image that the disk starts as; left untouched
	DiskMiB int       // size of a new disk; 0 is the size of the image
	MemMiB  int       // 1024 if 0
	CPUs    int       // 2 if 0
	Serial  string    // serial number of the disk as the guest sees it; "LAB0001" if empty
	EFI     bool      // firmware is OVMF, with variables that the machine keeps; else SeaBIOS
	NVMe    bool      // the disk is an NVMe drive; else virtio
	Console io.Writer // gets the console as it comes, beside the file; must not block
	Extra   []string  // further arguments for QEMU
}

// VM is a machine that was switched on.
type VM struct {
	Port int // port on 127.0.0.1 that leads to the guest's sshd

	dir    string
	key    string
	cmd    *exec.Cmd
	log    *os.File
	stderr bytes.Buffer  // of QEMU; to be read when exited is closed
	exited chan struct{} // closed when QEMU has ended and the console is complete
	err    error         // how QEMU ended; to be read when exited is closed
}

// Start switches a machine on: a new one when opt.Dir holds no disk yet, else the one that lies
// there. It returns at once; WaitSSH or WaitConsole tell when the guest is there. The machine lives
// until it switches itself off, Kill, the end of ctx or of this process.
func (a Artifacts) Start(ctx context.Context, opt Options) (*VM, error) {
	opt = opt.withDefaults()
	if err := errors.Join(opt.makeDisk(ctx), opt.makeVariables()); err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	vm := &VM{Port: port, dir: opt.Dir, key: a.Key, exited: make(chan struct{})}
	vm.cmd = exec.CommandContext(ctx, "qemu-system-x86_64", opt.arguments(a.Accel, port)...)
	return vm, vm.switchOn(opt.Console)
}

// switchOn starts QEMU, whose output is the console; more, if not nil, gets it too.
func (vm *VM) switchOn(more io.Writer) error {
	var err error
	if vm.log, err = os.OpenFile(vm.consolePath(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644); err != nil {
		return fmt.Errorf("console: %w", err)
	}
	vm.cmd.Stdout, vm.cmd.Stderr = vm.log, &vm.stderr
	if more != nil {
		vm.cmd.Stdout = io.MultiWriter(vm.log, more)
	}
	vm.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // no machine outlives its test
	if err := vm.cmd.Start(); err != nil {
		vm.log.Close()
		return fmt.Errorf("start of QEMU: %w", err)
	}
	go vm.reap()
	return nil
}

func (vm *VM) reap() {
	vm.err = vm.cmd.Wait()
	vm.log.Close()
	close(vm.exited)
}

func (o Options) withDefaults() Options {
	if o.MemMiB == 0 {
		o.MemMiB = 1024
	}
	if o.CPUs == 0 {
		o.CPUs = 2
	}
	if o.Serial == "" {
		o.Serial = "LAB0001"
	}
	return o
}

func overlayPath(dir string) string { return filepath.Join(dir, "disk.qcow2") }

// makeDisk lays a writable disk over the image, unless the machine has one.
func (o Options) makeDisk(ctx context.Context) error {
	overlay := overlayPath(o.Dir)
	_, err := os.Stat(overlay)
	if err == nil {
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("disk of the machine: %w", err)
	}
	base, err := filepath.EvalSymlinks(o.Disk)
	if err != nil {
		return fmt.Errorf("image for the disk: %w", err)
	}
	args := []string{"create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", overlay}
	if o.DiskMiB != 0 {
		args = append(args, strconv.Itoa(o.DiskMiB)+"M")
	}
	return qemuImg(ctx, args...)
}

// arguments is QEMU's command line. The disk's cache is unsafe on purpose: what the guest has
// flushed survives the end of QEMU, only not that of the host.
func (o Options) arguments(accel string, port int) []string {
	cpu := "host"
	if accel == "tcg" {
		accel, cpu = "tcg,thread=multi,tb-size=512", "Nehalem"
	}
	args := []string{
		"-M", "q35", "-accel", accel, "-cpu", cpu, "-smp", strconv.Itoa(o.CPUs), "-m", strconv.Itoa(o.MemMiB),
		"-nodefaults", "-display", "none", "-monitor", "none",
		"-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
		"-drive", "if=none,id=disk,format=qcow2,cache=unsafe,discard=unmap,file=" + overlayPath(o.Dir),
		"-device", o.diskModel() + ",drive=disk,serial=" + o.Serial,
		"-netdev", fmt.Sprintf("user,id=net,hostfwd=tcp:127.0.0.1:%d-:22", port),
		"-device", "virtio-net-pci,netdev=net,romfile=", "-device", "virtio-rng-pci",
	}
	if o.EFI {
		args = append(args, "-drive", "if=pflash,unit=0,format=raw,readonly=on,file="+ovmfCode,
			"-drive", "if=pflash,unit=1,format=raw,file="+variablesPath(o.Dir))
	}
	return append(args, o.Extra...)
}

// diskModel is the disk's device. EFI has a boot order of its own, which QEMU would rewrite at every start.
func (o Options) diskModel() string {
	model := "virtio-blk-pci"
	if o.NVMe {
		model = "nvme"
	}
	if !o.EFI {
		model += ",bootindex=0"
	}
	return model
}

// OVMF of Debian's package ovmf, without Secure Boot.
const (
	ovmfCode      = "/usr/share/OVMF/OVMF_CODE_4M.fd"
	ovmfVariables = "/usr/share/OVMF/OVMF_VARS_4M.fd"
)

func variablesPath(dir string) string { return filepath.Join(dir, "efi-variables.fd") }

// makeVariables gives an EFI machine the firmware's empty variables, unless it has some.
func (o Options) makeVariables() error {
	if _, err := os.Stat(variablesPath(o.Dir)); err == nil || !o.EFI {
		return nil
	}
	data, err := os.ReadFile(ovmfVariables)
	if err != nil {
		return fmt.Errorf("variables of the firmware: %w", err)
	}
	return os.WriteFile(variablesPath(o.Dir), data, 0o644)
}

// freePort returns a TCP port that is free now.
func freePort() (int, error) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("port for the guest's ssh: %w", err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port, nil
}

// Kill takes the power away and waits until QEMU is gone. On a machine that is off it does nothing.
func (vm *VM) Kill() {
	_ = vm.cmd.Process.Kill() // fails only when it has ended
	<-vm.exited
}

// Stop shuts the guest down in an orderly way.
func (vm *VM) Stop(ctx context.Context, timeout time.Duration) error {
	if _, err := vm.SSH(ctx, "systemctl poweroff"); err != nil && !errors.Is(err, ErrDisconnected) {
		return err
	}
	return vm.WaitExit(ctx, timeout)
}
