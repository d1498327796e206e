package boot

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps/host"
	"github.com/balena-community/balena-migrate/steps/host/hosttest"
)

const (
	rootsDir = "../../../testdata/roots/"
	release  = "6.1.0-37-amd64"
)

func device(t *testing.T, name string) *hosttest.Device {
	t.Helper()
	return hosttest.LoadDevice(t, rootsDir+name+".txtar")
}

// Which way is chosen: the boot loader where it can, kexec where that gets round the reason.
func TestFindKexec(t *testing.T) {
	for _, c := range []struct {
		device, method string
		change         func(d *hosttest.Device)
		want, blocked  string // the method, or part of what is blocked
	}{
		{device: "x86-debian-12-lvm", method: "auto", want: "kexec"},
		{device: "x86-debian-12-lvm", method: "kexec", want: "kexec"},
		{device: "x86-debian-12-lvm", method: "grub", blocked: "dm-0 is a device-mapper volume"},
		{device: "x86-debian-12-btrfs", method: "auto", want: "kexec"},
		{device: "x86-debian-12-btrfs", method: "grub", blocked: "btrfs"},
		{device: "x86-debian-12-xfs", method: "auto", want: "grub"},
		{device: "x86-debian-12-xfs", method: "kexec", want: "kexec"},
		{device: "x86-debian-12-systemd-boot", method: "auto", want: "kexec"},
		{device: "x86-debian-12-systemd-boot", method: "grub", blocked: "systemd-boot"},
		// The firmware that started it starts the new system too; of a BIOS machine nobody knows what did (S104).
		{device: "x86-debian-12-luks-efi", method: "auto", change: notByGrub, want: "kexec"},
		{device: "x86-debian-12-lvm", method: "auto", change: notByGrub, blocked: "not started by GRUB"},
		{device: "x86-debian-12-xfs", method: "auto", change: notByGrub, blocked: "not started by GRUB"},
		// A menu that waits does so after a failure too.
		{device: "x86-debian-12-lvm", method: "auto", change: waiting, blocked: "set timeout=-1"},
		{device: "x86-debian-12-xfs", method: "auto", change: waiting, blocked: "set timeout=-1"},
		{device: "jetson-xavier-ubuntu-18.04", method: "auto", blocked: "extlinux"},
	} {
		d := device(t, c.device)
		if c.change != nil {
			c.change(d)
		}
		b, blocked := Find(site(t, d.Host), c.method)
		switch {
		case c.want != "" && (b == nil || b.Name() != c.want):
			t.Errorf("%s, %s: %v, blocked %+v, want %s", c.device, c.method, b, blocked, c.want)
		case c.want == "" && (b != nil || !strings.Contains(text(blocked), c.blocked)):
			t.Errorf("%s, %s: %v, blocked %+v, want %q", c.device, c.method, b, blocked, c.blocked)
		}
	}
}

func text(all []schema.Blocked) string {
	var out []string
	for _, b := range all {
		out = append(out, b.Got, b.Want, b.Remedy)
	}
	return strings.Join(out, "\n")
}

func notByGrub(d *hosttest.Device) { d.Put("/proc/cmdline", "root=/dev/mapper/vg-dm-0 ro\n") }

func waiting(d *hosttest.Device) {
	data, _ := d.ReadFile(grubCfg)
	d.Put(grubCfg, strings.ReplaceAll(string(data), "set timeout=5", "set timeout=-1"))
}

