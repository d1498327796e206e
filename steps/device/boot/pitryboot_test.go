package boot

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/disarm"
	"github.com/balena-community/balena-migrate/steps/host/hosttest"
)

// newPi is a Raspberry Pi 4 with all that a boot on trial takes.
func newPi(t *testing.T, files map[string]string) *hosttest.Host {
	t.Helper()
	h := pi(t, "/boot/firmware", files)
	cell(h, "capabilities", "\x7f")
	cell(h, "partition", "\x01")
	cell(h, "tryboot", "\x00")
	h.Put("/dev/vcio", "")
	if err := os.MkdirAll(filepath.Join(h.Root(), "run/systemd/system"), 0o755); err != nil {
		t.Fatal(err)
	}
	return h
}

// cell is a number of the firmware's in the device tree.
func cell(h *hosttest.Host, name, low string) {
	h.Put("/proc/device-tree/chosen/bootloader/"+name, "\x00\x00\x00"+low)
}

func TestTrybootFiles(t *testing.T) {
	const config = "dtparam=audio=on\n[pi4]\ninclude more.txt\n[all]\nauto_initramfs=1"
	h := newPi(t, map[string]string{"config.txt": config, "more.txt": "arm_boost=1\ninitramfs old followkernel\n"})
	backend, blocked := Find(site(t, h), "auto")
	if backend == nil || backend.Name() != "raspberry-pi-tryboot" || RestartArgument(backend) != "0 tryboot" {
		t.Fatalf("back end %v, blocked %+v", backend, blocked)
	}
	files := trybootFiles(t, h)
	last := files[len(files)-1]
	want := "dtparam=audio=on\n[pi4]\narm_boost=1\n" + disarm.Mark + "initramfs old followkernel\n[all]\nauto_initramfs=1\n" + disarm.FenceBegin +
		"\n[all]\nauto_initramfs=0\ninitramfs balena-migrate.img followkernel\ncmdline=balena-migrate.txt\n" + disarm.FenceEnd + "\n"
	if last.Path != "/boot/firmware/tryboot.txt" || string(last.Data) != want || len(files) != 3 {
		t.Errorf("%d files, the last %s:\n%s\nwant\n%s", len(files), last.Path, last.Data, want)
	}
	for _, f := range files {
		if f.Restore != schema.RestoreRemove {
			t.Errorf("%s is not ours alone: %s", f.Path, f.Restore)
		}
		h.Put(f.Path, string(f.Data))
	}
	if now, err := h.ReadFile("/boot/firmware/config.txt"); err != nil || string(now) != config {
		t.Errorf("config.txt is %q, %v", now, err)
	}
	if !(Tryboot{}).Armed(h) || (RaspberryPi{}).Armed(h) {
		t.Error("not armed, or config.txt is")
	}
	for i, f := range trybootFiles(t, h) { // armed, the same is wanted
		if f.Path != files[i].Path || string(f.Data) != string(files[i].Data) {
			t.Errorf("armed again, %s is %q, was %q", f.Path, f.Data, files[i].Data)
		}
	}
}

func trybootFiles(t *testing.T, h *hosttest.Host) []File {
	t.Helper()
	s := site(t, h)
	if blocked := (Tryboot{}).Check(s); len(blocked) > 0 {
		t.Fatalf("blocked: %+v", blocked)
	}
	e, err := Tryboot{}.Running(s)
	if err != nil {
		t.Fatal(err)
	}
	e.Stage2 = []byte("ours")
	files, err := Tryboot{}.Files(s, e, nil)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestNoTryboot: where something is missing, config.txt is the way, and tryboot by name is blocked with what is missing.
func TestNoTryboot(t *testing.T) {
	for name, c := range map[string]struct {
		files  map[string]string
		change func(*hosttest.Host)
		want   string
	}{
		"an old bootloader": {change: func(h *hosttest.Host) { cell(h, "capabilities", "\x07") }, want: "does not say"},
		"no bootloader in an EEPROM": {
			change: func(h *hosttest.Host) { _ = h.Remove("/proc/device-tree/chosen/bootloader/capabilities") }, want: "does not say",
		},
		"revision 1.1":       {change: func(h *hosttest.Host) { h.Put("/proc/cpuinfo", "Revision\t: b03111\n") }, want: "revision 1.0 or 1.1"},
		"Debian's kernel":    {change: func(h *hosttest.Host) { _ = h.Remove("/dev/vcio") }, want: "/dev/vcio"},
		"an old kernel":      {change: func(h *hosttest.Host) { h.Put("/proc/sys/kernel/osrelease", "5.4.83-v8+\n") }, want: "from 5.10 on"},
		"another init":       {change: func(h *hosttest.Host) { _ = h.Remove("/run/systemd/system") }, want: "not systemd"},
		"a later partition":  {change: func(h *hosttest.Host) { h.Put(card+"/mmcblk0p1/partition", "2\n"); cell(h, "partition", "\x02") }, want: "first partition"},
		"A/B by partition":   {files: map[string]string{"autoboot.txt": "[all]\ntryboot_a_b=1\n"}, want: "tryboot_a_b"},
		"sections of others": {files: map[string]string{"config.txt": "[tryboot]\ndtparam=audio=on\n"}, want: "[tryboot]"},
		"another's trial":    {files: map[string]string{"tryboot.txt": "kernel=new.img\n"}, want: "tryboot.txt of another's"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newPi(t, c.files)
			if c.change != nil {
				c.change(h)
			}
			if backend, blocked := Find(site(t, h), "auto"); backend == nil || backend.Name() != "raspberry-pi" {
				t.Errorf("back end %v, blocked %+v, want config.txt's", backend, blocked)
			}
			backend, blocked := Find(site(t, h), "raspberry-pi-tryboot")
			if backend != nil || len(blocked) != 1 || !strings.Contains(blocked[0].Got, c.want) || blocked[0].Remedy == "" {
				t.Errorf("by name: back end %v, blocked %+v, want one with %q", backend, blocked, c.want)
			}
		})
	}
}

