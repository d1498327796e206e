package image

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps/steptest"
)

// encrypted sets the flag in the local header and in the directory (APPNOTE 4.3.7, 4.3.12).
func encrypted(file []byte) []byte {
	file = bytes.Clone(file)
	file[6] |= zipEncrypted
	file[bytes.LastIndex(file, []byte("PK\x01\x02"))+8] |= zipEncrypted
	return file
}

func method(file []byte, m uint16) []byte {
	file = bytes.Clone(file)
	binary.LittleEndian.PutUint16(file[8:], m)
	binary.LittleEndian.PutUint16(file[bytes.LastIndex(file, []byte("PK\x01\x02"))+10:], m)
	return file
}

func filter(t *testing.T, content []byte, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin = bytes.NewReader(content)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return out
}

// onDisk is a document that knows the disk.
func onDisk(size, sector int64) func(*schema.Migration) {
	return func(m *schema.Migration) {
		m.Facts.Host = &schema.HostFacts{
			DeviceTypes: []string{}, Checks: []schema.Check{}, Disk: &schema.Disk{Name: "sda", Size: size, SectorSize: sector, Table: "mbr"},
		}
	}
}

func extFS(t *testing.T) []byte {
	t.Helper()
	name := filepath.Join(t.TempDir(), "fs")
	tool(t, "", "mkfs.ext4", "-q", name, "4M")
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// Blocked means that nothing was touched: each of these is found out before anything is written.
func TestRefusals(t *testing.T) {
	raw := balenaDisk().build(t)
	flasher, marked, broken, gpt := balenaDisk(), balenaDisk(), balenaDisk(), balenaDisk()
	flasher.label = "flash-boot"
	marked.files = map[string]string{"balena-image-flasher": ""}
	broken.files = map[string]string{"device-type.json": "{"}
	gpt.table, gpt.name = "gpt", "resin-boot"
	noPrimary := gpt.build(t)
	clear(noPrimary[512:1024])
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	text := []byte(strings.Repeat("This is no image – really.\n", 9000))
	small, native := onDisk(8*mib, 512), onDisk(800*mib, 4096)
	other := func(m *schema.Migration) { m.Config.Image.DeviceType = "raspberrypi4-64" }
	tests := []struct {
		name string
		file []byte
		edit func(*schema.Migration)
		want string
	}{
		{"text", text, nil, "a text"},
		{"text in gzip", pack(t, text), nil, "a text"},
		{"text in zip", zipped(t, zip.Deflate, append(text, make([]byte, 512-len(text)%512)...), "x"), nil, "expected a disk image with a partition table"},
		{"program", append(program, make([]byte, 512-len(program)%512)...), nil, "an ELF program"},
		{"file system", extFS(t), nil, "a file system (ext4) and no disk"},
		{"file system in gzip", pack(t, extFS(t)), nil, "a file system (ext4) and no disk"},
		{"boot partition alone", raw[mib : 7*mib], nil, "a file system (vfat) and no disk"},
		{"zeros", make([]byte, 4*mib), nil, "nothing but zeros"},
		{"tar in gzip", pack(t, append(append(make([]byte, 257), "ustar"...), make([]byte, 1024)...)), nil, "a tar archive"},
		{"gzip in gzip", pack(t, pack(t, raw)), nil, "a gzip file"},
		{"empty", nil, nil, "an empty file"},
		{"empty gzip", pack(t, nil), nil, "nothing"},
		{"odd size", append(bytes.Clone(raw), 0), nil, "18874369 bytes unpacked, expected a disk image: a multiple of 512"},
		{"truncated", raw[:9*mib], nil, "truncated"},
		{"truncated GPT", gpt.build(t)[:9*mib], nil, "truncated"},
		{"text in xz", filter(t, text, "xz"), nil, "a text"},
		{"text in zstd", filter(t, text, "zstd"), nil, "a text"},
		{"text in bzip2", filter(t, text, "bzip2"), nil, "a text"},
		{"large xz dictionary", filter(t, raw[:mib], "xz", "-9"), nil, "an xz dictionary of 64 MiB"},
		{"xz filter", filter(t, raw[:mib], "xz", "--x86", "--lzma2=preset=0"), nil, "pack it again, e.g. xz -dc " + srcPath},
		{"large zstd window", filter(t, raw, "zstd", "--long=27"), nil, "a zstd window of more than 8 MiB"},
		{"larger than the disk in xz", filter(t, raw, "xz", "-0"), small, "at most the 8388608 bytes of disk sda"},
		{"two files", zipped(t, zip.Store, raw, "a.img", "b.img"), nil, `2 files in it: "a.img" and "b.img"`},
		{"three files", zipped(t, zip.Store, raw[:512], "a", "b", "c"), nil, "3 files in it"},
		{"no file", zipped(t, zip.Store, nil, "dir/"), nil, "without a file"},
		{"empty zip", zipped(t, zip.Store, nil), nil, "without a file"},
		{"encrypted", encrypted(zipped(t, zip.Deflate, raw, "a.img")), nil, "encrypted"},
		{"zip method", method(zipped(t, zip.Deflate, raw, "a.img"), 93), nil, "zip method 93"},
		{"flasher without a root (D9, E24)", flasher.build(t), nil, "a flasher image without a partition labelled flash-rootA"},
		{"the same in gzip", pack(t, flasher.build(t)), nil, "a flasher image without a partition labelled flash-rootA"},
		{"the same by its mark", pack(t, marked.build(t)), nil, "a flasher image without a partition labelled flash-rootA"},
		{"device type", pack(t, raw), other, "found " + srcPath + ": an image for genericx86-64-ext, expected raspberrypi4-64"},
		{"no device type", pack(t, (disk{label: "resin-boot", bootAt: 1}).build(t)), other, "does not say for which device type"},
		{"damaged device type", broken.build(t), nil, "device-type.json"},
		{"damaged GPT", noPrimary, nil, "a damaged GPT"},
		{"damaged GPT in gzip", pack(t, noPrimary), nil, "begins with"},
		{"larger than the disk (S52)", raw, small, "at most the 8388608 bytes of disk sda"},
		{"larger than the disk in gzip", pack(t, raw), small, "at most the 8388608 bytes of disk sda"},
		{"other sectors", raw, native, "sectors of 4096 bytes"},
		{"no path", raw, func(m *schema.Migration) { m.Config.Image.Path = "" }, "no config.image.path"},
		{"version", raw, func(m *schema.Migration) { m.Config.Image.Path, m.Config.Image.Version = "", "6.0" }, "no device type"},
		{"path and URL", raw, func(m *schema.Migration) { m.Config.Image.URL = "https://x.org" }, "one of the two"},
		{"URL without TLS", raw, func(m *schema.Migration) { m.Config.Image.Path, m.Config.Image.URL = "", "http://x.org/i?canary" }, "http://x.org without a digest"},
		{"URL with a password", raw, func(m *schema.Migration) { m.Config.Image.Path, m.Config.Image.URL = "", "https://u:canary@x.org/i" }, "user name or password"},
		{"URL without a host", raw, func(m *schema.Migration) { m.Config.Image.Path, m.Config.Image.URL = "", "https:///i" }, "not an address"},
		{"missing", raw, func(m *schema.Migration) { m.Config.Image.Path = "/srv/other" }, "/srv/other: no such file"},
		{"directory", raw, func(m *schema.Migration) { m.Config.Image.Path = "/srv" }, "expected a regular file"},
		{"no space", raw, func(m *schema.Migration) { m.Config.Disk.MinFreeMB = 1 << 40 }, "to spare"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, tt.file)
			if tt.edit != nil {
				tt.edit(b.in)
			}
			res, err := b.run.Converge(context.Background(), Step{}, b.in)
			if err != nil || len(res.Blocked) != 1 || !strings.Contains(res.Msg, tt.want) {
				t.Errorf("%q, want %q in it; error %v", res.Msg, tt.want, err)
			}
			for _, r := range res.Blocked {
				if r.Check == "" || r.Got == "" || r.Want == "" || r.Remedy == "" || strings.Contains(res.Msg, "\n") {
					t.Errorf("blocker %+v", r)
				}
			}
			steptest.Valid(t, res)
			if strings.Contains(res.Msg, "canary") {
				t.Errorf("a credential shows: %s", res.Msg)
			}
			if got := b.visible(t); len(got) > 0 {
				t.Errorf("%v is visible", got)
			}
			b.untouched(t, tt.file)
		})
	}
}

