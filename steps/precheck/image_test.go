package precheck

import (
	"archive/zip"
	"bytes"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/host/hosttest"
)

// rawImage is a whole image of 4 MiB with one partition to its end.
func rawImage() []byte {
	b := make([]byte, 4<<20)
	copy(b, bootRecord(part{0x83, 2048, 6144}))
	return b
}

func zipped(t testing.TB, files ...string) string {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		f, err := w.Create(files[i])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(files[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// tool packs by a program.
func tool(t testing.TB, content []byte, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, append(args, "-c")...)
	cmd.Stdin = bytes.NewReader(content)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return string(out)
}

// imageIs replaces the image.
func imageIs(content func(t *testing.T) string) func(*testing.T, *hosttest.Host, *schema.Migration) {
	return func(t *testing.T, h *hosttest.Host, _ *schema.Migration) { put(t, h, imageFile, content(t)) }
}

func imageFaults() []fault {
	text := func(s string) func(*testing.T) string { return func(*testing.T) string { return s } }
	return []fault{
		{"no image", func(_ *testing.T, _ *hosttest.Host, in *schema.Migration) { in.Config.Image.Path = "" }, "image", "no image.path"},
		{"a version that is none", func(_ *testing.T, _ *hosttest.Host, in *schema.Migration) {
			in.Config.Image.Path, in.Config.Image.Version = "", "newest"
		}, "image", "image.version: version \"newest\""},
		{"image missing", func(t *testing.T, h *hosttest.Host, _ *schema.Migration) { remove(t, h, imageFile) }, "image", imageFile},
		{"image is a directory", func(_ *testing.T, _ *hosttest.Host, in *schema.Migration) { in.Config.Image.Path = "/home/op" }, "image", "regular"},
		{"empty", imageIs(text("")), "image", "empty"},
		{"a web page", imageIs(text(strings.Repeat("<html>", 1000))), "image", "a text such as HTML"},
		{"path and URL", func(_ *testing.T, _ *hosttest.Host, in *schema.Migration) { in.Config.Image.URL = "https://x.org/i" }, "image", "image.path and image.url"},
		{"xz damaged", imageIs(text("\xfd7zXZ\x00" + strings.Repeat("x", 1000))), "image", "no footer"},
		{"xz with a large dictionary", imageIs(func(t *testing.T) string { return tool(t, rawImage(), "xz", "-9") }), "image", "an xz dictionary of 64 MiB"},
		{"zstd with a large window", imageIs(func(t *testing.T) string { return tool(t, rawImage(), "zstd", "--long=27") }), "image", "a zstd window"},
		{"half an image in xz", imageIs(func(t *testing.T) string { return tool(t, rawImage()[:2<<20], "xz", "-0") }), "image", "beyond the end"},
		{"gzip of a tar", imageIs(func(t *testing.T) string { return string(gzipped(t, make([]byte, 2<<20))) }), "image", "55aa"},
		{"gzip of something small", imageIs(func(t *testing.T) string { return string(gzipped(t, []byte("hello"))) }), "image", "5 bytes"},
		{"gzip cut off", imageIs(func(t *testing.T) string { return string(gzipped(t, noise(3<<20))[:1<<19]) }), "image", "then its end"},
		{"gzip damaged", imageIs(text("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xff\xff\xff\xff")), "image", "unpack"},
		{"zip with two files (S62)", imageIs(func(t *testing.T) string { return zipped(t, "a.img", "1", "b.img", "2") }), "image", "2 files"},
		{"zip with a gzip file", imageIs(func(t *testing.T) string {
			return zipped(t, "a.img.gz", string(gzipped(t, noise(2<<20))))
		}), "image", "a gzip file"},
		{"zip cut off", imageIs(func(t *testing.T) string { return zipped(t, "a.img", string(rawImage()))[:2000] }), "image", "zip"},
		{"zip of half an image", imageIs(func(t *testing.T) string { return zipped(t, "a.img", string(rawImage()[:2<<20])) }), "image", "beyond the end"},
		{"half an image", imageIs(func(*testing.T) string { return string(rawImage()[:2<<20]) }), "image", "beyond the end"},
		{"larger than the disk, gzip (S52)", func(t *testing.T, h *hosttest.Host, _ *schema.Migration) {
			sparse(t, h.Root(), imageFile, 51<<20, map[int64][]byte{0: gzipped(t, imageHead(8<<30))})
		}, "image", "at least 8192 MiB"},
		{"larger than the disk, prepared", func(_ *testing.T, _ *hosttest.Host, in *schema.Migration) {
			in.Facts.Image = prepared("", 51<<20, diskSize+1)
		}, "image", "3072 MiB"},
	}
}

// noise does not get smaller by packing.
func noise(n int) []byte {
	b := make([]byte, n)
	if _, err := rand.NewChaCha8([32]byte{1}).Read(b); err != nil {
		panic(err)
	}
	return b
}

func TestInspect(t *testing.T) {
	raw := rawImage()
	copy(raw[1<<20:], noise(1<<20))
	for _, c := range []struct {
		name, content string
		want          image
		packed        [2]int64
	}{
		{"raw", string(raw), image{format: "raw", raw: 4 << 20, table: "mbr"}, [2]int64{900 << 10, 1200 << 10}},
		{"zip", zipped(t, "dir/", "", "__MACOSX/._a.img", "x", "dir/a.img", string(raw)), image{format: "zip", raw: 4 << 20, table: "mbr"}, [2]int64{1 << 20, 1100 << 10}},
		{"gzip", string(gzipped(t, raw)), image{format: "gzip", raw: 4 << 20, atLeast: true, table: "mbr"}, [2]int64{1 << 20, 1100 << 10}},
		{"xz", tool(t, raw, "xz", "-0"), image{format: "xz", raw: 4 << 20, table: "mbr"}, [2]int64{1 << 20, 1100 << 10}},
		{"zstd", tool(t, raw, "zstd"), image{format: "zstd", raw: 4 << 20, atLeast: true, table: "mbr"}, [2]int64{1 << 20, 1100 << 10}},
		{"bzip2", tool(t, raw, "bzip2"), image{format: "bzip2", raw: 4 << 20, atLeast: true, table: "mbr"}, [2]int64{1 << 20, 1100 << 10}},
		{"gzip with logical partitions", string(gzipped(t, imageHead(5<<30))), image{format: "gzip", raw: 5 << 30, atLeast: true, table: "mbr"}, [2]int64{0, 10 << 10}},
	} {
		got, err := inspect(strings.NewReader(c.content), int64(len(c.content)))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got.packed < c.packed[0] || got.packed > c.packed[1] {
			t.Errorf("%s: packed to %d bytes, want %d to %d", c.name, got.packed, c.packed[0], c.packed[1])
		}
		if got.packed = 0; got.format != c.want.format || got.raw != c.want.raw || got.atLeast != c.want.atLeast || got.table != c.want.table {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}

// An image to be downloaded is no blocker; what depends on its size is not known until it is there.
func TestImageByURL(t *testing.T) {
	in := input()
	in.Config.Image.Path, in.Config.Image.URL = "", "https://example.org/image.zip"
	l := look{View: steps.View{Config: in.Config}}
	l.image = l.readImage()
	if a := l.askImage(); a.status != passed || !strings.Contains(a.got, "downloaded") || l.image.known(nil) {
		t.Errorf("%+v, known %v", a, l.image.known(nil))
	}
	in.Config.Image.URL, in.Config.Image.Version = "", "^6.1"
	byVersion := look{View: steps.View{Config: in.Config}}
	if byVersion.image = byVersion.readImage(); byVersion.askImage().status != passed || byVersion.image.known(nil) {
		t.Errorf("%+v", byVersion.askImage())
	}
	l.Facts.Image = prepared("", 1<<20, 4<<20)
	l.image = l.readImage()
	if l.image.trouble.status != "" || l.image.raw != 4<<20 || !l.image.known(l.Facts.Image) {
		t.Errorf("%+v", l.image)
	}
}

func FuzzInspect(f *testing.F) {
	f.Add([]byte("\x1f\x8b\x08\x00"))
	f.Add(bootRecord(part{0x0f, 1, 100}))
	f.Add([]byte(zipped(f, "a.img", "x")))
	f.Fuzz(func(t *testing.T, data []byte) {
		i, err := inspect(bytes.NewReader(data), int64(len(data)))
		if err == nil && (i.raw <= 0 || i.packed < 0 || i.format == "" || i.table == "") {
			t.Errorf("%+v without an error", i)
		}
	})
}

// E37: the operator's word for the device type is taken, and said.
func TestDeviceTypeOverride(t *testing.T) {
	h, in := machines()[0].start(t)
	in.Config.Image.DeviceType = "surface-pro-6"
	res := converge(t, h, in)
	if c := status(t, res, "device-type"); c.Status != "warn" || c.Got != "surface-pro-6" || len(res.Blocked) > 0 {
		t.Errorf("%+v, blocked %+v", c, res.Blocked)
	}
	if !strings.Contains(strings.Join(res.Warnings, "\n"), "config.json is for genericx86-64-ext, as which the device will register") {
		t.Errorf("warnings %q", res.Warnings)
	}
}

// A flasher image counts for what is inside it, and that only prepare-image knows: a disk smaller than the flasher may be
// large enough (E24).
func TestFlasherImage(t *testing.T) {
	raw := rawImage()
	copy(raw[2048*512+43:], "flash-boot ")
	far := make([]byte, 8<<20)
	copy(far, bootRecord(part{0xe, 8192, 8192}))
	copy(far[8192*512+71:], "flash-boot ")
	for name, content := range map[string]string{
		"raw": string(raw), "gzip": tool(t, raw, "gzip"), "zip": zipped(t, "a.img", string(raw)), "xz": tool(t, raw, "xz"),
		"behind the beginning": tool(t, far, "gzip"),
	} {
		h, in := machines()[0].start(t)
		put(t, h, imageFile, content)
		l := newLook(t.Context(), steps.View{Device: h, Files: h, WorkDir: "/var/lib/balena-migrate", Config: in.Config})
		l.disks.target.Size = 1 << 20
		if a := l.askImage(); a.status != passed || !strings.Contains(a.got, "a flasher image") {
			t.Errorf("%s: %+v", name, a)
		}
		if a := l.askMemory(); a.status != warned {
			t.Errorf("%s: memory %+v, want it to be not known", name, a)
		}
	}
}
