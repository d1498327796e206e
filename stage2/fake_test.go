package stage2

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/disarm"
	"github.com/balena-community/balena-migrate/stage2/flashimage"
	"github.com/balena-community/balena-migrate/stage2/flashplan"
	"github.com/balena-community/balena-migrate/steps/host"
	"github.com/balena-community/balena-migrate/steps/host/hosttest"
)

const (
	oldRoot = "/dev/parts/vda1" // what is mounted from /dev/vda1 before the flash
	workDir = "/var/lib/balena-migrate"
	secret  = "canary-api-key"
)

// fakeKernel mounts by links into /dev/parts, counts time by itself, and keeps the disk in a file.
type fakeKernel struct {
	t        *testing.T
	h        *hosttest.Host
	clock    time.Duration
	mounted  map[string]string // point → device
	ended    string            // how the process ended: reboot or exec
	flashed  bool
	openErr  error
	mountErr map[string]error // by what is mounted
	// rawErr fails OpenRaw, readErr every read beyond the written area.
	rawErr, readErr error
	writeErr        func(off int64) error
	modules         int
	options         map[string]string // the last mount's, by type
}

// errLost makes a write vanish.
var errLost = errors.New("lost")

// errEnded stops the machine where a real one would be gone.
var errEnded = errors.New("ended")

func (k *fakeKernel) Mount(source, target, fstype, options string, _ bool) error {
	k.options[fstype] = options
	if err := k.mountErr[source]; err != nil {
		return err
	}
	if !strings.HasPrefix(source, "/dev/") {
		return nil
	}
	part := "/dev/parts/" + path.Base(source)
	if k.flashed {
		part += "-new"
	}
	if _, err := k.h.Stat(part); err != nil {
		return err
	}
	if k.mounted[target] != "" {
		return fmt.Errorf("%s: mounted twice", target)
	}
	k.mounted[target] = source
	at := filepath.Join(k.h.Root(), target)
	return errors.Join(os.Remove(at), os.Symlink(part, at))
}

func (k *fakeKernel) Remount(target string, _ bool) error {
	if k.mounted[target] == "" {
		return fmt.Errorf("%s: not mounted", target)
	}
	return nil
}

func (k *fakeKernel) Unmount(target string) error {
	if k.mounted[target] == "" {
		return nil
	}
	delete(k.mounted, target)
	at := filepath.Join(k.h.Root(), target)
	return errors.Join(os.Remove(at), os.Mkdir(at, 0o755))
}

func (k *fakeKernel) LoadModule([]byte) error { k.modules++; return nil }

func (k *fakeKernel) Exec(program string, _ []string) error {
	k.ended = "exec " + program
	panic(errEnded)
}

func (k *fakeKernel) SwitchRoot(root, init string) error {
	if k.mounted[root] == "" {
		k.t.Errorf("switch to %s, where nothing is mounted", root)
	}
	k.ended = "switch " + k.mounted[root] + " " + init
	panic(errEnded)
}

func (k *fakeKernel) Reboot() error {
	if len(k.mounted) > 0 {
		k.t.Errorf("reboot with %v mounted", k.mounted)
	}
	k.ended = "reboot"
	panic(errEnded)
}

func (k *fakeKernel) Sync()                           {}
func (k *fakeKernel) Memory(n int) ([]byte, error)    { return make([]byte, n), nil }
func (k *fakeKernel) Map(name string) ([]byte, error) { return k.h.ReadFile(name) }
func (k *fakeKernel) Uptime() time.Duration           { return k.clock }
func (k *fakeKernel) Sleep(d time.Duration)           { k.clock += d }

func (k *fakeKernel) OpenDisk(device string) (host.Disk, error) {
	if k.openErr != nil {
		return nil, k.openErr
	}
	if len(k.mounted) > 0 {
		k.t.Errorf("disk opened with %v mounted", k.mounted)
	}
	f, err := os.OpenFile(filepath.Join(k.h.Root(), device), os.O_RDWR, 0)
	return &fakeDisk{File: f, k: k}, err
}

func (k *fakeKernel) OpenRaw(device string) (host.RawReader, error) {
	if k.rawErr != nil {
		return nil, k.rawErr
	}
	f, err := os.Open(filepath.Join(k.h.Root(), device))
	return rawDisk{f, k}, err
}

// rawDisk is a disk as O_DIRECT reads it.
type rawDisk struct {
	*os.File
	k *fakeKernel
}

func (d rawDisk) ReadAt(p []byte, off int64) (int, error) {
	if d.k.readErr != nil {
		return 0, d.k.readErr
	}
	if off%512 != 0 || len(p)%512 != 0 {
		d.k.t.Errorf("read of %d bytes at %d: not in sectors", len(p), off)
	}
	return d.File.ReadAt(p, off)
}

