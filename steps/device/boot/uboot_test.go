package boot

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/disarm"
	"github.com/balena-community/balena-migrate/steps/device/uimage"
	"github.com/balena-community/balena-migrate/steps/host/hosttest"
)

const (
	boneCard     = "bbb-debian-12-sd"       // uEnv.txt, a FAT partition first
	boneEMMC     = "bbb-debian-9"           // uEnv.txt on the only partition
	boneExtlinux = "bbb-debian-12-extlinux" // /boot apart
	extConfFile  = extlinuxConf
)

func bone(t *testing.T, name string) *hosttest.Device {
	t.Helper()
	return hosttest.LoadDevice(t, "../../../testdata/roots/"+name+".txtar")
}

// edit changes a file of a machine: every old text becomes the new one.
func edit(t *testing.T, d *hosttest.Device, name string, oldnew ...string) {
	t.Helper()
	data, err := d.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer(oldnew...).Replace(string(data))
	if text == string(data) {
		t.Fatalf("%s has no %q", name, oldnew[0])
	}
	d.Put(name, text)
}

func remove(t *testing.T, d *hosttest.Device, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(d.Root(), name)); err != nil {
		t.Fatal(err)
	}
}

// TestUBootBlocked: whatever is not known to lead to stage 2, or back, is named, with what helps.
func TestUBootBlocked(t *testing.T) {
	for name, c := range map[string]struct {
		device string
		change func(*testing.T, *hosttest.Device)
		want   string
	}{
		"another kernel":            {boneEMMC, func(t *testing.T, d *hosttest.Device) { edit(t, d, uEnvFile, "uname_r=4.14", "uname_r=4.19") }, "uname_r=4.19.108-ti-r113, while kernel 4.14.108-ti-r113 runs"},
		"no kernel named":           {boneEMMC, func(t *testing.T, d *hosttest.Device) { edit(t, d, uEnvFile, "uname_r=", "#uname_r=") }, "uname_r=, while"},
		"a command of its own":      {boneEMMC, func(t *testing.T, d *hosttest.Device) { edit(t, d, uEnvFile, "uname_r=", "uenvcmd=run x\nuname_r=") }, "uEnv.txt, line 3: uenvcmd"},
		"what loads the initramfs":  {boneEMMC, func(t *testing.T, d *hosttest.Device) { edit(t, d, uEnvFile, "#dtb=", "loadrd=true") }, "loadrd"},
		"a line that goes on":       {boneEMMC, func(t *testing.T, d *hosttest.Device) { edit(t, d, uEnvFile, "enable_uboot_overlays=1", "dtb=\\\nx") }, "goes on in the next"},
		"arguments of another time": {boneEMMC, func(t *testing.T, d *hosttest.Device) { edit(t, d, uEnvFile, "coherent_pool=1M", "coherent_pool=2M") }, "coherent_pool=2M"},
		"no kernel":                 {boneEMMC, func(t *testing.T, d *hosttest.Device) { remove(t, d, "/boot/vmlinuz-4.14.108-ti-r113") }, "kernel 4.14.108-ti-r113"},
		"a uEnv.txt before":         {boneEMMC, func(_ *testing.T, d *hosttest.Device) { d.Put("/uEnv.txt", "client_ip=10.0.0.1\n") }, "/uEnv.txt, line 1: client_ip"},
		"a script before":           {boneEMMC, func(_ *testing.T, d *hosttest.Device) { d.Put("/boot/boot.scr", "x") }, "/boot/boot.scr, which U-Boot runs before"},
		"a script on the FAT":       {boneCard, func(_ *testing.T, d *hosttest.Device) { d.Put("/boot/firmware/boot.scr", "x") }, "/boot/firmware/boot.scr"},
		"a uEnv.txt on the FAT":     {boneCard, func(_ *testing.T, d *hosttest.Device) { d.Put("/boot/firmware/uEnv.txt", "uenvcmd=run x\n") }, "/boot/firmware/uEnv.txt, line 1: uenvcmd"},
		"the FAT not mounted": {boneCard, func(t *testing.T, d *hosttest.Device) {
			edit(t, d, "/proc/self/mountinfo", " 179:1 ", " 0:1 ")
		}, "mmcblk0p1 is not mounted"},
		"/boot apart": {boneCard, func(t *testing.T, d *hosttest.Device) {
			edit(t, d, "/proc/self/mountinfo", " /boot/firmware ", " /boot ")
		}, "/uEnv.txt of /dev/mmcblk0p1"},
		"read-only": {boneEMMC, func(t *testing.T, d *hosttest.Device) {
			edit(t, d, "/proc/self/mountinfo", "rw,relatime", "ro,relatime")
		}, "read-only"},
		"both": {boneEMMC, func(_ *testing.T, d *hosttest.Device) { d.Put(extConfFile, "label a\nkernel /x\n") }, "extlinux.conf beside /boot/uEnv.txt"},

		"extlinux: another kernel": {boneExtlinux, func(t *testing.T, d *hosttest.Device) {
			edit(t, d, extConfFile, "default l0", "default l1")
			edit(t, d, extConfFile, "label l0\n", "label l1\n", "linux /vmlinuz-6.1.0-27-armmp", "linux /vmlinuz-6.1.0-28-armmp")
			d.Put("/boot/vmlinuz-6.1.0-28-armmp", "k")
		}, "while kernel 6.1.0-27-armmp runs"},
		"extlinux: a kernel that is gone": {boneExtlinux, func(t *testing.T, d *hosttest.Device) { remove(t, d, "/boot/vmlinuz-6.1.0-27-armmp") }, "the kernel of label l0"},
		"extlinux: an initramfs gone":     {boneExtlinux, func(t *testing.T, d *hosttest.Device) { remove(t, d, "/boot/initrd.img-6.1.0-27-armmp") }, "the initramfs of label l0"},
		"extlinux: another entry runs":    {boneExtlinux, func(t *testing.T, d *hosttest.Device) { edit(t, d, extConfFile, "default l0", "default l0r") }, "the argument single"},
		"extlinux: waits":                 {boneExtlinux, func(t *testing.T, d *hosttest.Device) { edit(t, d, extConfFile, "timeout 50", "timeout 0") }, "waits for somebody"},
		"extlinux: includes":              {boneExtlinux, func(t *testing.T, d *hosttest.Device) { edit(t, d, extConfFile, "prompt 0", "include x") }, "includes another file"},
		"extlinux: a FIT image":           {boneExtlinux, func(t *testing.T, d *hosttest.Device) { edit(t, d, extConfFile, "linux /vmlinuz", "linux /x.itb#conf") }, "FIT image"},
		"extlinux: two of them":           {boneExtlinux, func(_ *testing.T, d *hosttest.Device) { d.Put("/extlinux/extlinux.conf", "label a\nkernel /x\n") }, "2 files extlinux.conf"},
		"extlinux: elsewhere":             {boneExtlinux, func(t *testing.T, d *hosttest.Device) { edit(t, d, "/proc/self/mountinfo", " / /boot ", " /a /boot ") }, "where U-Boot does not look"},
		"extlinux: read-only":             {boneExtlinux, func(t *testing.T, d *hosttest.Device) { edit(t, d, "/proc/self/mountinfo", "/boot rw", "/boot ro") }, "read-only"},
		"a board that nobody knows": {boneEMMC, func(t *testing.T, d *hosttest.Device) {
			d.Put("/sys/firmware/devicetree/base/compatible", "ti,beagle-x15\x00ti,am5728\x00")
		}, "U-Boot of an unknown board"},
		"the layout of Debian 7": {boneEMMC, func(t *testing.T, d *hosttest.Device) {
			remove(t, d, uEnvFile)
			d.Put("/boot/uboot/uEnv.txt", "uenvcmd=x\n")
		}, "/boot/uboot/uEnv.txt"},
		"NVIDIA's CBoot reads it too":      {"jetson-xavier-ubuntu-18.04", func(*testing.T, *hosttest.Device) {}, "CBoot"},
		"EFI does not care for the file":   {boneExtlinux, func(_ *testing.T, d *hosttest.Device) { d.Put("/sys/firmware/efi/fw_platform_size", "32\n") }, "EFI with extlinux.conf"},
		"extlinux: a script is read first": {boneExtlinux, func(t *testing.T, d *hosttest.Device) { extlinuxOnRoot(t, d); d.Put("/boot.scr", "x") }, "/boot.scr, which U-Boot starts instead"},
		"extlinux: a kernel without a version, replaced": {boneExtlinux, func(t *testing.T, d *hosttest.Device) {
			edit(t, d, extConfFile, "linux /vmlinuz-6.1.0-27-armmp", "linux /zImage")
			d.Put("/boot/zImage", "kernel")
			d.Put("/proc/stat", "btime 1500000000\n")
		}, "/boot/zImage, which was replaced"},
	} {
		t.Run(name, func(t *testing.T) {
			d := bone(t, c.device)
			c.change(t, d)
			backend, blocked := Find(site(t, d.Host), "auto")
			if backend != nil || len(blocked) != 1 || !strings.Contains(blocked[0].Got, c.want) || blocked[0].Want == "" || blocked[0].Remedy == "" {
				t.Errorf("back end %v, blocked %+v, want one with %q", backend, blocked, c.want)
			}
		})
	}
}

