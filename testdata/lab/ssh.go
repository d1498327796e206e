package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// commandTimeout bounds every ssh command, beside its context.
const commandTimeout = 10 * time.Minute

// ErrDisconnected means that ssh itself ended without the command's exit code.
var ErrDisconnected = errors.New("ssh connection failed")

// Result is what a command in the guest gave.
type Result struct {
	Stdout, Stderr string
	Code           int
}

// WaitSSH waits until the guest's sshd answers with its banner and takes a command.
func (vm *VM) WaitSSH(ctx context.Context, timeout time.Duration) error {
	return vm.wait(ctx, "ssh", timeout, func() bool {
		if !vm.banner() {
			return false
		}
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		result, err := vm.SSH(ctx, "true")
		return err == nil && result.Code == 0
	})
}

// banner tells whether sshd is there: QEMU accepts connections long before.
func (vm *VM) banner() bool {
	conn, err := net.DialTimeout("tcp4", vm.address(), time.Second)
	if err != nil {
		return false
	}
	defer conn.Close()
	hello := make([]byte, 4)
	if err := conn.SetReadDeadline(time.Now().Add(3 * time.Second)); err != nil {
		return false
	}
	_, err = io.ReadFull(conn, hello)
	return err == nil && string(hello) == "SSH-"
}

func (vm *VM) address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(vm.Port)) }

// SSH runs a shell command in the guest as root. An exit code other than 0 is no error.
func (vm *VM) SSH(ctx context.Context, command string) (Result, error) {
	return vm.ssh(ctx, "root", command, nil)
}

// SSHAs is SSH as another user.
func (vm *VM) SSHAs(ctx context.Context, user, command string) (Result, error) {
	return vm.ssh(ctx, user, command, nil)
}

// Run runs a shell command in the guest as root and returns its standard output without the last
// newline. An exit code other than 0 is an error that carries both outputs.
func (vm *VM) Run(ctx context.Context, command string) (string, error) {
	result, err := vm.SSH(ctx, command)
	if err == nil && result.Code != 0 {
		err = fmt.Errorf("guest command %q: exit code %d\n%s%s", command, result.Code, result.Stdout, result.Stderr)
	}
	return strings.TrimSuffix(result.Stdout, "\n"), err
}

// Put copies a local file to a path in the guest, with its permissions.
func (vm *VM) Put(ctx context.Context, local, remote string) error {
	file, err := os.Open(local)
	if err != nil {
		return fmt.Errorf("file for the guest: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("file for the guest: %w", err)
	}
	path := "'" + strings.ReplaceAll(remote, "'", `'\''`) + "'"
	command := fmt.Sprintf("cat > %s && chmod %o %s && wc -c < %s", path, info.Mode().Perm(), path, path)
	result, err := vm.ssh(ctx, "root", command, file)
	if err != nil {
		return fmt.Errorf("copy to %s: %w", remote, err)
	}
	if got := strings.TrimSpace(result.Stdout); result.Code != 0 || got != strconv.FormatInt(info.Size(), 10) {
		return fmt.Errorf("copy to %s: %q of %d bytes, exit code %d: %s", remote, got, info.Size(), result.Code, result.Stderr)
	}
	return nil
}

func (vm *VM) ssh(ctx context.Context, user, command string, input io.Reader) (Result, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	// the key exchange that is ssh's default takes seconds in an emulated guest
	cmd := exec.CommandContext(ctx, "ssh", "-F", "/dev/null", "-i", vm.key, "-p", strconv.Itoa(vm.Port),
		"-o", "KexAlgorithms=curve25519-sha256",
		"-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=no",
		"-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=30",
		"-o", "ServerAliveInterval=10", "-o", "ServerAliveCountMax=6", user+"@127.0.0.1", command)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = input, &stdout, &stderr
	err := cmd.Run()
	result := Result{Stdout: stdout.String(), Stderr: stderr.String(), Code: cmd.ProcessState.ExitCode()}
	if ctx.Err() != nil {
		return result, fmt.Errorf("guest command %q: %w", command, ctx.Err())
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return result, fmt.Errorf("guest command %q: %w", command, err)
	}
	if result.Code == 255 || result.Code == -1 { // 255 is ssh's own
		return result, fmt.Errorf("guest command %q: %w: %s", command, ErrDisconnected, strings.TrimSpace(result.Stderr))
	}
	return result, nil
}

// BootID returns the id of the guest's running kernel: another id is another boot.
func (vm *VM) BootID(ctx context.Context) (string, error) {
	return vm.Run(ctx, "cat /proc/sys/kernel/random/boot_id")
}

// WaitNewBoot waits until the guest answers over ssh with another boot id than old.
func (vm *VM) WaitNewBoot(ctx context.Context, old string, timeout time.Duration) error {
	return vm.wait(ctx, "ssh after a reboot", timeout, func() bool {
		if !vm.banner() {
			return false
		}
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		id, err := vm.BootID(ctx)
		return err == nil && id != old
	})
}

// Reboot reboots the guest and waits until it is back.
func (vm *VM) Reboot(ctx context.Context, timeout time.Duration) error {
	old, err := vm.BootID(ctx)
	if err != nil {
		return err
	}
	if _, err := vm.SSH(ctx, "systemctl reboot"); err != nil && !errors.Is(err, ErrDisconnected) {
		return err
	}
	return vm.WaitNewBoot(ctx, old, timeout)
}