// fakeDisk is a disk in a file. When its table is read again, the new system's partitions appear.
type fakeDisk struct {
	*os.File
	k *fakeKernel
}

func (d *fakeDisk) Size() int64       { return hosttest.DiskSize }
func (d *fakeDisk) SectorSize() int64 { return 512 }
func (d *fakeDisk) Flush() error      { return d.Sync() }

func (d *fakeDisk) WriteAt(p []byte, off int64) (int, error) {
	if d.k.writeErr != nil {
		err := d.k.writeErr(off)
		if errors.Is(err, errLost) {
			return len(p), nil // the drive says that it has it
		}
		if err != nil {
			return 0, err
		}
	}
	return d.File.WriteAt(p, off)
}

func (d *fakeDisk) ZeroRange(off, length int64) error {
	_, err := d.WriteAt(make([]byte, length), off)
	return err
}

func (d *fakeDisk) RereadTable() error {
	h := d.k.h
	for i, label := range []string{"resin-boot", "resin-data"} {
		name := fmt.Sprintf("vda%d", i+1)
		h.Put("/sys/devices/pci0000:00/0000:00:03.0/virtio1/block/vda/"+name+"/partition", "1\n")
		if i > 0 {
			h.Link("/sys/class/block/"+name, "../../devices/pci0000:00/0000:00:03.0/virtio1/block/vda/"+name)
		}
		h.Put("/dev/"+name, string(hosttest.Superblock(d.k.t, "22222222-2222-4333-8444-55555555555"+fmt.Sprint(i), label)))
		h.Put("/dev/parts/"+name+"-new/lost+found/x", "")
	}
	d.k.flashed = true
	return nil
}

// readOnlyFirmware keeps its variables.
type readOnlyFirmware struct{ host.Host }

func (readOnlyFirmware) WriteVariable(string, []byte) error { return syscall.EROFS }
func (readOnlyFirmware) RemoveVariable(string) error        { return syscall.EROFS }

// lab is a machine that the kernel has just started stage 2 on.
type lab struct {
	*machine
	k     *fakeKernel
	h     *hosttest.Host
	image []byte
	boot  map[string]string // the boot configuration before it was armed
}

func newLab(t *testing.T) *lab {
	t.Helper()
	return newLabOf(t, func([]byte) {})
}

// newLabOf changes the image.
func newLabOf(t *testing.T, change func(image []byte)) *lab {
	t.Helper()
	h := hosttest.Debian(t)
	l := &lab{h: h, k: &fakeKernel{t: t, h: h, mounted: map[string]string{}, options: map[string]string{}}, boot: map[string]string{}}
	for _, name := range []string{"grub.cfg", "grubenv"} {
		data, _ := h.ReadFile("/boot/grub/" + name)
		l.boot[name] = string(data)
		h.Put(oldRoot+"/boot/grub/"+name, string(data))
	}
	h.Put("/init", "")
	l.arm(t)
	l.plan(t, change)
	l.machine = newMachine(h, l.k, "test")
	return l
}

// arm leaves what arm-boot leaves, after GRUB took the entry.
func (l *lab) arm(t *testing.T) {
	t.Helper()
	custom, env := disarm.Fence("", "entry\n"), hosttest.Grubenv("next_entry=\n")
	l.h.Put(oldRoot+"/boot/grub/custom.cfg", custom)
	l.h.Put(oldRoot+"/boot/grub/grubenv", env)
	file := func(name, restore, armed string) schema.ArmedFile {
		original, existed := l.boot[name]
		f := schema.ArmedFile{
			Restore: restore, Path: "/boot/grub/" + name, FSPath: "/boot/grub/" + name, FSUUID: hosttest.RootUUID, FSType: "ext4",
			Existed: existed, Mode: 0o644, ArmedSHA256: disarm.Sum([]byte(armed)),
		}
		if existed {
			f.Original = []byte(original)
		}
		return f
	}
	put(t, l.h, oldRoot+workDir+"/"+disarm.RecordName, schema.Armed{
		Schema: schema.ArmedName, Method: "grub", BootID: "before",
		Files: []schema.ArmedFile{
			file("custom.cfg", schema.RestoreFile, custom),
			file("grubenv", schema.RestoreGrubenv, hosttest.Grubenv("next_entry=balena-migrate\n")),
		},
	})
}

func put(t *testing.T, h *hosttest.Host, name string, doc any) {
	t.Helper()
	data, err := schema.Encode(doc)
	if err != nil {
		t.Fatal(err)
	}
	h.Put(name, string(data))
}

