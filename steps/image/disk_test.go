package image

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/host/hosttest"
	"github.com/balena-community/balena-migrate/steps/steptest"
)

const mib = 1 << 20

const deviceTypeJSON = `{"slug": "genericx86-64-ext", "version": 1, "arch": "amd64", "Slug": "other", "state": "released"}`

// disk is an image to be built. Sizes are in MiB, bootAt is where the boot partition begins.
type disk struct {
	table, label, name string
	bootAt             int
	files              map[string]string
}

func balenaDisk() disk {
	return disk{table: "dos", label: "resin-boot", bootAt: 1, files: map[string]string{
		"device-type.json": deviceTypeJSON, "config.txt": strings.Repeat("# a file\n", 70_000),
	}}
}

func tool(t testing.TB, stdin, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// build makes the image by the programs of a Linux system: FAT boot, two that hold noise, and in an MBR the last of
// them as a logical partition (E20).
func (d disk) build(t testing.TB) []byte {
	t.Helper()
	dir := t.TempDir()
	img, boot := filepath.Join(dir, "disk.img"), filepath.Join(dir, "boot.fat")
	size := d.bootAt + 17
	if err := os.WriteFile(img, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(img, int64(size)*mib); err != nil {
		t.Fatal(err)
	}
	at := d.bootAt
	script := fmt.Sprintf("label: dos\nstart=%dMiB, size=6MiB, type=e, bootable\nstart=%dMiB, size=4MiB, type=83\nstart=%dMiB, size=6MiB, type=f\nstart=%dMiB, size=4MiB, type=83\n",
		at, at+6, at+10, at+11)
	if d.table == "gpt" {
		script = fmt.Sprintf("label: gpt\nstart=%dMiB, size=6MiB, type=U, name=\"%s\"\nstart=%dMiB, size=4MiB\nstart=%dMiB, size=4MiB\n", at, d.name, at+6, at+11)
	}
	tool(t, script, "sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", img)
	tool(t, "", "mkfs.vfat", "-C", "-n", d.label, boot, "6144")
	for name, content := range d.files {
		file := filepath.Join(dir, "files", name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tops, err := filepath.Glob(filepath.Join(dir, "files", "*"))
	if err != nil {
		t.Fatal(err)
	}
	if len(tops) > 0 {
		tool(t, "", "mcopy", append(append([]string{"-s", "-i", boot}, tops...), "::")...)
	}
	raw, err := os.ReadFile(img)
	if err != nil {
		t.Fatal(err)
	}
	fat, err := os.ReadFile(boot)
	if err != nil {
		t.Fatal(err)
	}
	copy(raw[at*mib:], fat)
	copy(raw[(at+6)*mib:], noise(3*mib))
	copy(raw[(at+11)*mib:], noise(2*mib))
	return raw
}

func noise(n int) []byte {
	p := make([]byte, n)
	rng := rand.NewChaCha8([32]byte{byte(n >> 16)})
	_, _ = rng.Read(p) // never fails
	return p
}

func pack(t testing.TB, parts ...[]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	for _, p := range parts {
		w, err := gzip.NewWriterLevel(&b, 1)
		if err != nil {
			t.Fatal(err)
		}
		w.Name = "balena.img"
		if _, err := w.Write(p); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// zipped makes a zip file; names that end in "/" are directories.
func zipped(t testing.TB, method uint16, content []byte, names ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, name := range names {
		h := &zip.FileHeader{Name: name, Method: method}
		if strings.HasSuffix(name, "/") {
			h.Method = zip.Store
		}
		f, err := w.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(name, "/") {
			if _, err := f.Write(content); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.SetComment("a comment, behind everything"); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// zip64 is what the zip program makes of a file when it has to expect 4 GiB.
func zip64(t testing.TB, content []byte) []byte {
	t.Helper()
	dir := t.TempDir()
	name := filepath.Join(dir, "balena.img")
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	tool(t, "", "zip", "-q", "-fz", "-j", name+".zip", name)
	data, err := os.ReadFile(name + ".zip")
	if err != nil {
		t.Fatal(err)
	}
	return data
}

const (
	srcPath = "/srv/balena.img"
	workDir = "/var/lib/balena-migrate"
)

// bench is a host with an image on it.
type bench struct {
	*hosttest.Host
	run steps.Run
	in  *schema.Migration
}

func newBench(t *testing.T, content []byte) *bench {
	t.Helper()
	h := hosttest.New(t, map[string]string{srcPath: string(content)})
	in := schema.NewMigration()
	in.Config.Image.Path = srcPath
	return &bench{Host: h, run: steptest.RunOn(h), in: in}
}

// visible lists the work dir.
func (b *bench) visible(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(b.Root(), workDir))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names
}

// untouched checks that the operator's file is as it was (S62, S63).
func (b *bench) untouched(t *testing.T, content []byte) {
	t.Helper()
	got, err := os.ReadFile(filepath.Join(b.Root(), srcPath))
	if err != nil || !bytes.Equal(got, content) {
		t.Errorf("the operator's file changed: %d bytes, error %v", len(got), err)
	}
}

// unpacked reads the result as any gzip does.
func (b *bench) unpacked(t *testing.T) []byte {
	t.Helper()
	f, err := os.Open(filepath.Join(b.Root(), workDir, imageName))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	gz, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(gz)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func sum(p []byte) string {
	s := sha256.Sum256(p)
	return hex.EncodeToString(s[:])
}