// TestUBootAsked: a method that is asked for does not arm a machine that is started in another way.
func TestUBootAsked(t *testing.T) {
	for method, device := range map[string]string{"uenv": boneExtlinux, "extlinux": boneEMMC} {
		d := bone(t, device)
		d.Put(extConfFile, "label a\nkernel /boot/vmlinuz-4.14.108-ti-r113\n")
		if backend, blocked := Find(site(t, d.Host), method); backend != nil || len(blocked) != 1 {
			t.Errorf("%s on %s: %v, blocked %+v", method, device, backend, blocked)
		}
		h := hosttest.Debian(t)
		h.Put(extConfFile, "label a\nkernel /boot/vmlinuz\n")
		if backend, blocked := Find(site(t, h), method); backend != nil || len(blocked) != 1 || !strings.Contains(blocked[0].Remedy, "auto") {
			t.Errorf("%s on a PC: %v, blocked %+v", method, backend, blocked)
		}
	}
}

// extlinuxOnRoot is the machine with everything on its root file system.
func extlinuxOnRoot(t *testing.T, d *hosttest.Device) {
	t.Helper()
	edit(t, d, "/proc/self/mountinfo", " /boot rw", " /other rw")
	edit(t, d, extConfFile, "linux /", "linux /boot/", "initrd /", "initrd /boot/", "fdtdir /", "fdtdir /boot/")
}