// plan leaves what prepare-image and build-initramfs leave: an image with zeros in it, and its plan.
func (l *lab) plan(t *testing.T, change func(image []byte)) {
	t.Helper()
	l.image = make([]byte, 9<<20+512)
	src := rand.New(rand.NewPCG(1, 2))
	for _, at := range []int{0, 5 << 20, 9 << 20} {
		for i := at; i < min(at+1<<20, len(l.image)); i++ {
			l.image[i] = byte(src.Uint32())
		}
	}
	table := hosttest.MBR((8 << 20) / 512)
	copy(l.image[446:512], table[446:])
	change(l.image)
	var gz bytes.Buffer
	index, err := flashimage.Encode(context.Background(), &gz, bytes.NewReader(l.image), flashimage.Options{Workers: 2})
	if err != nil {
		t.Fatal(err)
	}
	l.h.Put(oldRoot+workDir+"/image.gz", gz.String())
	l.h.Put(oldRoot+workDir+"/backup.tgz", "backup")
	put(t, l.h, flashplan.Index, index)
	indexData, _ := l.h.ReadFile(flashplan.Index)
	config, network := `{"apiKey":"`+secret+`"}`, "[wifi-security]\npsk="+secret+"\n"
	l.h.Put(flashplan.ConfigJSON, config)
	l.h.Put(flashplan.Networks+"/resin-wifi-01", network)
	l.h.Put(flashplan.Modules+"/ext4.ko", "module")
	ref := func(name, content string) schema.FileRef {
		return schema.FileRef{FSUUID: hosttest.RootUUID, FSType: "ext4", Path: workDir + "/" + name, Size: int64(len(content)), SHA256: disarm.Sum([]byte(content))}
	}
	archived := func(name, at, content string) schema.ArchiveFile {
		return schema.ArchiveFile{Name: name, Path: at, Size: int64(len(content)), SHA256: disarm.Sum([]byte(content))}
	}
	backup := ref("backup.tgz", "backup")
	fs := schema.FileSystem{Device: "vda1", Type: "ext4", UUID: hosttest.RootUUID, Mount: "/"}
	put(t, l.h, flashplan.Plan, schema.FlashPlan{
		Schema: schema.FlashPlanName, Root: fs, WorkFS: fs, WorkDir: workDir, Modules: []string{flashplan.Modules + "/ext4.ko"},
		Disk: schema.Disk{
			Name: "sda", Size: hosttest.DiskSize, SectorSize: 512, Serial: hosttest.Serial, Table: "mbr", TableID: hosttest.DiskID,
		},
		Image: ref("image.gz", gz.String()), Index: archived("index", flashplan.Index, string(indexData)), Backup: &backup,
		ConfigJSON: archived("config.json", flashplan.ConfigJSON, config),
		Networks:   []schema.ArchiveFile{archived("resin-wifi-01", flashplan.Networks+"/resin-wifi-01", network)},
		BootFiles:  bootFiles(l.h),
		Stage2:     schema.DefaultConfig().Stage2, KernelRelease: hosttest.Release,
	})
}

// start runs stage 2 to its end.
func (l *lab) start() {
	defer func() {
		if r := recover(); r != nil && r != errEnded { //nolint:errorlint // it is the value that the fake panics with
			panic(r)
		}
	}()
	l.run(context.Background())
}

// disk returns the first n bytes of the disk.
func (l *lab) diskBytes(t *testing.T, n int) []byte {
	t.Helper()
	f, err := l.h.Open("/dev/vda")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	data := make([]byte, n)
	if _, err := io.ReadFull(f, data); err != nil {
		t.Fatal(err)
	}
	return data
}

// outcomeAt reads what stage 2 left.
func (l *lab) outcomeAt(t *testing.T, name string) *schema.Outcome {
	t.Helper()
	data, err := l.h.ReadFile(name)
	if err != nil {
		t.Fatalf("no outcome: %v\n%s", err, l.log.bytes())
	}
	o := &schema.Outcome{}
	if err := schema.Decode(data, name, "outcome", o); err != nil {
		t.Fatal(err)
	}
	return o
}

// bootFiles leaves what comes from a flasher (E27): one source, two places.
func bootFiles(h *hosttest.Host) []schema.BootFile {
	const content = "set default=boot\n"
	var out []schema.BootFile
	for i, to := range []string{"/EFI/BOOT/grub.cfg", "/grub/grub.cfg"} {
		at := fmt.Sprintf("%s/%d-grub.cfg", flashplan.BootFiles, i)
		h.Put(at, content)
		out = append(out, schema.BootFile{Name: "grub.cfg", Path: at, Size: int64(len(content)), SHA256: disarm.Sum([]byte(content)), To: to})
	}
	return out
}
