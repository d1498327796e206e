package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
)

// Artifacts are the built things, by absolute path.
type Artifacts struct {
	Dir    string           // the cache folder
	Disks  map[Suite]string // bootable guest disks, raw; never written to
	Image  string           // the new system, raw disk image; never written to
	Kernel string           // a kernel of Debian 12, to try accelerators with
	Key    string           // private ssh key for root and pi of every guest
	Accel  string           // "kvm" when it works on this machine, else "tcg"
}

// Build makes what is missing or out of date of the lab's artefacts: the image and the guest disks
// of the given suites. It says on log what it does; silence means that all was there.
func Build(ctx context.Context, log io.Writer, suites ...Suite) (Artifacts, error) {
	dir, err := cacheDir()
	if err != nil {
		return Artifacts{}, err
	}
	b := builder{dir: dir, log: log}
	art := Artifacts{Dir: dir, Disks: map[Suite]string{}, Key: filepath.Join(dir, "ssh-key")}
	tree := b.make(ctx, "guest-tree.sh", "tree-"+string(Bookworm), string(Bookworm))
	art.Image = b.make(ctx, "newos-image.sh", "newos.img", tree)
	for _, suite := range suites {
		tree := b.make(ctx, "guest-tree.sh", "tree-"+suite.Release(), suite.Release())
		art.Disks[suite] = b.make(ctx, "guest-disk.sh", "disk-"+string(suite)+".img", tree, suite.layout())
	}
	if b.err != nil {
		return Artifacts{}, b.err
	}
	kernels, err := filepath.Glob(filepath.Join(tree, "boot", "vmlinuz-*"))
	if err != nil || len(kernels) != 1 {
		return Artifacts{}, fmt.Errorf("kernels in %s: %d found, 1 expected", tree, len(kernels))
	}
	art.Kernel = kernels[0]
	art.Accel, err = chooseAccel(ctx, art)
	return art, err
}

// BuildBoard makes the card of a board with ARM processors, "arm64" or "armhf", and the new system for it (Image). The old
// system's init is systemd where packages says "systemd-sysv", else busybox.
func BuildBoard(ctx context.Context, log io.Writer, arch string, packages ...string) (art Artifacts, card string, err error) {
	dir, err := cacheDir()
	if err != nil {
		return Artifacts{}, "", err
	}
	b := builder{dir: dir, log: log}
	tree := b.make(ctx, "pi-tree.sh", "pi-tree-"+arch, arch)
	system, name := tree, arch
	for _, p := range packages {
		name += "-" + p
		system = b.make(ctx, "pi-tree.sh", "pi-tree-"+name, arch, p)
	}
	card = b.make(ctx, "pi-disk.sh", "pi-"+name+".img", system)
	art = Artifacts{Dir: dir, Key: filepath.Join(dir, "ssh-key")}
	art.Image = b.make(ctx, "pi-newos-image.sh", "pi-newos-"+arch+".img", tree)
	return art, card, b.err
}

// BuildLarge makes what is missing or out of date of a new system like that of Build, but with so many MiB in it that
// don't compress, and returns the raw disk image.
func BuildLarge(ctx context.Context, log io.Writer, mib int) (string, error) {
	dir, err := cacheDir()
	if err != nil {
		return "", err
	}
	b := builder{dir: dir, log: log}
	tree := b.make(ctx, "guest-tree.sh", "tree-"+string(Bookworm), string(Bookworm))
	size := strconv.Itoa(mib)
	image := b.make(ctx, "newos-image.sh", "newos-"+size+".img", tree, size)
	return image, b.err
}

// cacheDir returns the folder of the artefacts; build/cache.sh has the same rule.
func cacheDir() (string, error) {
	dir := os.Getenv("BALENA_LAB_DIR")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("lab folder: %w", err)
		}
		dir = filepath.Join(home, ".cache", "balena-migrate-lab")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("lab folder: %w", err)
	}
	return filepath.Abs(dir)
}

// builder runs the build scripts until one fails.
type builder struct {
	dir string
	log io.Writer
	err error
}

// make runs a script with an input, the artefact's name and more, and returns the artefact's path,
// of this very version: a later build does not change what lies there.
func (b *builder) make(ctx context.Context, script, name, input string, more ...string) string {
	if b.err != nil {
		return ""
	}
	scripts, err := scriptDir()
	if err != nil {
		b.err = err
		return ""
	}
	out := filepath.Join(b.dir, name)
	cmd := exec.CommandContext(ctx, filepath.Join(scripts, script), append([]string{input, out}, more...)...)
	cmd.Env = append(os.Environ(), "BALENA_LAB_DIR="+b.dir)
	cmd.Stdout, cmd.Stderr = b.log, b.log
	if err := cmd.Run(); err != nil {
		b.err = fmt.Errorf("%s %s: %w", script, name, err)
		return ""
	}
	path, err := filepath.EvalSymlinks(out)
	if err != nil {
		b.err = fmt.Errorf("artefact %s: %w", name, err)
	}
	return path
}

// scriptDir finds build/ beside this source file.
func scriptDir() (string, error) {
	_, file, _, ok := runtime.Caller(0)
	if !ok || !filepath.IsAbs(file) {
		return "", errors.New("place of the lab's scripts unknown: built with -trimpath, expected without")
	}
	return filepath.Join(filepath.Dir(file), "build"), nil
}