// TestAnotherConfig: where the next boot may read another config.txt than the mounted one, nothing is armed.
func TestAnotherConfig(t *testing.T) {
	for name, c := range map[string]struct {
		files  map[string]string
		change func(*hosttest.Host)
		want   string
	}{
		"autoboot.txt":  {files: map[string]string{"autoboot.txt": "boot_partition=2\n"}, want: "starts partition 2, while /boot/firmware is partition 1"},
		"mounted wrong": {change: func(h *hosttest.Host) { cell(h, "partition", "\x03") }, want: "started partition 3, while /boot/firmware is partition 1"},
		"on trial":      {change: func(h *hosttest.Host) { cell(h, "tryboot", "\x01") }, want: "on trial"},
		"signed":        {change: func(h *hosttest.Host) { cell(h, "signed", "\x09") }, want: "boot.img"},
		"packed":        {files: map[string]string{"config.txt": "boot_ramdisk=1\n"}, want: "boot.img"},
		"U-Boot":        {files: map[string]string{"config.txt": "kernel=u-boot.bin\n", "u-boot.bin": "k"}, want: "u-boot.bin"},
		"EFI":           {files: map[string]string{"config.txt": "armstub=RPI_EFI.fd\n"}, want: "RPI_EFI.fd"},
		"piboot-try":    {files: map[string]string{"new/state": "unknown\n"}, want: "new/state"},
		"autoboot.txt that can't be told": {
			files: map[string]string{"autoboot.txt": "[pi4]\nboot_partition=2\n"}, want: "[pi4]",
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newPi(t, c.files)
			if c.change != nil {
				c.change(h)
			}
			for _, method := range []string{"auto", "raspberry-pi", "raspberry-pi-tryboot"} {
				backend, blocked := Find(site(t, h), method)
				if backend != nil || len(blocked) != 1 || !strings.Contains(blocked[0].Got, c.want) || blocked[0].Remedy == "" {
					t.Errorf("%s: back end %v, blocked %+v, want one with %q", method, backend, blocked, c.want)
				}
			}
		})
	}
	h := newPi(t, map[string]string{"new/state": "bad\n", "autoboot.txt": "boot_partition=1\n"})
	cell(h, "tryboot", "\x01")
	h.Put("/proc/cmdline", "root=/dev/mmcblk0p2 panic=10 rdinit=/balena-stage2\n")
	if backend, blocked := Find(site(t, h), "auto"); backend == nil {
		t.Errorf("a stage 2 that gave up and went on in this boot: blocked %+v", blocked)
	}
}

// TestRecoverySystem: NOOBS is known by its partition's label, where the system lies in logical partitions.
func TestRecoverySystem(t *testing.T) {
	d := hosttest.LoadDevice(t, "../../../testdata/roots/pi3-raspbian-9-noobs.txtar")
	if got := RecoverySystem(site(t, d.Host)); got != "NOOBS or PINN on /dev/mmcblk0p1" {
		t.Errorf("with NOOBS: %q", got)
	}
	other, err := d.ReadFile("/dev/mmcblk0p6") // a FAT partition of another name
	if err != nil {
		t.Fatal(err)
	}
	d.Put("/dev/mmcblk0p1", string(other[:1<<20]))
	if got := RecoverySystem(site(t, d.Host)); got != "" {
		t.Errorf("logical partitions without NOOBS: %q", got)
	}
	if got := RecoverySystem(site(t, newPi(t, nil))); got != "" {
		t.Errorf("Raspberry Pi OS: %q", got)
	}
}