// uBootFiles are the files of an armed machine by path.
func uBootFiles(t *testing.T, d *hosttest.Device, debug bool) (Backend, []File) {
	t.Helper()
	s := site(t, d.Host)
	backend, blocked := Find(s, "auto")
	if backend == nil {
		t.Fatalf("blocked: %+v", blocked)
	}
	e, err := backend.Running(s)
	if err != nil {
		t.Fatal(err)
	}
	e.Stage2, e.Debug = []byte("ours"), debug
	files, err := backend.Files(s, e, func(name string) (disarm.State, error) { return disarm.Read(d, name) })
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 2 || files[0].Path != backend.Archive(s) || files[0].Restore != schema.RestoreRemove || files[1].Restore != schema.RestoreFile {
		t.Fatalf("files %+v, want the archive, then what arms", files)
	}
	return backend, files
}

func TestUEnvFiles(t *testing.T) {
	d := bone(t, boneCard)
	was, err := d.ReadFile(uEnvFile)
	if err != nil {
		t.Fatal(err)
	}
	backend, files := uBootFiles(t, d, true)
	if backend.Name() != "uenv" || string(files[0].Data) != "initrd\x00\x00ours" || files[0].Path != "/boot/balena-migrate.img" {
		t.Errorf("%s: archive %s %q", backend.Name(), files[0].Path, files[0].Data)
	}
	text := string(files[1].Data)
	if !strings.HasPrefix(text, string(was)+disarm.FenceBegin+"\nloadrd=") || !strings.Contains(text, "${cmdline} debug panic=10 rdinit=/balena-stage2\"; else ") {
		t.Errorf("uEnv.txt is\n%s", text)
	}
	if files[1].Path != uEnvFile || disarm.Unfence(text) != string(was) {
		t.Errorf("%s without ours is\n%s\nwant\n%s", files[1].Path, disarm.Unfence(text), was)
	}
	if backend.Armed(d) {
		t.Error("armed before the files were written")
	}
	d.Put(uEnvFile, text)
	if !backend.Armed(d) {
		t.Error("not armed although uEnv.txt says so")
	}
}