// What only shows when the whole file was read is a failure that leaves nothing.
func TestFailures(t *testing.T) {
	raw := balenaDisk().build(t)
	bzipped := filter(t, raw, "bzip2", "-1")
	packed, deflated := pack(t, raw), zipped(t, zip.Deflate, raw, "a.img")
	members := pack(t, raw[:8*mib], raw[8*mib:])
	second := len(pack(t, raw[:8*mib]))
	flipped, bomb := bytes.Clone(deflated), append(bytes.Clone(raw), make([]byte, 64*mib)...)
	flipped[len(flipped)*2/3] ^= 1
	tests := []struct {
		name  string
		file  []byte
		edit  func(*schema.Migration)
		want  string
		wants string
	}{
		{"gzip without its trailer", packed[:len(packed)-8], nil, "gzip data near offset", "download it again"},
		{"gzip cut", packed[:len(packed)*2/3], nil, "unexpected EOF", "download it again"},
		{"gzip cut in a later member's name", members[:second+12], nil, "unexpected EOF", "download it again"},
		{"gzip cut between members", members[:second], nil, "expected a whole image", "download it again"},
		{"gzip cut at once", packed[:9], nil, "gzip data near offset", "download it again"},
		{"garbage behind gzip", append(bytes.Clone(packed), "garbage"...), nil, "gzip data near offset", "download it again"},
		{"zeros behind gzip", append(bytes.Clone(packed), make([]byte, 512)...), nil, "invalid header", "download it again"},
		{"gzip of an odd size", pack(t, raw, []byte{0}), nil, "18874369 bytes unpacked", "download it again"},
		{"gzip bomb", pack(t, bomb), onDisk(20*mib, 512), "at most the 20971520 bytes of disk sda", "smaller image"},
		{"xz cut", filter(t, raw, "xz", "-0")[:2*mib], nil, "no footer at its end", "download it again"},
		{"zstd cut", filter(t, raw, "zstd")[:2*mib], nil, "zstd data near offset", "download it again"},
		{"bzip2 cut", bzipped[:2*mib], nil, "bzip2 data near offset", "download it again"},
		{"garbage behind zstd", append(filter(t, raw, "zstd"), "garbage"...), nil, "zstd data near offset", "download it again"},
		{"garbage behind bzip2", append(bytes.Clone(bzipped), "garbage"...), nil, "bzip2 data near offset", "download it again"},
		{"zstd bomb", filter(t, bomb, "zstd"), onDisk(20*mib, 512), "at most the 20971520 bytes of disk sda", "smaller image"},
		{"bzip2 bomb", append(bytes.Clone(bzipped), filter(t, bomb[len(raw):], "bzip2", "-1")...), onDisk(20*mib, 512), "at most the 20971520 bytes of disk sda", "smaller image"},
		{"zip without its directory", deflated[:len(deflated)*2/3], nil, "zip directory at the end", "download it again"},
		{"zip with another byte", flipped, nil, "a.img in it, near offset", "download it again"},
		{"digest", packed, func(m *schema.Migration) { m.Config.Image.SHA256 = strings.Repeat("0", 64) },
			"with SHA-256 " + sum(packed) + ", expected " + strings.Repeat("0", 64), "config.image.sha256"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, tt.file)
			if tt.edit != nil {
				tt.edit(b.in)
			}
			res, err := b.run.Converge(context.Background(), Step{}, b.in)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("status %s, error %v, want %q in it", res.Status, err, tt.want)
			}
			if !strings.Contains(res.Error.Hint, tt.wants) {
				t.Errorf("hint %q, want %q in it", res.Error.Hint, tt.wants)
			}
			if got := b.visible(t); len(got) > 0 {
				t.Errorf("%v is visible", got)
			}
			b.untouched(t, tt.file)
		})
	}
}

