package image

import (
	"archive/zip"
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/ext4"
	"github.com/balena-community/balena-migrate/steps/steptest"
)

const (
	innerName = "opt/balena-image-genericx86-64-ext.balenaos-img"
	canary    = "canary-api-key"
	osRelease = "ID=\"balena-os\"\nNAME=\"balenaOS\"\nVERSION=\"6.1.2\"\nVERSION_ID=\"6.1.2\"\n"
)

// balenaImage is what is inside a flasher: boot partition, and a root file system with the version of the system.
func balenaImage(t testing.TB) []byte {
	t.Helper()
	raw := balenaDisk().build(t)
	root := extImage(t, map[string]string{"etc/os-release": osRelease}, 4, "resin-rootA")
	copy(raw[7*mib:11*mib], root)
	return raw
}

// extImage makes an ext4 of size MiB.
func extImage(t testing.TB, files map[string]string, size int, label string, options ...string) []byte {
	t.Helper()
	dir, img := t.TempDir(), filepath.Join(t.TempDir(), "ext")
	for name, content := range files {
		full := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		writeSparse(t, full, content)
	}
	if err := os.WriteFile(img, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(img, int64(size)*mib); err != nil {
		t.Fatal(err)
	}
	tool(t, "", "mke2fs", append(options, "-q", "-F", "-t", "ext4", "-L", label, "-d", dir, img)...)
	data, err := os.ReadFile(img)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// writeSparse leaves out what is zero, so that mke2fs makes holes of it.
func writeSparse(t testing.TB, name, content string) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; at < len(content); at += 4096 {
		if p := content[at:min(at+4096, len(content))]; strings.Trim(p, "\x00") != "" {
			if _, err := f.WriteAt([]byte(p), int64(at)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := errors.Join(f.Truncate(int64(len(content))), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// flasherDisk is a flasher image to be built.
type flasherDisk struct {
	table   string
	boot    map[string]string
	root    map[string]string
	rootFS  []byte // in place of root
	options []string
}

func balenaFlasher(t testing.TB) flasherDisk {
	return flasherDisk{
		table: "dos",
		boot: map[string]string{
			"balena-image-flasher": "", "device-type.json": deviceTypeJSON, "grub.cfg_internal": "set default=boot\n", "boot.img": strings.Repeat("b", 512),
			"core.img": string(noise(30000)), "config.json": `{"apiKey":"` + canary + `"}`, "uEnv.txt_internal": "bootpart=1:1\n",
		},
		root: map[string]string{
			innerName: string(balenaImage(t)), "etc/os-release": osRelease, "opt/another.file": "x", "usr/bin/first": string(noise(2 * mib)),
		},
	}
}

const flasherRootAt = 8

// build makes the flasher image with sfdisk, mkfs.vfat and mke2fs.
func (d flasherDisk) build(t testing.TB) []byte {
	t.Helper()
	root := d.rootFS
	if root == nil {
		root = extImage(t, d.root, 28, "flash-rootA", d.options...)
	}
	outer := disk{table: d.table, label: "flash-boot", bootAt: 1, files: d.boot}
	raw := outer.build(t)[:7*mib]
	raw = append(raw, make([]byte, (flasherRootAt+1)*mib-len(raw)+len(root))...)
	copy(raw[flasherRootAt*mib:], root)
	img := filepath.Join(t.TempDir(), "flasher")
	if err := os.WriteFile(img, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	size := len(root) / mib
	script := "label: dos\nstart=1MiB, size=6MiB, type=e, bootable\nstart=8MiB, size=" + strconv.Itoa(size) + "MiB, type=83\n"
	if d.table == "gpt" {
		script = "label: gpt\nstart=1MiB, size=6MiB, type=U, name=\"flash-boot\"\nstart=8MiB, size=" + strconv.Itoa(size) + "MiB, name=\"flash-rootA\"\n"
	}
	tool(t, script, "sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", img)
	out, err := os.ReadFile(img)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// mounted is a file of a partition as the kernel shows it.
func mounted(t *testing.T, image []byte, at int, name string) []byte {
	t.Helper()
	img, point := filepath.Join(t.TempDir(), "image"), t.TempDir()
	if err := os.WriteFile(img, image, 0o600); err != nil {
		t.Fatal(err)
	}
	tool(t, "", "mount", "-o", "ro,loop,offset="+strconv.Itoa(at), img, point)
	defer tool(t, "", "umount", point)
	data, err := os.ReadFile(filepath.Join(point, name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// packings are the formats in which a flasher image comes.
func packings(t *testing.T, raw []byte) map[string]func() []byte {
	return map[string]func() []byte{
		"raw":     func() []byte { return raw },
		"gzip":    func() []byte { return pack(t, raw) },
		"members": func() []byte { return pack(t, raw[:9*mib+1], raw[9*mib+1:]) },
		"zip":     func() []byte { return zipped(t, zip.Deflate, raw, "a.img") },
		"stored":  func() []byte { return zipped(t, zip.Store, raw, "a.img") },
		"xz":      func() []byte { return filter(t, raw, "xz", "-1") },
		"zstd":    func() []byte { return filter(t, raw, "zstd", "-1") },
	}
}

// A flasher image unwraps to the bytes that a loop mount shows, whatever it is packed in, and the result is the one that
// the raw image gives (E24, E25, E27, S71–S73).
func TestFlasher(t *testing.T) {
	want := balenaImage(t)
	plain := newBench(t, want)
	plainFacts := *steptest.Laws(t, Step{}, plain.run, plain.in).Facts.Image
	for _, table := range []string{"dos", "gpt"} {
		d := balenaFlasher(t)
		d.table = table
		d.root[innerName] = string(want)
		raw := d.build(t)
		if got := mounted(t, raw, flasherRootAt*mib, innerName); !bytes.Equal(got, want) {
			t.Fatal("the kernel sees another file than was put there")
		}
		for name, packed := range packings(t, raw) {
			if table == "gpt" && name != "gzip" {
				continue // the table has no bearing on the others
			}
			t.Run(table+" "+name, func(t *testing.T) {
				file := packed()
				b := newBench(t, file)
				b.in.Config.Image.SHA256, b.in.Config.Image.DeviceType = sum(file), "genericx86-64-ext"
				res := steptest.Laws(t, Step{}, b.run, b.in)
				b.untouched(t, file)
				if !bytes.Equal(b.unpacked(t), want) {
					t.Fatal("not the inner image")
				}
				got := *res.Facts.Image
				if !got.Flasher || got.SourceSHA256 != sum(file) {
					t.Errorf("facts %+v", got)
				}
				b.checkExtras(t, d, got.Extras)
				got.Flasher, got.Extras, got.SourceSHA256 = false, nil, plainFacts.SourceSHA256
				if !reflect.DeepEqual(got, plainFacts) {
					t.Errorf("facts %+v\nof the raw image: %+v", got, plainFacts)
				}
				if names := []string{extrasName, imageName, indexName, stampName}; !slices.Equal(b.visible(t), names) {
					t.Errorf("work dir holds %v, want %v", b.visible(t), names)
				}
			})
		}
	}
}

func (b *bench) checkExtras(t *testing.T, d flasherDisk, extras []schema.ExtraFile) {
	t.Helper()
	want := map[string]string{"grub.cfg": "grub.cfg_internal", "uEnv.txt": "uEnv.txt_internal", "boot.img": "boot.img", "core.img": "core.img", "config.json": "config.json"}
	for _, e := range extras {
		content := d.boot[want[e.Name]]
		data, err := b.ReadFile(e.Path)
		info, statErr := b.Stat(e.Path)
		if err != nil || statErr != nil || string(data) != content || e.From != "/"+want[e.Name] || e.SHA256 != sum([]byte(content)) || e.Size != int64(len(content)) || info.Mode() != 0o600 {
			t.Errorf("%+v: %d bytes, mode %v, error %v", e, len(data), info.Mode(), err)
		}
		delete(want, e.Name)
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
}

// An image that was unwrapped on a controller brings along what the flasher had, but for keys, wherever it is copied.
func TestFlasherPreparedElsewhere(t *testing.T) {
	d := balenaFlasher(t)
	b := newBench(t, d.build(t))
	facts := *steptest.Laws(t, Step{}, b.run, b.in).Facts.Image
	image, err := b.ReadFile(facts.Path)
	if err != nil {
		t.Fatal(err)
	}
	index, err := b.ReadFile(facts.Index)
	if err != nil || bytes.Contains(index, []byte(canary)) || bytes.Contains(index, []byte(base64.StdEncoding.EncodeToString([]byte(d.boot["config.json"])))) {
		t.Fatalf("the index holds a key, or error %v", err)
	}
	facts.SourceSHA256 = facts.GzipSHA256
	facts.Extras = slices.DeleteFunc(facts.Extras, func(e schema.ExtraFile) bool { return e.Name == schema.ExtraConfigJSON })
	for _, at := range []string{"/srv/fleet", workDir + "/image"} {
		b := newBench(t, nil)
		b.Put(at+".gz", string(image))
		b.Put(at+".index.json", string(index))
		b.in.Config.Image.Path = at + ".gz"
		res := steptest.Laws(t, Step{}, b.run, b.in)
		if !reflect.DeepEqual(*res.Facts.Image, facts) {
			t.Errorf("%s: facts %+v, want %+v", at, *res.Facts.Image, facts)
		}
		for _, e := range facts.Extras {
			if data, err := b.ReadFile(e.Path); err != nil || sum(data) != e.SHA256 {
				t.Errorf("%s: %d bytes, error %v", e.Path, len(data), err)
			}
		}
	}
}

// Keys in a flasher's config.json stay in their file.
func TestFlasherKeepsSecrets(t *testing.T) {
	b := newBench(t, balenaFlasher(t).build(t))
	res := steptest.Laws(t, Step{}, b.run, b.in)
	out, err := schema.Encode(res)
	if err != nil {
		t.Fatal(err)
	}
	stamp, err := b.ReadFile(workDir + "/" + stampName)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(out, []byte(canary)) || bytes.Contains(stamp, []byte(canary)) {
		t.Error("the key is shown")
	}
	if info, err := b.Stat(workDir + "/" + extrasName); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, error %v", info.Mode(), err)
	}
}

// What a flasher left goes when another image comes, and the image is made anew when one of its extras is missing.
func TestFlasherReplaced(t *testing.T) {
	b := newBench(t, balenaFlasher(t).build(t))
	steptest.Laws(t, Step{}, b.run, b.in)
	if err := b.Remove(workDir + "/" + extrasName + "/grub.cfg"); err != nil {
		t.Fatal(err)
	}
	steptest.Laws(t, Step{}, b.run, b.in)
	b.Put(srcPath, string(balenaImage(t)))
	if f := steptest.Laws(t, Step{}, b.run, b.in).Facts.Image; f.Flasher || f.Extras != nil {
		t.Errorf("facts %+v", f)
	}
	if entries, err := b.ReadDir(workDir + "/" + extrasName); err != nil || len(entries) > 0 {
		t.Errorf("left: %v, error %v", entries, err)
	}
}

// Flashers that can't be unwrapped are refused before anything is written, and with the reason.
func TestFlasherRefusals(t *testing.T) {
	image := string(balenaImage(t))
	edit := func(do func(*flasherDisk)) []byte {
		d := balenaFlasher(t)
		do(&d)
		return d.build(t)
	}
	pi := strings.Replace(deviceTypeJSON, "genericx86-64-ext", "raspberrypi3", 1)
	broken := edit(func(*flasherDisk) {})
	at := bytes.Index(broken[flasherRootAt*mib:], []byte("balena-image-genericx86-64-ext.balenaos-img")) + flasherRootAt*mib
	binary.LittleEndian.PutUint32(broken[at-8:], 1<<30) // its inode number
	for _, tt := range []struct {
		name string
		file []byte
		want string
		edit func(*schema.Migration)
	}{
		{"no image", edit(func(d *flasherDisk) { delete(d.root, innerName) }), "no image in it", nil},
		{"two images", edit(func(d *flasherDisk) { d.root["opt/resin-image-x.resinos-img"] = "x" }), "2 images in it: opt/balena-image-genericx86-64-ext.balenaos-img, opt/resin-image-x.resinos-img", nil},
		{"no directory", edit(func(d *flasherDisk) { d.root = map[string]string{"x": "x"} }), "no image in it", nil},
		{"odd size", edit(func(d *flasherDisk) { d.root[innerName] = image + "x" }), "18874369 bytes unpacked", nil},
		{"no disk image", edit(func(d *flasherDisk) { d.root[innerName] = strings.Repeat("just some text.\n", 8192) }), "a text", nil},
		{"flasher in a flasher", edit(func(d *flasherDisk) { d.root[innerName] = string(edit(func(*flasherDisk) {})[:20*mib]) }), "truncated", nil},
		{"damaged", broken, "directory inode", nil},
		{"two device types", edit(func(d *flasherDisk) { d.boot["device-type.json"] = pi }), "a flasher image for raspberrypi3 with an image for genericx86-64-ext in it", nil},
		{"another device type", edit(func(*flasherDisk) {}), "expected raspberrypi3", func(m *schema.Migration) { m.Config.Image.DeviceType = "raspberrypi3" }},
		{"too large for the disk", edit(func(*flasherDisk) {}), "at most the 8388608 bytes of disk sda", onDisk(8*mib, 512)},
		{"not readable", edit(func(d *flasherDisk) { d.options = []string{"-O", "bigalloc"} }), "not supported: bigalloc", nil},
	} {
		for packing, file := range map[string][]byte{"raw": tt.file, "gzip": pack(t, tt.file)} {
			b := newBench(t, file)
			if tt.edit != nil {
				tt.edit(b.in)
			}
			res, err := b.run.Converge(t.Context(), Step{}, b.in)
			if err != nil || len(res.Blocked) != 1 || !strings.Contains(res.Msg, tt.want) || res.Blocked[0].Remedy == "" {
				t.Errorf("%s in %s: %v, error %v, want %q", tt.name, packing, res.Msg, err, tt.want)
			}
			if got := b.visible(t); len(got) > 0 {
				t.Errorf("%s in %s: work dir holds %v", tt.name, packing, got)
			}
		}
	}
}

// A flasher that is larger than the disk is taken if the image in it is not.
func TestFlasherLargerThanDisk(t *testing.T) {
	b := newBench(t, balenaFlasher(t).build(t))
	onDisk(20*mib, 512)(b.in)
	steptest.Laws(t, Step{}, b.run, b.in)
}

// outOfOrderFS is a root file system whose image lies backwards, made by the kernel as nothing else would.
func outOfOrderFS(t *testing.T, content []byte, step int) []byte {
	t.Helper()
	img, point := filepath.Join(t.TempDir(), "image"), t.TempDir()
	if err := os.WriteFile(img, extImage(t, map[string]string{"opt/x": "x"}, 64, "flash-rootA"), 0o600); err != nil {
		t.Fatal(err)
	}
	tool(t, "", "mount", "-o", "loop", img, point)
	f, err := os.Create(filepath.Join(point, innerName))
	if err != nil {
		t.Fatal(err)
	}
	for at := (len(content) - 1) / step * step; at >= 0; at -= step {
		p := content[at:min(at+step, len(content))]
		if bytes.Equal(p, make([]byte, len(p))) {
			continue
		}
		_, err := f.WriteAt(p, int64(at))
		if err := errors.Join(err, f.Sync()); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(f.Truncate(int64(len(content))), f.Close()); err != nil {
		t.Fatal(err)
	}
	tool(t, "", "umount", point)
	data, err := os.ReadFile(img)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// The order of a file is not that of the disk.
func TestFlasherOutOfOrder(t *testing.T) {
	want := balenaImage(t)
	for _, step := range []int{256 << 10, 2 * mib} {
		d := balenaFlasher(t)
		d.rootFS = outOfOrderFS(t, want, step)
		raw := d.build(t)
		if !backwards(t, raw) {
			t.Fatal("the kernel wrote it in order")
		}
		for name, file := range map[string][]byte{"raw": raw, "gzip": pack(t, raw)} {
			b := newBench(t, file)
			steptest.Laws(t, Step{}, b.run, b.in)
			if !bytes.Equal(b.unpacked(t), want) {
				t.Errorf("%s in steps of %d: not the inner image", name, step)
			}
		}
	}
}

// backwards says whether the image in a flasher lies out of order.
func backwards(t *testing.T, raw []byte) bool {
	t.Helper()
	return !slices.IsSortedFunc(insideOf(t, raw).pieces, func(a, b ext4.Extent) int { return int(a.Place - b.Place) })
}

func insideOf(t *testing.T, raw []byte) *inner {
	t.Helper()
	f, err := job{source: "x"}.openFlasher(&watched{r: bytes.NewReader(raw)}, int64(len(raw)))
	if err != nil {
		t.Fatal(err)
	}
	in, err := f.find()
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// memoryStream is a stream that counts how often it is unpacked.
type memoryStream struct {
	data  []byte
	opens *int
}

func (m memoryStream) unpack(tee io.Writer) io.Reader {
	*m.opens++
	return io.TeeReader(bytes.NewReader(m.data), tee)
}

// Pieces in any order come out in the order of the file; the whole stream passes once, and it is gone back to rarely.
func TestUnwrappingAnyOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 200 {
		outer := noise(1 + rng.IntN(1<<16))
		var pieces []ext4.Extent
		var want []byte
		for range rng.IntN(30) {
			want = append(want, make([]byte, rng.IntN(2)*rng.IntN(300))...)
			from := rng.IntN(len(outer))
			n := 1 + rng.IntN(min(len(outer)-from, 5000))
			pieces = append(pieces, ext4.Extent{Offset: int64(len(want)), Place: int64(from), Length: int64(n)})
			want = append(want, outer[from:from+n]...)
		}
		want = append(want, make([]byte, rng.IntN(300))...)
		opens := 0
		var tee bytes.Buffer
		m := memoryStream{data: outer, opens: &opens}
		u := &unwrapping{
			in: unwrapped{inner: &inner{size: int64(len(want)), pieces: pieces}}, main: forward{r: m.unpack(&tee)}, left: pieces, kept: map[int64][]byte{},
			early: outOfOrder(pieces), again: func() (io.Reader, error) { return m.unpack(io.Discard), nil },
		}
		got, err := io.ReadAll(u)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("round %d: %d bytes, want %d; error %v", round, len(got), len(want), err)
		}
		if !bytes.Equal(tee.Bytes(), outer) {
			t.Fatalf("round %d: %d of %d bytes passed", round, tee.Len(), len(outer))
		}
		if len(u.kept) != 0 || u.keeps != 0 {
			t.Fatalf("round %d: %d pieces kept, %d bytes", round, len(u.kept), u.keeps)
		}
	}
}

// A flasher image that is cut inside the image is an error, not an image.
func TestFlasherCut(t *testing.T) {
	raw := balenaFlasher(t).build(t)
	file := pack(t, raw)
	b := newBench(t, file[:len(file)-4])
	if _, err := b.run.Converge(t.Context(), Step{}, b.in); err == nil {
		t.Error("a cut file was taken")
	}
	last := insideOf(t, raw).pieces
	b = newBench(t, pack(t, raw[:last[len(last)-1].Place+4096]))
	_, err := b.run.Converge(t.Context(), Step{}, b.in)
	if err == nil || !strings.Contains(err.Error(), "the flasher image ends within /"+innerName) {
		t.Errorf("error %v", err)
	}
}

// S43, S65: facts say what the image is.
func TestTruth(t *testing.T) {
	b := newBench(t, pack(t, balenaImage(t)))
	f := steptest.Laws(t, Step{}, b.run, b.in).Facts.Image
	want := []schema.PartitionFacts{
		{Number: 1, Label: "resin-boot", FS: "vfat", Start: mib, Size: 6 * mib},
		{Number: 2, Label: "resin-rootA", FS: "ext4", Start: 7 * mib, Size: 4 * mib},
		{Number: 3, Start: 11 * mib, Size: 6 * mib},
		{Number: 5, Start: 12 * mib, Size: 4 * mib},
	}
	if f.OSVersion != "6.1.2" || !slices.Equal(f.Partitions, want) {
		t.Errorf("version %q, partitions %+v", f.OSVersion, f.Partitions)
	}
	d := balenaDisk()
	d.files["os-release"] = "VERSION=5.0.0\n"
	b = newBench(t, d.build(t))
	if f := steptest.Laws(t, Step{}, b.run, b.in).Facts.Image; f.OSVersion != "5.0.0" {
		t.Errorf("version %q of the boot partition", f.OSVersion)
	}
	raw := balenaDisk().build(t)
	copy(raw[7*mib:], extImage(t, map[string]string{"balena/overlay2/abc/diff/etc/os-release": osRelease, "balena/overlay2/l/x": ""}, 4, "balena-rootA"))
	b = newBench(t, raw)
	if f := steptest.Laws(t, Step{}, b.run, b.in).Facts.Image; f.OSVersion != "6.1.2" {
		t.Errorf("version %q of the host's layer", f.OSVersion)
	}
}

// E37: the image must suit config.json and the machine that precheck saw.
func TestImageMustSuitDevice(t *testing.T) {
	raw := balenaDisk().build(t)
	for _, tt := range []struct {
		name, config string
		types        []string
		asked        string
		skip         []string
		want         string
	}{
		{"all agree", "genericx86-64-ext", []string{"intel-nuc", "genericx86-64-ext"}, "", nil, ""},
		{"config.json", "intel-nuc", nil, "", nil, "an image for genericx86-64-ext, a config.json for intel-nuc"},
		{"machine", "", []string{"raspberrypi3"}, "", nil, "an image for genericx86-64-ext, expected one for what this machine can be: raspberrypi3"},
		{"override", "intel-nuc", []string{"raspberrypi3"}, "genericx86-64-ext", nil, ""},
		{"skipped", "intel-nuc", []string{"raspberrypi3"}, "", []string{"device-type"}, ""},
	} {
		b := newBench(t, raw)
		if tt.config != "" {
			b.in.Config.Balena.ConfigJSON = "/srv/config.json"
			b.Put("/srv/config.json", `{"deviceType":"`+tt.config+`"}`)
		}
		if tt.types != nil {
			b.in.Facts.Host = &schema.HostFacts{DeviceTypes: tt.types, Checks: []schema.Check{}}
		}
		b.in.Config.Image.DeviceType, b.in.Config.Checks.Skip = tt.asked, append([]string{}, tt.skip...)
		res, err := b.run.Converge(t.Context(), Step{}, b.in)
		if err != nil || !strings.Contains(res.Msg, tt.want) || (len(res.Blocked) == 0) != (tt.want == "") {
			t.Errorf("%s: %s, blocked %+v, error %v", tt.name, res.Msg, res.Blocked, err)
		}
	}
}

// image extract takes the image out of a flasher, and image verify has no word against one (S68–S75).
func TestExtractInner(t *testing.T) {
	want := balenaImage(t)
	d := balenaFlasher(t)
	d.root[innerName] = string(want)
	raw := d.build(t)
	for name, file := range map[string][]byte{"raw": raw, "gzip": pack(t, raw)} {
		b := newBench(t, file)
		f, err := Open(b.Host, srcPath)
		if err != nil {
			t.Fatal(err)
		}
		report := schema.NewImageReport("extract", srcPath)
		quiet := func(string, int64, int64) {}
		if err := f.Extract(t.Context(), b.Host, Extraction{What: "inner", To: "/out"}, quiet, report); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got, err := b.ReadFile("/out"); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, error %v", name, len(got), err)
		}
		if err := f.Verify(t.Context(), "", quiet, report); err != nil || !report.Flasher {
			t.Errorf("%s: verify: %+v, error %v", name, report, err)
		}
		f.Close()
	}
	b := newBench(t, want)
	f, err := Open(b.Host, srcPath)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	err = f.Extract(t.Context(), b.Host, Extraction{What: "inner", To: "/out"}, func(string, int64, int64) {}, schema.NewImageReport("extract", srcPath))
	if _, blocked := Blocker(err); !blocked {
		t.Errorf("the image in an image that is no flasher: %v", err)
	}
}
