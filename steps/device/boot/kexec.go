package boot

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/disarm"
	"github.com/balena-community/balena-migrate/steps/host"
)

// Loader is a back end that arms the running kernel in place of files: what is armed ends with this boot, and nothing has
// to be put back.
type Loader interface {
	Backend
	// Load is what the kernel is given, with the archive of stage 2 at a path on the running system.
	Load(e Entry, archive string) host.Kexec
}

// Kexec starts stage 2 out of the running kernel (kexec_file_load(2)). Nothing on the disk changes and no boot loader is
// asked: the machine's next start by its firmware is the old system's, whatever became of stage 2. Ours is the only
// initramfs, for nothing of the host's is needed to come back.
type Kexec struct{}

var _ Loader = Kexec{}

// Name implements Backend.
func (Kexec) Name() string { return "kexec" }

// Here implements Backend. It is no boot loader: where there is one that can do it, that one does. See Find.
func (Kexec) Here(Site) bool { return false }

// Archive implements Backend: the archive stays in the work dir.
func (Kexec) Archive(Site) string { return "" }

// Files implements Backend.
func (Kexec) Files(Site, Entry, func(string) (disarm.State, error)) ([]File, error) { return nil, nil }

// Armed implements Backend. Whose kernel it is, the record of arm-boot says.
func (Kexec) Armed(r host.Reader) bool {
	data, err := r.ReadFile(host.KexecLoaded)
	return err == nil && strings.TrimSpace(string(data)) == "1"
}

// Load implements Loader.
func (Kexec) Load(e Entry, archive string) host.Kexec {
	args := e.Arguments()
	for i, a := range args {
		args[i] = quoteArg(a)
	}
	return host.Kexec{Kernel: e.Kernel, Initramfs: archive, Args: strings.Join(args, " ")}
}

// quoteArg protects blanks in an argument or its value, as the kernel undoes it (lib/cmdline.c, next_arg).
func quoteArg(arg string) string {
	name, value, found := strings.Cut(arg, "=")
	switch {
	case !strings.ContainsAny(arg, " \t\n"):
		return arg
	case found && !strings.ContainsAny(name, " \t\n"):
		return name + `="` + value + `"`
	}
	return `"` + arg + `"`
}

// Running implements Backend. No memory is set aside for a crash kernel, which stage 2 has none of. Where no root= is given,
// one is: it is not looked at, but without any the kernel bounds its file system in memory to half of the memory
// (init/do_mounts.c, init_rootfs), and an image may travel in it.
func (Kexec) Running(s Site) (Entry, error) {
	e, err := packaged(s)
	if errors.Is(err, fs.ErrNotExist) {
		e, err = besideModules(s, err)
	}
	if err != nil {
		return e, err
	}
	e.Initrd = ""
	e.Args = slices.DeleteFunc(e.Args, func(a string) bool { return strings.HasPrefix(a, "crashkernel=") })
	if !slices.ContainsFunc(e.Args, func(a string) bool { return strings.HasPrefix(a, "root=") }) {
		e.Args = append(e.Args, "root=/dev/ram0")
	}
	return e, nil
}

// besideModules finds the kernel where distributions put it that fill /boot by kernel-install(8).
func besideModules(s Site, missing error) (Entry, error) {
	release, err := Release(s)
	if err != nil {
		return Entry{}, err
	}
	e := Entry{Kernel: "/lib/modules/" + release + "/vmlinuz"}
	if _, err := s.Stat(e.Kernel); err != nil {
		return Entry{}, missing
	}
	cmdline, err := s.ReadFile("/proc/cmdline")
	e.Args = ownArgs(words(string(cmdline)))
	return e, err
}

// Check implements Backend.
func (k Kexec) Check(s Site) []schema.Blocked {
	out := Grub{}.checkFirmware(s)
	for _, ask := range []func(Site) (got, remedy string){
		askMachine, askSystemd, askKernelConfig, askDisabled, askLockdown, k.askImage, askMenu,
	} {
		if got, remedy := ask(s); got != "" {
			out = append(out, schema.Blocked{Check: "boot-loader", Got: got, Want: "a system that can start stage 2 by kexec", Remedy: remedy})
		}
	}
	return out
}

func askMachine(s Site) (got, remedy string) {
	if m := s.Machine(); m != "x86_64" && m != "aarch64" {
		return "the architecture " + m, "kexec is for kernels of x86_64 and aarch64"
	}
	return "", ""
}