// TestUEnvBare: where the host has no initramfs, ours lies where U-Boot looks for one, armed or not, and is not taken for
// the host's when arming was stopped part way.
func TestUEnvBare(t *testing.T) {
	d := bone(t, "pocketbeagle-debian-11")
	const initrd = "/boot/initrd.img-5.10.168-ti-r71"
	want := func(when string, files []File) {
		t.Helper()
		if len(files) != 2 || files[0].Path != initrd || string(files[0].Data) != "ours" || !strings.Contains(string(files[1].Data), "${rdaddr} "+initrd+" ||") {
			t.Errorf("%s: %+v", when, files)
		}
	}
	_, files := uBootFiles(t, d, false)
	want("unarmed", files)
	unarmed, err := d.ReadFile(uEnvFile)
	if err != nil {
		t.Fatal(err)
	}
	original := func(name string) (disarm.State, error) {
		if name == initrd {
			return disarm.State{}, nil
		}
		return disarm.State{Data: unarmed, Exists: true}, nil
	}
	for _, f := range files { // the archive first, then what arms
		d.Put(f.Path, string(f.Data))
		s := site(t, d.Host)
		e, err := UEnv{}.Running(s)
		if err != nil {
			t.Fatal(err)
		}
		e.Stage2 = []byte("ours")
		more, err := UEnv{}.Files(s, e, original)
		if err != nil {
			t.Fatal(err)
		}
		want("with "+f.Path, more)
	}
	s := site(t, d.Host)
	if e, err := (UEnv{}).Running(s); err != nil || e.Initrd != "" || (UEnv{}).Archive(s) != initrd {
		t.Errorf("armed: %+v, %v, archive %s", e, err, UEnv{}.Archive(s))
	}
}

func TestExtlinuxFiles(t *testing.T) {
	for name, c := range map[string]struct {
		change               func(*testing.T, *hosttest.Device)
		path, archive, block string
	}{
		"/boot apart": {func(*testing.T, *hosttest.Device) {}, "/boot/balena-migrate.img", "initrd\x00\x00ours",
			"label balena-migrate\n\tlinux /vmlinuz-6.1.0-27-armmp\n\tinitrd /balena-migrate.img\n\tfdtdir /dtbs/6.1.0-27-armmp/\n" +
				"\tappend root=UUID=6a1f9c1e-7d55-4c0d-8a0b-90f0ac6c0b02 ro quiet console=ttyS0,115200n8 panic=10 rdinit=/balena-stage2\ndefault balena-migrate\n"},
		"all on one": {extlinuxOnRoot, "/boot/balena-migrate.img", "initrd\x00\x00ours", "linux /boot/vmlinuz-6.1.0-27-armmp\n\tinitrd /boot/balena-migrate.img\n\tfdtdir /boot/dtbs/"},
		"a bind mount": {func(t *testing.T, d *hosttest.Device) {
			edit(t, d, "/proc/self/mountinfo", " / /boot ", " /boot /boot ")
			edit(t, d, extConfFile, "linux /", "linux /boot/", "initrd /", "initrd /boot/")
		}, "/boot/balena-migrate.img", "initrd\x00\x00ours", "linux /boot/vmlinuz-6.1.0-27-armmp\n\tinitrd /boot/balena-migrate.img\n"},
		"no initramfs": {func(t *testing.T, d *hosttest.Device) { edit(t, d, extConfFile, "initrd /initrd", "#") }, "/boot/balena-migrate.img", "ours", "initrd /balena-migrate.img\n"},
		"no arguments": {func(t *testing.T, d *hosttest.Device) { edit(t, d, extConfFile, "append", "#") }, "/boot/balena-migrate.img", "initrd\x00\x00ours", "append root=UUID=6a1f9c1e-7d55-4c0d-8a0b-90f0ac6c0b02 ro quiet console=ttyS0,115200n8 panic=10"},
		"relative": {func(t *testing.T, d *hosttest.Device) {
			edit(t, d, extConfFile, "linux /", "linux ../", "initrd /", "initrd ../")
		}, "/boot/balena-migrate.img", "initrd\x00\x00ours", "linux ../vmlinuz-6.1.0-27-armmp\n\tinitrd /balena-migrate.img\n"},
		"initrd= among the arguments": {func(t *testing.T, d *hosttest.Device) {
			edit(t, d, extConfFile, "initrd /", "# ", "append ", "append ${cbootargs} initrd=/initrd.img-6.1.0-27-armmp ")
		}, "/boot/balena-migrate.img", "initrd\x00\x00ours", "append ${cbootargs} root="},
	} {
		t.Run(name, func(t *testing.T) {
			d := bone(t, boneExtlinux)
			c.change(t, d)
			was, err := d.ReadFile(extConfFile)
			if err != nil {
				t.Fatal(err)
			}
			backend, files := uBootFiles(t, d, false)
			if backend.Name() != "extlinux" || files[0].Path != c.path || string(files[0].Data) != c.archive || files[0].Mode != 0o600 {
				t.Errorf("%s: %s %q %v", backend.Name(), files[0].Path, files[0].Data, files[0].Mode)
			}
			text := string(files[1].Data)
			if !strings.HasPrefix(text, string(was)+disarm.FenceBegin+"\n") || !strings.Contains(text, c.block) || disarm.Unfence(text) != string(was) {
				t.Errorf("extlinux.conf is\n%s\nwant\n%s\nin it", text, c.block)
			}
			if backend.Armed(d) {
				t.Error("armed before the files were written")
			}
			d.Put(files[0].Path, string(files[0].Data))
			d.Put(extConfFile, text)
			again, more := uBootFiles(t, d, false)
			if !again.Armed(d) || string(more[0].Data) != c.archive {
				t.Errorf("armed %v, and again with %q", again.Armed(d), more[0].Data)
			}
		})
	}
}

