package boot

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/disarm"
	"github.com/balena-community/balena-migrate/steps/host"
	"github.com/balena-community/balena-migrate/steps/host/hosttest"
)

// card is the directory of the SD card.
const card = "/sys/devices/platform/emmc2bus/fe340000.mmc/mmc_host/mmc0/mmc0:aaaa/block/mmcblk0"

const piRelease = "6.6.31+rpt-rpi-v8"

// pi is a Raspberry Pi 4 whose boot partition is mounted at dir, with these files on it.
func pi(t *testing.T, dir string, files map[string]string) *hosttest.Host {
	t.Helper()
	h := hosttest.New(t, map[string]string{
		"/proc/device-tree/model":    "Raspberry Pi 4 Model B Rev 1.4\x00",
		"/proc/cpuinfo":              "Revision\t: c03114\nSerial\t\t: 10000000abcdef01\n",
		"/proc/sys/kernel/osrelease": piRelease + "\n",
		"/proc/stat":                 "cpu 1 2 3\nbtime 1700000000\n",
		"/proc/self/mountinfo":       "22 1 179:2 / / rw - ext4 /dev/mmcblk0p2 rw\n23 22 179:1 / " + dir + " rw - vfat /dev/mmcblk0p1 rw\n",
	})
	h.MachineName = "aarch64"
	for _, n := range []string{"1", "2"} {
		h.Put(card+"/mmcblk0p"+n+"/partition", n+"\n")
		h.Link("/sys/class/block/mmcblk0p"+n, card+"/mmcblk0p"+n)
		h.Link("/sys/dev/block/179:"+n, card+"/mmcblk0p"+n)
	}
	for name, text := range map[string]string{
		"config.txt": "auto_initramfs=1\n", "cmdline.txt": "console=serial0 root=PARTUUID=1-02 quiet\n", "kernel8.img": "kernel", "initramfs8": "host's",
	} {
		if _, ok := files[name]; !ok {
			h.Put(dir+"/"+name, text)
		}
	}
	for name, text := range files {
		if text != "" {
			h.Put(dir+"/"+name, text)
		}
	}
	old := time.Unix(1600000000, 0)
	err := filepath.WalkDir(filepath.Join(h.Root(), dir), func(name string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Chtimes(name, old, old))
	})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// armedFiles are the files of an armed machine by name, config.txt last.
func armedFiles(t *testing.T, h *hosttest.Host) (Entry, []File) {
	t.Helper()
	s := site(t, h)
	if blocked := (RaspberryPi{}).Check(s); len(blocked) > 0 {
		t.Fatalf("blocked: %+v", blocked)
	}
	e, err := RaspberryPi{}.Running(s)
	if err != nil {
		t.Fatal(err)
	}
	e.Stage2 = []byte("ours")
	files, err := RaspberryPi{}.Files(s, e, func(name string) (disarm.State, error) { return disarm.Read(h, name) })
	if err != nil {
		t.Fatal(err)
	}
	return e, files
}

