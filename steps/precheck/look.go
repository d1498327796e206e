package precheck

import (
	"context"
	"errors"
	"io/fs"
	"strconv"
	"strings"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/device/boot"
	"github.com/balena-community/balena-migrate/steps/device/configjson"
	"github.com/balena-community/balena-migrate/steps/device/devicetype"
	"github.com/balena-community/balena-migrate/steps/device/newboot"
	"github.com/balena-community/balena-migrate/steps/device/watchdog"
	"github.com/balena-community/balena-migrate/steps/host"
)

// look is all that was seen, whether a check asks for it or not. What could not be seen has its error, or its answer,
// beside it.
type look struct {
	steps.View
	os      schema.OSFacts
	osErr   error
	site    boot.Site
	siteErr error
	kernel  kernel

	backend     boot.Backend
	bootBlocked []schema.Blocked
	foreign     string // a boot loader that is known but not supported

	disks  disks
	board  devicetype.Board
	types  []devicetype.Type
	config configFile
	image  image
	// newBoot is what stands against the new system's start, as far as is known of its image.
	newBoot []schema.Blocked
	memory  memory
	space   space
	speed   speed
	reach   map[string]error
}

// configFile is config.json; file is nil when it could not be read, and trouble then says why.
type configFile struct {
	file    *configjson.File
	trouble answer
}

func newLook(ctx context.Context, v steps.View) *look {
	l := &look{View: v}
	l.os, l.osErr = readOS(v.Device)
	l.site, l.siteErr = boot.At(v.Device)
	l.backend, l.bootBlocked = boot.Find(l.site, v.Config.Boot.Method)
	l.kernel = readKernel(l.site, l.backend)
	l.foreign = boot.Foreign(l.site)
	l.disks = l.readDisks()
	l.board = devicetype.Look(v.Device)
	l.types = l.board.Types()
	l.config = l.readConfigJSON()
	l.image = l.readImage()
	_, l.newBoot = newboot.Ask(newboot.Case{Device: v.Device, Files: v.Files, Config: v.Config, Facts: v.Facts}, l.board.Firmware)
	l.memory = l.readMemory()
	l.space = l.readSpace()
	l.speed = l.readSpeed()
	l.reach = l.dial(ctx)
	return l
}

// facts are the host's, without the checks.
func (l *look) facts() *schema.HostFacts {
	f := &schema.HostFacts{
		Hostname: hostname(l.Device), Arch: l.Device.Machine(), OS: l.os, KernelRelease: l.kernel.release, Firmware: l.board.Firmware,
		Executable: l.board.Executable(), Userland: devicetype.Userland(l.Device), Board: boardFacts(l.board),
		DeviceTypes: l.slugs(), Disk: l.disks.target, Root: l.disks.root, Boot: l.disks.boot,
		Memory: schema.MemoryFacts{
			Total: l.memory.total, Need: l.memory.need, Held: l.memory.held, InPlace: l.memory.inPlace, Carried: l.memory.carried,
			Alone: l.memory.alone,
		},
		Watchdog: watchdog.Look(l.Device, l.kernel.release), WorkFree: l.space.workFree, WriteKBs: l.speed.kbs, Checks: []schema.Check{},
	}
	if l.backend != nil {
		f.BootMethod = l.backend.Name()
	}
	return f
}

// boardFacts is nil for a machine that says nothing.
func boardFacts(b devicetype.Board) *schema.BoardFacts {
	f := &schema.BoardFacts{Model: b.Model, Compatible: b.Compatible, Vendor: b.Vendor, Product: b.Product}
	if b.Revision != 0 {
		f.Revision = strconv.FormatUint(uint64(b.Revision), 16)
	}
	if b.Model+b.Vendor+b.Product+f.Revision == "" {
		return nil
	}
	return f
}

// hostname is the running one, or on another root the configured one.
func hostname(r host.Reader) string {
	for _, name := range []string{"/proc/sys/kernel/hostname", "/etc/hostname"} {
		if text := line(r, name); text != "" {
			return text
		}
	}
	return ""
}

// line is the content of a file of one line, empty when there is none.
func line(r host.Reader, name string) string {
	data, err := r.ReadFile(name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

func exists(r host.Reader, name string) bool {
	_, err := r.Stat(name)
	return err == nil
}

// needsRoot says that err only comes from missing rights, about which the check "root" speaks.
func (l *look) needsRoot(err error) bool {
	return errors.Is(err, fs.ErrPermission) && !l.Device.Privileged()
}

// askRoot is S5.
func (l *look) askRoot() answer {
	if !l.Device.Privileged() {
		return block("no root rights", "root rights", "run it as root, e.g. with sudo")
	}
	return pass("root rights")
}