// TestExtlinuxOnFAT: it has one mode for all files, and refuses others.
func TestExtlinuxOnFAT(t *testing.T) {
	d := bone(t, boneExtlinux)
	edit(t, d, "/proc/self/mountinfo", " - ext4 /dev/mmcblk1p1", " - vfat /dev/mmcblk1p1")
	if err := os.Chmod(filepath.Join(d.Root(), extConfFile), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, files := uBootFiles(t, d, false); files[0].Mode != 0o755 || files[1].Mode != 0o755 {
		t.Errorf("modes %v and %v", files[0].Mode, files[1].Mode)
	}
}

// TestWrappedInitramfs: where the host's initramfs is in U-Boot's wrapping, ours is within it too.
func TestWrappedInitramfs(t *testing.T) {
	d := bone(t, boneExtlinux)
	name := filepath.Join(d.Root(), "boot/initrd.img-6.1.0-27-armmp")
	if out, err := exec.Command("mkimage", "-A", "arm", "-T", "ramdisk", "-C", "none", "-d", name, name+".wrapped").CombinedOutput(); err != nil {
		t.Fatalf("mkimage: %v: %s", err, out)
	}
	if err := os.Rename(name+".wrapped", name); err != nil {
		t.Fatal(err)
	}
	_, files := uBootFiles(t, d, false)
	head, inner, err := uimage.Open(files[0].Data)
	if err != nil || head == nil || string(inner) != "initrd\x00\x00ours" {
		t.Errorf("%q, %v", inner, err)
	}
}

// TestPitfall: a system on the card of a board with an eMMC is warned, any other is not.
func TestPitfall(t *testing.T) {
	if text := Pitfall(site(t, bone(t, boneCard).Host)); !strings.Contains(text, "eMMC mmcblk1") || !strings.Contains(text, "S2") {
		t.Errorf("on a card: %q", text)
	}
	for _, name := range []string{boneEMMC, "pocketbeagle-debian-11", "pi4-rpios-11"} {
		if text := Pitfall(site(t, bone(t, name).Host)); text != "" {
			t.Errorf("%s: %q", name, text)
		}
	}
}

// TestKernelUnversioned: a kernel's file whose name tells no release is the running one if it is older than this boot.
func TestKernelUnversioned(t *testing.T) {
	d := bone(t, boneExtlinux)
	edit(t, d, extConfFile, "linux /vmlinuz-6.1.0-27-armmp", "linux /zImage")
	d.Put("/boot/zImage", "kernel")
	d.Put("/proc/stat", "btime 1700000000\n")
	old := time.Unix(1600000000, 0)
	if err := os.Chtimes(filepath.Join(d.Root(), "boot/zImage"), old, old); err != nil {
		t.Fatal(err)
	}
	if backend, blocked := Find(site(t, d.Host), "auto"); backend == nil {
		t.Errorf("blocked: %+v", blocked)
	}
}
