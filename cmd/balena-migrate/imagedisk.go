package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/blockdev"
	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/host"
	"github.com/balena-community/balena-migrate/steps/image"
)

// diskTarget is what an image is to be written to: a block device, or a file that stands for one.
type diskTarget struct {
	name  string // links followed
	block bool
	disk  schema.Disk
	ro    bool
	part  bool
	used  []string
	size  int64 // of a file
}

// findTarget looks at the target; it changes nothing.
func findTarget(r host.Reader, name string) (*diskTarget, error) {
	abs, err := filepath.Abs(name)
	if err != nil {
		return nil, err
	}
	t := &diskTarget{}
	if t.name, err = r.RealPath(abs); err != nil {
		return nil, err
	}
	info, err := r.Stat(t.name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, steps.WithHint(fmt.Errorf("%s: no such disk or file", name), "lsblk lists the disks; for a file, make an empty one first: touch "+name)
	case err != nil:
		return nil, err
	case info.Mode().IsRegular():
		t.size, t.disk.Size = info.Size(), info.Size()
		return t, nil
	case info.Mode().Type() != fs.ModeDevice:
		return nil, steps.WithHint(fmt.Errorf("%s: found %s, expected a disk or a regular file", name, info.Mode()), "lsblk lists the disks")
	}
	t.block = true
	return t, t.look(r)
}

// look reads what the kernel tells of a block device.
func (t *diskTarget) look(r host.Reader) error {
	base := path.Base(t.name)
	sys := "/sys/class/block/" + base
	if _, err := r.Stat(sys + "/partition"); err == nil {
		t.part = true
		return nil
	}
	ro, err := r.ReadFile(sys + "/ro")
	if err != nil {
		return err
	}
	t.ro = strings.TrimSpace(string(ro)) == "1"
	if t.disk, err = blockdev.Describe(r, base); err != nil {
		return err
	}
	t.used, err = blockdev.Users(r, base)
	return err
}

// describe says which disk it is, for somebody who may hold two of them in his hands (D14).
func (t *diskTarget) describe() string {
	if !t.block {
		return fmt.Sprintf("%s, a file of %d bytes", t.name, t.size)
	}
	model, serial := t.disk.Model, t.disk.Serial
	if model == "" {
		model = "no model name"
	}
	if serial == "" {
		serial = "none"
	}
	return fmt.Sprintf("%s, %s, serial number %s, %.1f GB (%d bytes)", t.name, model, serial, float64(t.disk.Size)/1e9, t.disk.Size)
}

// blocked lists what stands against writing to it.
func (t *diskTarget) blocked(r host.Reader, c imageWriteCmd, raw *image.Raw) []schema.Blocked {
	if t.part {
		return []schema.Blocked{{Check: "disk", Got: t.name + " is a partition", Want: "a whole disk", Remedy: "name the disk itself; lsblk shows which it is"}}
	}
	var out []schema.Blocked
	block := func(got, want, remedy string) {
		out = append(out, schema.Blocked{Check: "disk", Got: got, Want: want, Remedy: remedy})
	}
	if len(t.used) > 0 {
		block(t.name+" is in use: "+strings.Join(t.used, ", "), "a disk that nobody uses", "is it the right one? then unmount its partitions, e.g. umount "+t.name+"?*")
	}
	if t.ro {
		block(t.name+" is write-protected", "a disk that can be written", "look for a write-protect switch")
	}
	if c.Serial != "" && c.Serial != t.disk.Serial {
		block(t.describe(), "serial number "+c.Serial, "name the disk with this serial number; lsblk -o NAME,MODEL,SERIAL,SIZE lists them")
	}
	if c.Size > 0 && c.Size != t.disk.Size {
		block(t.describe(), fmt.Sprintf("%d bytes", c.Size), "name the disk of this size; lsblk -b -o NAME,MODEL,SERIAL,SIZE lists them")
	}
	if t.block && t.disk.Size == 0 {
		block(t.name+" has no medium", "a disk", "put the card in")
	} else if need := rawSize(raw); t.disk.Size > 0 && need > t.disk.Size || t.disk.Size == 0 && !t.block && need == 0 {
		block(fmt.Sprintf("%s with %d bytes", t.name, t.disk.Size), fmt.Sprintf("at least the %d bytes of the image", need), "choose a larger one; the size of a packed stream shows only at its end, for it a file must not be empty")
	}
	return append(out, t.privileged(r)...)
}

func (t *diskTarget) privileged(r host.Reader) []schema.Blocked {
	if !t.block || r.Privileged() {
		return nil
	}
	return []schema.Blocked{{Check: "root", Got: "no root rights", Want: "root, to write to a disk", Remedy: "run it with sudo"}}
}

// rawSize is 0 if nobody knows it yet.
func rawSize(raw *image.Raw) int64 {
	if raw.Flashable != nil {
		return raw.Flashable.Index().RawSize
	}
	return raw.Size
}

// confirm asks a person; without one, the disk must have been named twice. An empty file has nothing to lose.
func (t *diskTarget) confirm(c imageWriteCmd, term terminal) []schema.Blocked {
	switch {
	case !t.block && (t.size == 0 || c.Yes):
		return nil
	case c.Yes && (c.Serial != "" || c.Size > 0):
		return nil
	case c.Yes:
		return []schema.Blocked{{
			Check: "confirm", Got: "--yes alone for " + t.describe(), Want: "--serial or --size as well, so that no other disk is meant",
			Remedy: fmt.Sprintf("if it is the right one: --yes %s", t.proof()),
		}}
	case interactive(term) && ask(term.in, term.err, t):
		return nil
	}
	return []schema.Blocked{{
		Check: "confirm", Got: t.describe(), Want: "a confirmation that all of it may be overwritten",
		Remedy: fmt.Sprintf("run it on a terminal and confirm, or add --yes %s", t.proof()),
	}}
}

func (t *diskTarget) proof() string {
	switch {
	case !t.block:
		return ""
	case t.disk.Serial != "":
		return "--serial '" + t.disk.Serial + "'"
	}
	return fmt.Sprintf("--size %d", t.disk.Size)
}

func interactive(t terminal) bool {
	in, ok := t.in.(io.Writer)
	return ok && isTerminal(in) && isTerminal(t.err)
}

// ask has the name of the disk typed: a yes is given too easily.
func ask(in io.Reader, out io.Writer, t *diskTarget) bool {
	base := path.Base(t.name)
	fmt.Fprintf(out, "%s\nEverything on it will be lost. Type its name (%s) to go on: ", t.describe(), base)
	line, err := bufio.NewReader(in).ReadString('\n')
	return err == nil && strings.TrimSpace(line) == base
}

// open takes the target for this process alone; the kernel refuses a disk that anybody uses, whatever was seen before.
func (t *diskTarget) open(size int64) (host.Disk, error) {
	if !t.block {
		return host.OpenFileDisk(t.name, size)
	}
	d, err := host.Linux{}.OpenDisk(t.name)
	if errors.Is(err, syscall.EBUSY) {
		return nil, steps.WithHint(fmt.Errorf("%s is in use: %w", t.name, err), "unmount its partitions; see lsblk and /proc/swaps")
	}
	if err != nil {
		return nil, err
	}
	if d.Size() != t.disk.Size {
		return nil, errors.Join(fmt.Errorf("%s: %d bytes when opened, %d before: another disk", t.name, d.Size(), t.disk.Size), d.Close())
	}
	return d, nil
}
