// Package boot holds the boot back ends: how the next boot, and only the next, is made to be stage 2.
//
// A back end does not write. It says which files should hold what while armed; arm-boot writes them, after a record of
// the originals, and disarm puts the originals back. So every back end is idempotent and undone by the same code. One,
// kexec, has no files: it is a Loader.
package boot

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/blockdev"
	"github.com/balena-community/balena-migrate/stage2/disarm"
	"github.com/balena-community/balena-migrate/stage2/flashplan"
	"github.com/balena-community/balena-migrate/steps/host"
)

// archiveName is what the initramfs of stage 2 is called while armed.
const archiveName = "balena-migrate.img"

// panicTimeout is when the kernel reboots after a panic, in seconds. Debian's default is never: a crash would hang.
const panicTimeout = 10

// Backend is a way to start stage 2.
type Backend interface {
	// Name is the boot method in documents.
	Name() string
	// Here says whether this is the boot loader of such a machine, in whatever state.
	Here(s Site) bool
	// Check says what stands against this way.
	Check(s Site) []schema.Blocked
	// Running returns what started the running system, as far as it is to start stage 2.
	Running(s Site) (Entry, error)
	// Archive is where the boot loader reads the initramfs of stage 2 while armed, empty where none does.
	Archive(s Site) string
	// Files lists the files of the boot configuration as they are to be while armed, the initramfs of stage 2 among them,
	// in the order in which they are written; original gives a file as it was before arming. The last one arms.
	Files(s Site, e Entry, original func(string) (disarm.State, error)) ([]File, error)
	// Armed says whether the next boot is ours, by what lies on the disk.
	Armed(r host.Reader) bool
}

// Site is the machine as a back end sees it.
type Site struct {
	host.Reader
	Mounts []blockdev.Mount

	pi *firmware // nil where the machine is no Raspberry Pi
}

// File is a file of the boot configuration while armed. Restore is how it is put back.
type File struct {
	Path    string
	Data    []byte
	Mode    fs.FileMode
	Restore string
}

// Entry is what is to be booted.
type Entry struct {
	// Kernel is the running kernel; Initrd is its own initramfs, empty if it has none. Paths on the device.
	Kernel string
	Initrd string
	Args   []string
	Debug  bool
	// Joined says that the back end puts a copy of Initrd into the file of stage 2.
	Joined bool
	// Stage2 is the initramfs of stage 2, for Files.
	Stage2 []byte
}

// Backends lists the back ends in order of preference.
func Backends() []Backend {
	return []Backend{Tryboot{}, RaspberryPi{}, UEnv{}, Extlinux{}, Grub{}, Kexec{}}
}

// Restarter is a Backend for whose boot the kernel must be restarted with an argument (reboot(2),
// LINUX_REBOOT_CMD_RESTART2). What it armed lasts for the boot in which it was armed.
type Restarter interface{ RestartArgument() string }

// RestartArgument is what the kernel must be restarted with, "" for nothing.
func RestartArgument(b Backend) string {
	if r, ok := b.(Restarter); ok {
		return r.RestartArgument()
	}
	return ""
}

// findLoader returns the boot loader's back end for a method, or for "auto" the first of the machine's that nothing stands
// against. Without any, blocked says why, for each.
func findLoader(s Site, method string) (Backend, []schema.Blocked) {
	if other := Foreign(s); other != "" && (method == "auto" || method == Grub{}.Name()) {
		return nil, []schema.Blocked{{
			Check: "boot-loader", Got: other, Want: "GRUB 2, U-Boot or a Raspberry Pi's firmware as the boot loader, in a form that is known",
			Remedy: "this version has no way to start stage 2 by this boot loader; nothing was changed",
		}}
	}
	var blocked []schema.Blocked
	for _, b := range Backends() {
		if method != b.Name() && (method != "auto" || !b.Here(s)) {
			continue
		}
		why := b.Check(s)
		if len(why) == 0 {
			return b, nil
		}
		blocked = append(blocked, why...)
	}
	return nil, blocked
}

// Assumed returns the back end that was found, or where none was, GRUB's: it has kernel and /boot where packages put them.
func Assumed(found Backend) Backend {
	if found == nil {
		return Grub{}
	}
	return found
}

// At looks at the machine.
func At(r host.Reader) (Site, error) {
	mounts, err := blockdev.Mounts(r)
	s := Site{Reader: r, Mounts: mounts}
	if isRaspberryPi(r) {
		s.pi = readFirmware(s)
	}
	return s, err
}

