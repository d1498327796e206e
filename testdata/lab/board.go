package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
)

// Board is a single-board computer: QEMU's machine "virt", which says to be a Raspberry Pi, behind a firmware of ours.
// QEMU starts it with what the firmware finds on the card; on a reboot the firmware looks again. Everything of VM that
// goes by ssh or by the console serves a Board as well.
type Board struct {
	*VM
	card    string
	model   Model
	options BoardOptions

	trial   bool  // the restart before this start asked for it
	began   int64 // where the console of this start begins
	mu      sync.Mutex
	stopped bool
}

// BoardOptions describe a board. Dir and, when Dir holds no card yet, Card are a must.
type BoardOptions struct {
	Dir    string // the board's own folder: its card and its console live there
	Card   string // raw image that the card starts as; left untouched
	MemMiB int    // 1024 if 0
	Model  Model
}

// Model is a kind of board.
type Model struct {
	Arch    string   // of its card, as BuildBoard takes it
	Slug    string   // the device type of its new system
	QEMU    string   // program
	Virt    string   // properties of QEMU's machine, each behind a comma
	CPU     string   // of QEMU
	Name    string   // /proc/device-tree/model
	Compat  []string // /proc/device-tree/compatible
	Filters []string // sections of config.txt that are for it, beside [all]
	Kernel  string   // what the firmware starts when config.txt names nothing
	Tryboot bool     // its firmware tries another configuration once, when a reboot asks for it, and says so
}

// Pi4 is a Raspberry Pi 4 with a 64-bit kernel (names from the kernel's bcm2711-rpi-4-b.dts).
func Pi4() Model {
	return Model{
		Arch: "arm64", Slug: "raspberrypi4-64", QEMU: "qemu-system-aarch64", CPU: "cortex-a72", Name: "Raspberry Pi 4 Model B Rev 1.4",
		Compat: []string{"raspberrypi,4-model-b", "brcm,bcm2711"}, Filters: []string{"pi4"}, Kernel: "kernel8.img",
	}
}

// Pi2 is a Raspberry Pi 2 (names from the kernel's bcm2836-rpi-2-b.dts). Without highmem=off the machine has its devices
// where a kernel without LPAE can't reach them.
func Pi2() Model {
	return Model{
		Arch: "armhf", Slug: "raspberry-pi2", QEMU: "qemu-system-arm", Virt: ",highmem=off", CPU: "cortex-a7", Name: "Raspberry Pi 2 Model B Rev 1.1",
		Compat: []string{"raspberrypi,2-model-b", "brcm,bcm2836"}, Filters: []string{"pi2"}, Kernel: "kernel7.img",
	}
}

// cardSize is the smallest power of two that QEMU takes for the lab's card, in bytes: cards have no other sizes.
const cardSize = 4 << 30