func TestRaspberryPiFiles(t *testing.T) {
	for name, c := range map[string]struct {
		dir                      string
		files                    map[string]string
		archive, cmdline, config string
		kernel                   string
		others                   []string
	}{
		"Raspberry Pi OS 12": {
			dir: "/boot/firmware", kernel: "kernel8.img", archive: "host's\x00\x00ours",
			cmdline: "console=serial0 root=PARTUUID=1-02 quiet panic=10 rdinit=/balena-stage2\n",
			config:  "auto_initramfs=1\n" + disarm.FenceBegin + "\n[all]\nauto_initramfs=0\ninitramfs balena-migrate.img followkernel\ncmdline=balena-migrate.txt\n" + disarm.FenceEnd + "\n",
		},
		"Raspbian without an initramfs": {
			dir: "/boot", kernel: "kernel8.img", archive: "ours", files: map[string]string{"config.txt": "dtparam=audio=on"},
			cmdline: "console=serial0 root=PARTUUID=1-02 quiet panic=10 rdinit=/balena-stage2\n",
			config:  "dtparam=audio=on\n" + disarm.FenceBegin,
		},
		"named, in a section and in an include": {
			dir: "/boot", kernel: "my.img", archive: "abcd" + "ours",
			files:   map[string]string{"config.txt": "kernel=my.img\n[pi3]\ninitramfs no\n[all]\ninclude x.txt\n", "x.txt": "initramfs mine followkernel\n", "mine": "abcd", "my.img": "k"},
			cmdline: "console=serial0 root=PARTUUID=1-02 quiet panic=10 rdinit=/balena-stage2\n",
			config:  "kernel=my.img\n[pi3]\n" + disarm.Mark + "initramfs no\n[all]\ninclude x.txt\n" + disarm.FenceBegin,
			others:  []string{"/boot/x.txt"},
		},
		"a prefix": {
			dir: "/boot", kernel: "six/kernel8.img", archive: "ours",
			files:   map[string]string{"config.txt": "os_prefix=six/\n", "six/kernel8.img": "k", "six/cmdline.txt": "six\n"},
			cmdline: "six panic=10 rdinit=/balena-stage2\n",
			config:  "os_prefix=six/\n" + disarm.FenceBegin + "\n[all]\nauto_initramfs=0\ninitramfs /balena-migrate.img followkernel\ncmdline=/balena-migrate.txt\n",
		},
		"a prefix without a kernel counts for nothing": {
			dir: "/boot", kernel: "kernel8.img", archive: "ours", files: map[string]string{"config.txt": "os_prefix=six/\n"},
			cmdline: "console=serial0 root=PARTUUID=1-02 quiet panic=10 rdinit=/balena-stage2\n", config: "os_prefix=six/\n" + disarm.FenceBegin,
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := pi(t, c.dir, c.files)
			e, files := armedFiles(t, h)
			if want := c.dir + "/" + c.kernel; e.Kernel != want {
				t.Errorf("kernel %s, want %s", e.Kernel, want)
			}
			last := files[len(files)-1]
			if last.Path != c.dir+"/config.txt" || !strings.HasPrefix(string(last.Data), c.config) {
				t.Errorf("last %s:\n%s\nwant\n%s", last.Path, last.Data, c.config)
			}
			if string(files[0].Data) != c.archive || string(files[1].Data) != c.cmdline {
				t.Errorf("archive %q, arguments %q; want %q, %q", files[0].Data, files[1].Data, c.archive, c.cmdline)
			}
			if len(files) != 3+len(c.others) {
				t.Errorf("%d files, want %d", len(files), 3+len(c.others))
			}
			wantRearmed(t, h, e, files)
		})
	}
}

// wantRearmed: on an armed machine the same files are wanted, and what is put back is what there was.
func wantRearmed(t *testing.T, h *hosttest.Host, e Entry, files []File) {
	t.Helper()
	before := map[string]disarm.State{}
	for _, f := range files {
		var err error
		if before[f.Path], err = disarm.Read(h, f.Path); err != nil {
			t.Fatal(err)
		}
		h.Put(f.Path, string(f.Data))
	}
	s := site(t, h)
	again, err := RaspberryPi{}.Running(s)
	if err != nil || !(RaspberryPi{}).Armed(h) {
		t.Fatalf("armed %v, %v", (RaspberryPi{}).Armed(h), err)
	}
	again.Stage2 = e.Stage2
	more, err := RaspberryPi{}.Files(s, again, func(name string) (disarm.State, error) { return before[name], nil })
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range more {
		if f.Path != files[i].Path || string(f.Data) != string(files[i].Data) {
			t.Errorf("armed again, %s is %q, was %q", f.Path, f.Data, files[i].Data)
		}
		if f.Restore != schema.RestoreFile {
			continue
		}
		changed := strings.Replace(string(f.Data), "\n", "\n# somebody was here\n", 1)
		want := strings.Replace(string(before[f.Path].Data), "\n", "\n# somebody was here\n", 1)
		got := disarm.Restored(schema.ArmedFile{Restore: f.Restore, Existed: true, Original: before[f.Path].Data, ArmedSHA256: disarm.Sum(f.Data)}, disarm.State{Data: []byte(changed), Exists: true})
		if strings.Contains(want, "somebody") && string(got.Data) != want {
			t.Errorf("%s changed by somebody is put back to %q, want %q", f.Path, got.Data, want)
		}
	}
}

