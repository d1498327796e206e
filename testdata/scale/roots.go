package scale

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/balena-community/balena-migrate/steps/host/hosttest"
	"golang.org/x/sys/unix"
)

// Kinds are the files of testdata/roots of which fleets are made: BIOS and EFI, SATA, NVMe and eMMC, GRUB of eight years.
// All take an image for genericx86-64-ext.
func Kinds() []string {
	return []string{"x86-debian-9", "x86-debian-10", "x86-debian-11-emmc", "x86-ubuntu-16.04", "x86-ubuntu-20.04"}
}

// Template makes the root of a kind of devices, with a shell.
func Template(t testing.TB, kind string) string {
	t.Helper()
	d := hosttest.LoadDevice(t, filepath.Join("..", "roots", kind+".txtar"))
	root := d.Root()
	steps := []func(string) error{tools, sudo, places}
	for _, do := range steps {
		if err := do(root); err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
	}
	return root
}

// tools puts BusyBox and the libraries it asks for into a root.
func tools(root string) error {
	out, err := exec.Command("ldd", "/bin/busybox").Output()
	if err != nil {
		return fmt.Errorf("ldd /bin/busybox: %w", err)
	}
	files := []string{"/bin/busybox"}
	for word := range strings.FieldsSeq(string(out)) {
		if strings.HasPrefix(word, "/") {
			files = append(files, word)
		}
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err == nil {
			err = os.MkdirAll(filepath.Join(root, filepath.Dir(name)), 0o755)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(root, name), data, 0o755)
		}
		if err != nil {
			return err
		}
	}
	for _, name := range applets {
		at := filepath.Join(root, "bin", name)
		if err := os.RemoveAll(at); err != nil {
			return err
		}
		if err := os.Symlink("busybox", at); err != nil {
			return err
		}
	}
	return nil
}

// applets are BusyBox's that a device has. sync is not among them: nobody's disk has to hold what a device wrote.
var applets = strings.Fields(`sh cat chmod chown chroot cp cut date dd df dirname basename echo env false find grep head hostname id
	insmod kill ln ls mkdir mknod mktemp mount mv od poweroff printf ps pwd readlink realpath reboot rm rmdir sed seq setsid sha256sum
	sleep sort stat tail tar tee test touch tr true uname wc xargs`)

// asRoot takes what Ansible gives to sudo and runs it: every session is root's already.
const asRoot = `#!/bin/sh
while :; do case $1 in -u|-p) shift 2 ;; -*) shift ;; *) break ;; esac; done
exec "$@"
`

func sudo(root string) error {
	if err := os.WriteFile(filepath.Join(root, "bin/sync"), []byte("#!/bin/sh\n"), 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(root, "bin/sudo"), []byte(asRoot), 0o755)
}

// places are the directories and the one device that every command needs, and where a program finds itself in /proc.
func places(root string) error {
	for _, dir := range []string{"home/admin", "tmp", "run", "dev", "var/tmp", "proc/self"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return err
		}
	}
	users := "root:x:0:0:root:/root:/bin/sh\nadmin:x:1000:1000::/home/admin:/bin/sh\n"
	if err := os.WriteFile(filepath.Join(root, "etc/passwd"), []byte(users), 0o644); err != nil {
		return err
	}
	// df(1) of BusyBox looks up the file system here.
	if err := os.WriteFile(filepath.Join(root, "proc/mounts"), []byte("root / ext4 rw 0 0\n"), 0o644); err != nil {
		return err
	}
	if err := os.Symlink("/"+workDir+"/bin/balena-migrate", filepath.Join(root, "proc/self/exe")); err != nil {
		return err
	}
	return nodes(root)
}

// nodes makes the devices that every program may expect (null(4), random(4)).
func nodes(root string) error {
	for name, minor := range map[string]uint32{"null": 3, "urandom": 9} {
		at := filepath.Join(root, "dev", name)
		if err := unix.Mknod(at, unix.S_IFCHR|0o666, int(unix.Mkdev(1, minor))); err != nil {
			return &os.PathError{Op: "mknod", Path: at, Err: err}
		}
		if err := os.Chmod(at, 0o666); err != nil {
			return err
		}
	}
	return nil
}

// shared are the directories whose files no step changes: a device has the template's.
func shared(name string) bool {
	top, _, _ := strings.Cut(name, "/")
	switch top {
	case "etc", "boot", "var", "home", "run", "tmp":
		return false
	}
	return true
}

// Clone makes the root of one device.
func Clone(template, root string) error {
	return filepath.WalkDir(template, func(from string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(template, from)
		if err != nil {
			return err
		}
		to := filepath.Join(root, name)
		switch {
		case e.IsDir():
			return os.MkdirAll(to, 0o755)
		case e.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(from)
			if err != nil {
				return err
			}
			return os.Symlink(target, to)
		case shared(name):
			return os.Link(from, to)
		}
		data, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		return os.WriteFile(to, data, 0o644)
	})
}

// Fit gives a device its fault, as far as that lies in its root.
func Fit(root string, fault Fault) error {
	switch fault {
	case WrongArch:
		return replaceMode(filepath.Join(root, "bin/uname"), "#!/bin/sh\necho riscv64\n", 0o755)
	case SmallDisk:
		sizes, err := filepath.Glob(filepath.Join(root, "sys/class/block/*"))
		if err != nil {
			return err
		}
		for _, link := range sizes {
			if err := shrink(root, link); err != nil {
				return err
			}
		}
	}
	return nil
}

// shrink makes a disk of 8 MiB of it, unless it is a partition.
func shrink(root, link string) error {
	target, err := os.Readlink(link)
	if err != nil {
		return err
	}
	dir := filepath.Join(root, target)
	if _, err := os.Stat(filepath.Join(dir, "partition")); err == nil {
		return nil
	}
	return replace(filepath.Join(dir, "size"), fmt.Sprintln(8<<20/512))
}

func replaceMode(name, text string, mode fs.FileMode) error {
	if err := replace(name, text); err != nil {
		return err
	}
	return os.Chmod(name, mode)
}
