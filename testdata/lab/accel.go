package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// kvmTrial is how long a kernel may take to say its name under KVM. It takes a second where KVM
// works. Where it only seems to (/dev/kvm is there, but the guest hangs in its first
// instructions, as in some nested machines) nothing ever comes.
const kvmTrial = 8 * time.Second

// chooseAccel returns the accelerator that works, by trying. The answer is kept until this
// machine boots again.
func chooseAccel(ctx context.Context, art Artifacts) (string, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("boot id: %w", err)
	}
	memo := filepath.Join(art.Dir, "accel")
	known, err := os.ReadFile(memo)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("known accelerator: %w", err)
	}
	if words := strings.Fields(string(known)); len(words) == 2 && words[0] == strings.TrimSpace(string(boot)) {
		return words[1], nil
	}
	accel := "tcg"
	if kvmWorks(ctx, art.Kernel) {
		accel = "kvm"
	}
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	return accel, os.WriteFile(memo, []byte(strings.TrimSpace(string(boot))+" "+accel+"\n"), 0o644)
}

// kvmWorks starts a kernel without any disk under KVM and waits for its first line.
func kvmWorks(ctx context.Context, kernel string) bool {
	if _, err := os.Stat("/dev/kvm"); err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, kvmTrial)
	defer cancel()
	seen := &greeting{want: []byte("Linux version"), found: cancel}
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", "-M", "q35", "-accel", "kvm", "-cpu", "host", "-m", "256",
		"-nodefaults", "-display", "none", "-no-reboot", "-serial", "stdio",
		"-kernel", kernel, "-append", "console=ttyS0 earlyprintk=serial panic=-1")
	cmd.Stdout = seen
	_ = cmd.Run() // ended by us in any case, or it has no use for KVM: what counts is what it said
	return seen.done
}

// greeting is a writer that calls found once when want has gone by.
type greeting struct {
	want  []byte
	found func()
	text  bytes.Buffer
	done  bool
}

func (g *greeting) Write(p []byte) (int, error) {
	g.text.Write(p)
	if !g.done && bytes.Contains(g.text.Bytes(), g.want) {
		g.done = true
		g.found()
	}
	return len(p), nil
}