func TestNoSpaceOnTheWay(t *testing.T) {
	raw := balenaDisk().build(t)
	b := newBench(t, raw)
	b.in.Config.Disk.MinFreeMB = 10
	b.FreeBytes = 12 * mib
	res, err := b.run.Converge(context.Background(), Step{}, b.in)
	if err == nil || !strings.Contains(err.Error(), "10 MiB must stay free") || !strings.Contains(res.Error.Hint, "--work-dir") {
		t.Errorf("error %v, result %+v", err, res.Error)
	}
	if got := b.visible(t); len(got) > 0 {
		t.Errorf("%v is visible", got)
	}
	b.FreeBytes = 0
	steptest.Laws(t, Step{}, b.run, b.in)
}

func TestDamagedPreparedImage(t *testing.T) {
	b := newBench(t, balenaDisk().build(t))
	facts := steptest.Laws(t, Step{}, b.run, b.in).Facts.Image
	image, err := b.ReadFile(facts.Path)
	if err != nil {
		t.Fatal(err)
	}
	image[len(image)-100] ^= 1 // in the last member, where no look at the beginning gets
	b.Put(facts.Path, string(image))
	b.in.Config.Image.Path = facts.Path
	_, err = b.run.Converge(context.Background(), Step{}, b.in)
	if err == nil || !strings.Contains(err.Error(), "chunk") {
		t.Errorf("error %v", err)
	}
	if err := b.Remove(facts.Index); err != nil {
		t.Fatal(err)
	}
	res, err := b.run.Converge(context.Background(), Step{}, b.in)
	if err != nil || !strings.Contains(res.Msg, "lies where the result goes") {
		t.Errorf("error %v, %s", err, res.Msg)
	}
	if got, err := b.ReadFile(facts.Path); err != nil || !bytes.Equal(got, image) {
		t.Errorf("the operator's file changed, error %v", err)
	}
}