// counting counts how often each file is read.
type counting struct {
	host.Reader
	reads map[string]int
}

func (c counting) ReadFile(name string) ([]byte, error) {
	c.reads[name]++
	return c.Reader.ReadFile(name)
}

// However many questions are asked, config.txt is read once for a look.
func TestConfigIsReadOnce(t *testing.T) {
	r := counting{pi(t, "/boot", map[string]string{"config.txt": "include more.txt\n", "more.txt": "dtparam=audio=on\n"}), map[string]int{}}
	s, err := At(r)
	if err != nil {
		t.Fatal(err)
	}
	backend, blocked := Find(s, "auto")
	if backend == nil {
		t.Fatalf("blocked: %+v", blocked)
	}
	if _, err := backend.Running(s); err != nil || backend.Archive(s) != "/boot/balena-migrate.img" {
		t.Errorf("archive at %s, %v", backend.Archive(s), err)
	}
	for _, name := range []string{"/boot/config.txt", "/boot/more.txt", "/proc/cpuinfo"} {
		if r.reads[name] != 1 {
			t.Errorf("%s is read %d times", name, r.reads[name])
		}
	}
}

func TestRaspberryPiBlocked(t *testing.T) {
	for name, c := range map[string]struct {
		files  map[string]string
		change func(*hosttest.Host)
		want   string
	}{
		"not mounted": {change: func(h *hosttest.Host) { h.Put("/proc/self/mountinfo", "22 1 179:2 / / rw - ext4 /dev/mmcblk0p2 rw\n") }, want: "no FAT file system"},
		"read-only": {change: func(h *hosttest.Host) {
			h.Put("/proc/self/mountinfo", "22 1 179:1 / /boot ro - vfat /dev/mmcblk0p1 ro\n")
		}, want: "read-only"},
		"A/B":            {files: map[string]string{"autoboot.txt": "[all]\nboot_partition=2\n"}, want: "autoboot.txt"},
		"monitor":        {files: map[string]string{"config.txt": "[EDID=X]\ncmdline=y.txt\n"}, want: "[EDID=X]"},
		"no arguments":   {files: map[string]string{"cmdline.txt": ""}, want: "no /boot/cmdline.txt"},
		"no kernel":      {files: map[string]string{"config.txt": "include gone.txt\n"}, want: "gone.txt"},
		"kernel updated": {change: func(h *hosttest.Host) { h.Put("/proc/stat", "btime 1500000000\n") }, want: "replaced after"},
	} {
		t.Run(name, func(t *testing.T) {
			h := pi(t, "/boot", c.files)
			if c.change != nil {
				c.change(h)
			}
			backend, blocked := Find(site(t, h), "auto")
			if backend != nil || len(blocked) != 1 || !strings.Contains(blocked[0].Got, c.want) || blocked[0].Remedy == "" {
				t.Errorf("back end %v, blocked %+v, want one with %q", backend, blocked, c.want)
			}
		})
	}
}

func TestKernelFile(t *testing.T) {
	for _, c := range []struct{ release, machine, want string }{
		{"6.6.31+rpt-rpi-v8", "aarch64", "kernel8.img"}, {"6.6.31+rpt-rpi-2712", "aarch64", "kernel_2712.img"},
		{"5.10.103-v7l+", "armv7l", "kernel7l.img"}, {"4.19.66-v7+", "armv7l", "kernel7.img"}, {"4.19.66+", "armv6l", "kernel.img"},
		{"6.6.31+rpt-rpi-v6", "armv6l", "kernel.img"}, {"6.1.0-56-arm64", "aarch64", "kernel8.img"}, {"6.1.0-56-armmp", "armv7l", "kernel7.img"},
	} {
		if got := kernelFile(c.release, c.machine); got != c.want {
			t.Errorf("%s on %s: %s, want %s", c.release, c.machine, got, c.want)
		}
	}
}