// askSystemd wants an init that stops all services and unmounts all before it goes into the kernel that is loaded.
func askSystemd(s Site) (got, remedy string) {
	if _, err := s.Stat("/run/systemd/system"); err != nil {
		return "an init that is not systemd", "this version goes into a loaded kernel by systemd only (kexec.target)"
	}
	return "", ""
}

// askKernelConfig is CONFIG_KEXEC_FILE. The kernel shows in /sys whether it knows kexec at all; which way, its
// configuration says where there is one.
func askKernelConfig(s Site) (got, remedy string) {
	const other = "boot a kernel with CONFIG_KEXEC_FILE, such as Debian's linux-image-amd64"
	if _, err := s.Stat(host.KexecLoaded); err != nil {
		return "a kernel without kexec (no " + host.KexecLoaded + ")", other
	}
	release, err := Release(s)
	if err != nil {
		return err.Error(), "mount -t proc proc /proc"
	}
	config, err := s.ReadFile("/boot/config-" + release)
	if err == nil && !strings.Contains("\n"+string(config), "\nCONFIG_KEXEC_FILE=y\n") {
		return "a kernel without CONFIG_KEXEC_FILE (/boot/config-" + release + ")", other
	}
	return "", ""
}

// askDisabled is Documentation/admin-guide/sysctl/kernel.rst: once set, only a reboot takes it back.
func askDisabled(s Site) (got, remedy string) {
	data, err := s.ReadFile("/proc/sys/kernel/kexec_load_disabled")
	if err == nil && strings.TrimSpace(string(data)) != "0" {
		return "kernel.kexec_load_disabled is set", "remove it from /etc/sysctl.conf and /etc/sysctl.d, and reboot"
	}
	return "", ""
}

// askLockdown: a kernel that is locked down loads signed kernels only, and what it would start is not signed
// (kernel_lockdown(7)). The level in force stands in brackets.
func askLockdown(s Site) (got, remedy string) {
	data, err := s.ReadFile("/sys/kernel/security/lockdown")
	if err == nil && !strings.Contains(string(data), "[none]") {
		return "a kernel that is locked down: " + strings.TrimSpace(string(data)),
			"switch secure boot off in the firmware's setup, and remove lockdown= from the kernel's arguments"
	}
	return "", ""
}

// askImage is about the file of the running kernel: a bzImage (Documentation/arch/x86/boot.rst, "HdrS"), or on arm64 an
// Image that is not packed (Documentation/arch/arm64/booting.rst, "ARM\x64").
func (k Kexec) askImage(s Site) (got, remedy string) {
	e, err := k.Running(s)
	if err != nil {
		return err.Error(), "reboot, so that an installed kernel runs (an upgrade removes old ones), and try again"
	}
	f, err := s.Open(e.Kernel)
	if errors.Is(err, fs.ErrPermission) {
		return err.Error(), "run it as root, e.g. with sudo"
	}
	if err != nil {
		return err.Error(), "look at the disk and the file's mode"
	}
	defer f.Close()
	magic, at := []byte("HdrS"), int64(0x202)
	if s.Machine() == "aarch64" {
		magic, at = []byte("ARM\x64"), 0x38
	}
	head := make([]byte, len(magic))
	if n, err := f.ReadAt(head, at); n < len(head) && !errors.Is(err, io.EOF) {
		return fmt.Sprintf("%s: %v", e.Kernel, err), "look for disk errors in dmesg"
	}
	if !bytes.Equal(head, magic) {
		return e.Kernel + ", which kexec_file_load can't start: no " + fmt.Sprintf("%q at %#x", magic, at), "install a kernel that is a bzImage, or on arm64 an unpacked Image"
	}
	return "", ""
}

// askMenu: a machine that comes back must not wait for somebody to choose.
func askMenu(s Site) (got, remedy string) {
	data, err := s.ReadFile(grubCfg)
	if err != nil {
		return "", "" // not GRUB's
	}
	lines := commands(string(data))
	for i, l := range lines {
		if l == waitForEver && (i == 0 || !strings.Contains(lines[i-1], "recordfail")) {
			return "a menu of GRUB that waits for somebody to choose (set timeout=-1)", "set GRUB_TIMEOUT in /etc/default/grub to some seconds and run update-grub"
		}
	}
	return "", ""
}