// firmware is what was found of a Raspberry Pi's.
func (s Site) firmware() (*firmware, error) {
	if s.pi == nil {
		return nil, errors.New("/proc/device-tree/model: found none of a Raspberry Pi")
	}
	return s.pi, s.pi.err
}

// ReadOnly says whether what is mounted there can't be written.
func (s Site) ReadOnly(point string) bool {
	return slices.ContainsFunc(s.Mounts, func(m blockdev.Mount) bool { return m.Point == point && m.ReadOnly })
}

// systemd says whether the host's init is systemd (sd_booted(3)).
func (s Site) systemd() bool {
	_, err := s.Stat("/run/systemd/system")
	return err == nil
}

// Locate returns the mount that holds a file and its path there, links followed.
func (s Site) Locate(name string) (blockdev.Mount, string, error) {
	real, err := s.RealPath(name)
	if err != nil {
		return blockdev.Mount{}, "", err
	}
	return blockdev.Under(s.Mounts, real)
}

// FileSystem identifies the file system that holds a file, and returns the file's path in it.
func (s Site) FileSystem(name string) (schema.FileSystem, string, error) {
	m, inside, err := s.Locate(name)
	if err != nil {
		return schema.FileSystem{}, "", err
	}
	device, err := blockdev.NameOf(s, m)
	if err != nil {
		return schema.FileSystem{}, "", err
	}
	info, err := blockdev.ProbeFS(s, device)
	if err != nil {
		return schema.FileSystem{}, "", err
	}
	return schema.FileSystem{Device: device, Type: m.Type, UUID: info.UUID, Mount: m.Point}, inside, nil
}

// packaged returns the running kernel and its initramfs where Debian's packages have them, and its arguments: what is
// known to start this machine.
func packaged(r host.Reader) (Entry, error) {
	release, err := Release(r)
	if err != nil {
		return Entry{}, err
	}
	e := Entry{Kernel: "/boot/vmlinuz-" + release, Initrd: "/boot/initrd.img-" + release}
	if _, err := r.Stat(e.Kernel); err != nil {
		return Entry{}, fmt.Errorf("kernel %s, which runs: %w", release, err)
	}
	if _, err := r.Stat(e.Initrd); errors.Is(err, fs.ErrNotExist) {
		e.Initrd = ""
	} else if err != nil {
		return Entry{}, err
	}
	cmdline, err := r.ReadFile("/proc/cmdline")
	if err != nil {
		return Entry{}, err
	}
	e.Args = ownArgs(words(string(cmdline)))
	return e, nil
}

// Release is the release of the running kernel, as uname -r prints it.
func Release(r host.Reader) (string, error) {
	data, err := r.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "", err
	}
	release := strings.TrimSpace(string(data))
	if release == "" || path.Base(release) != release {
		return "", fmt.Errorf("/proc/sys/kernel/osrelease: found %q, expected a kernel release", release)
	}
	return release, nil
}

// words splits a kernel command line as the kernel does (lib/cmdline.c, next_arg): blanks within double quotes belong to
// the word, and quotes around a whole argument or its value are not part of it. Boot loaders put them back where they
// are needed, and protect those that they find inside.
func words(cmdline string) []string {
	quoted := false
	out := strings.FieldsFunc(cmdline, func(c rune) bool {
		if c == '"' {
			quoted = !quoted
		}
		return !quoted && (c == ' ' || c == '\t' || c == '\n')
	})
	for i, w := range out {
		name, value, _ := strings.Cut(w, "=")
		switch {
		case strings.HasPrefix(w, `"`):
			out[i] = strings.TrimSuffix(w[1:], `"`)
		case strings.HasPrefix(value, `"`):
			out[i] = name + "=" + strings.TrimSuffix(value[1:], `"`)
		}
	}
	return out
}

// ownArgs takes out what a boot loader put there for itself, and what a stage 2 that came back was started with.
func ownArgs(args []string) []string {
	var out []string
	for _, a := range args {
		key, _, _ := strings.Cut(a, "=")
		switch key {
		case "BOOT_IMAGE", "rdinit", "panic", "initrd":
		default:
			out = append(out, a)
		}
	}
	return out
}

// Arguments is the kernel command line of stage 2.
func (e Entry) Arguments() []string {
	args := append([]string{}, e.Args...)
	if e.Debug {
		args = append(args, "debug")
	}
	return append(args, fmt.Sprintf("panic=%d", panicTimeout), "rdinit="+flashplan.Binary)
}

// BootID is the identity of this boot (random(4): /proc/sys/kernel/random/boot_id).
func BootID(r host.Reader) (string, error) {
	data, err := r.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(data)), nil
}