// What stands against kexec, one thing at a time, is named and has its remedy; where a boot loader is blocked as well, that
// says so too.
func TestKexecCheck(t *testing.T) {
	for want, change := range map[string]func(d *hosttest.Device){
		"architecture armv7l": func(d *hosttest.Device) { d.MachineName = "armv7l" },
		"not systemd":         func(d *hosttest.Device) { gone(t, d, "/run/systemd/system/x.conf"); gone(t, d, "/run/systemd/system") },
		"without kexec (no":   func(d *hosttest.Device) { gone(t, d, host.KexecLoaded) },
		"CONFIG_KEXEC_FILE (/boot/config": func(d *hosttest.Device) {
			d.Put("/boot/config-"+release, "CONFIG_KEXEC=y\n# CONFIG_KEXEC_FILE is not set\n")
		},
		"kexec_load_disabled is set": func(d *hosttest.Device) { d.Put("/proc/sys/kernel/kexec_load_disabled", "1\n") },
		"locked down": func(d *hosttest.Device) {
			d.Put("/sys/kernel/security/lockdown", "none [integrity] confidentiality\n")
		},
		`no "HdrS" at 0x202`:      func(d *hosttest.Device) { d.Put("/boot/vmlinuz-"+release, "\x1f\x8b") },
		"vmlinuz-" + release:      func(d *hosttest.Device) { gone(t, d, "/boot/vmlinuz-"+release) },
		"EFI firmware of 32 bits": func(d *hosttest.Device) { d.Put("/sys/firmware/efi/fw_platform_size", "32\n") },
	} {
		d := device(t, "x86-debian-12-lvm")
		if why := (Kexec{}).Check(site(t, d.Host)); len(why) != 0 {
			t.Fatalf("blocked as it is: %+v", why)
		}
		change(d)
		why := Kexec{}.Check(site(t, d.Host))
		if len(why) != 1 || !strings.Contains(why[0].Got, want) || why[0].Remedy == "" || why[0].Check != "boot-loader" {
			t.Errorf("%+v, want %q", why, want)
		}
		if b, all := Find(site(t, d.Host), "auto"); b != nil || !strings.Contains(text(all), want) {
			t.Errorf("%q: found %v, blocked %+v", want, b, all)
		}
	}
}

func gone(t *testing.T, d *hosttest.Device, name string) {
	t.Helper()
	if err := d.Remove(name); err != nil {
		t.Fatal(err)
	}
}

// An arm64 kernel must not be packed.
func TestKexecArm64(t *testing.T) {
	d := device(t, "x86-debian-12-lvm")
	d.MachineName = "aarch64"
	d.Put("/boot/vmlinuz-"+release, strings.Repeat("\x00", 0x38)+"ARM\x64")
	if why := (Kexec{}).Check(site(t, d.Host)); len(why) != 0 {
		t.Errorf("an Image: %+v", why)
	}
	d.Put("/boot/vmlinuz-"+release, "MZ\x00\x00zimg\x00\x00")
	if why := (Kexec{}).Check(site(t, d.Host)); len(why) != 1 || !strings.Contains(why[0].Got, "can't start") {
		t.Errorf("a packed one: %+v", why)
	}
}

// What the kernel is given: our initramfs alone, the running command line quoted as the kernel reads it, and a root.
func TestKexecLoad(t *testing.T) {
	d := device(t, "x86-debian-12-lvm")
	d.Put("/proc/cmdline", `BOOT_IMAGE=/vmlinuz ro dyndbg="file x +p" "odd one" crashkernel=384M-:128M initrd=x panic=1`)
	e, err := Kexec{}.Running(site(t, d.Host))
	if err != nil {
		t.Fatal(err)
	}
	got := Kexec{}.Load(e, "/work/stage2.cpio.gz")
	want := host.Kexec{
		Kernel: "/boot/vmlinuz-" + release, Initramfs: "/work/stage2.cpio.gz",
		Args: `ro dyndbg="file x +p" "odd one" root=/dev/ram0 panic=10 rdinit=/balena-stage2`,
	}
	if got != want || e.Initrd != "" {
		t.Errorf("%+v, initrd %q, want %+v", got, e.Initrd, want)
	}
	if args := words(got.Args); len(args) != 6 || args[1] != "dyndbg=file x +p" || args[2] != "odd one" {
		t.Errorf("the kernel reads %q", args)
	}
}

// Distributions without Debian's names in /boot have the kernel beside its modules.
func TestKexecKernelBesideModules(t *testing.T) {
	d := device(t, "x86-debian-12-lvm")
	gone(t, d, "/boot/vmlinuz-"+release)
	if _, err := (Kexec{}).Running(site(t, d.Host)); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "/boot/vmlinuz") {
		t.Errorf("no kernel anywhere: %v", err)
	}
	d.Put("/lib/modules/"+release+"/vmlinuz", "kernel")
	e, err := Kexec{}.Running(site(t, d.Host))
	if err != nil || e.Kernel != "/lib/modules/"+release+"/vmlinuz" || e.Args[0] != "root=/dev/mapper/vg-dm-0" {
		t.Errorf("%+v %v", e, err)
	}
}