// StartBoard switches a board on. It lives until it switches itself off, Kill, or the end of this process.
func (a Artifacts) StartBoard(ctx context.Context, opt BoardOptions) (*Board, error) {
	if opt.MemMiB == 0 {
		opt.MemMiB = 1024
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	b := &Board{
		VM:   &VM{Port: port, dir: opt.Dir, key: a.Key, exited: make(chan struct{})},
		card: filepath.Join(opt.Dir, "card.raw"), model: opt.Model, options: opt,
	}
	if err := b.insertCard(ctx); err != nil {
		return nil, err
	}
	if err := b.deviceTree(ctx); err != nil {
		return nil, err
	}
	if b.log, err = os.OpenFile(b.consolePath(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644); err != nil {
		return nil, fmt.Errorf("console: %w", err)
	}
	events, err := b.boot(ctx)
	if err != nil {
		return nil, errors.Join(err, b.log.Close())
	}
	go b.keepOn(ctx, events)
	return b, nil
}

// insertCard copies the image, unless the board has a card.
func (b *Board) insertCard(ctx context.Context) error {
	if _, err := os.Stat(b.card); err == nil {
		return nil
	}
	if out, err := exec.CommandContext(ctx, "cp", "--sparse=always", b.options.Card, b.card).CombinedOutput(); err != nil {
		return fmt.Errorf("card of the board: %w: %s", err, out)
	}
	return os.Truncate(b.card, cardSize)
}

func (b *Board) dtb() string { return filepath.Join(b.dir, "board.dtb") }

// deviceTree makes QEMU's own device tree say that the machine is the model.
func (b *Board) deviceTree(ctx context.Context) error {
	for _, args := range [][]string{
		append([]string{b.model.QEMU}, b.machine(",dumpdtb="+b.dtb())...),
		{"fdtput", "-t", "s", b.dtb(), "/", "model", b.model.Name},
		append([]string{"fdtput", "-t", "s", b.dtb(), "/", "compatible"}, b.model.Compat...),
	} {
		if out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("device tree: %s: %w: %s", args[0], err, out)
		}
	}
	return nil
}

func (b *Board) machine(properties string) []string {
	return []string{"-M", "virt" + b.model.Virt + properties, "-cpu", b.model.CPU, "-smp", "2", "-m", fmt.Sprint(b.options.MemMiB), "-nodefaults", "-display", "none"}
}

// tellTree says in the device tree what the firmware of a board with its bootloader in an EEPROM says there (Raspberry Pi
// documentation, "Device trees", /chosen/bootloader).
func (b *Board) tellTree(ctx context.Context) error {
	if !b.model.Tryboot {
		return nil
	}
	trial := "0"
	if b.trial {
		trial = "1"
	}
	for name, value := range map[string]string{"capabilities": "7f", "partition": "1", "tryboot": trial} {
		if out, err := exec.CommandContext(ctx, "fdtput", "-p", "-t", "x", b.dtb(), "/chosen/bootloader", name, value).CombinedOutput(); err != nil {
			return fmt.Errorf("device tree: %s: %w: %s", name, err, out)
		}
	}
	return nil
}

// boot plays the firmware and starts QEMU with what it found. The events of the machine come over the reader.
func (b *Board) boot(ctx context.Context) (io.ReadCloser, error) {
	found, err := readCard(ctx, b.card, b.model, b.trial, b.dir)
	if err != nil {
		return nil, fmt.Errorf("firmware: %w", err)
	}
	if err := b.tellTree(ctx); err != nil {
		return nil, err
	}
	b.began = b.ConsoleSize()
	fmt.Fprintf(b.log, "\nFIRMWARE %s: %s, kernel %s, initramfs %q, %s\n", b.model.Name, found.config, found.kernelName, found.initramfsName, found.cmdline)
	args := append(b.machine(",accel=tcg"), "-monitor", "none", "-no-reboot", "-qmp", "stdio",
		"-chardev", "file,id=console,append=on,path="+b.consolePath(), "-serial", "chardev:console",
		"-kernel", found.kernel, "-dtb", b.dtb(), "-append", found.cmdline,
		"-drive", "if=none,id=card,format=raw,cache=unsafe,discard=unmap,file="+b.card,
		"-device", "sdhci-pci", "-device", "sd-card,drive=card",
		"-netdev", fmt.Sprintf("user,id=net,hostfwd=tcp:127.0.0.1:%d-:22", b.Port),
		"-device", "virtio-net-pci,netdev=net,romfile=", "-device", "virtio-rng-pci")
	if found.initramfs != "" {
		args = append(args, "-initrd", found.initramfs)
	}
	cmd := exec.CommandContext(ctx, b.model.QEMU, args...)
	events, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	commands, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = &b.stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // no machine outlives its test
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stopped {
		return nil, errors.New("switched off")
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start of QEMU: %w", err)
	}
	b.cmd = cmd
	_, err = io.WriteString(commands, `{"execute":"qmp_capabilities"}`+"\n") // events come only after this
	return events, err
}

// keepOn starts the board again after each reboot. What the restart asks for holds for one start.
func (b *Board) keepOn(ctx context.Context, events io.ReadCloser) {
	defer close(b.exited)
	defer b.log.Close()
	for {
		rebooted := wasReset(events)
		if b.err = b.cmd.Wait(); b.err != nil || !rebooted {
			return
		}
		if b.trial, b.err = b.asksForTrial(); b.err != nil {
			return
		}
		if events, b.err = b.boot(ctx); b.err != nil {
			return
		}
	}
}

// asksForTrial says whether the kernel was restarted for a boot on trial. The driver that tells a Raspberry Pi's firmware is
// not in QEMU's machine; what it would pass on is what the kernel prints (kernel/reboot.c).
func (b *Board) asksForTrial() (bool, error) {
	text, err := os.ReadFile(b.consolePath())
	if err != nil {
		return false, err
	}
	return b.model.Tryboot && bytes.Contains(text[b.began:], []byte("reboot: Restarting system with command '0 tryboot'")), nil
}

// Kill takes the power away.
func (b *Board) Kill() {
	b.mu.Lock()
	b.stopped = true
	_ = b.cmd.Process.Kill() // fails only when it has ended
	b.mu.Unlock()
	<-b.exited
}
