package image

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/host"
	"github.com/balena-community/balena-migrate/steps/steptest"
)

// Whatever the format, the same image comes out, and the step obeys the laws (S61–S63).
func TestFormats(t *testing.T) {
	raw := balenaDisk().build(t)
	tests := []struct {
		name string
		file []byte
	}{
		{"raw", raw},
		{"gzip", pack(t, raw)},
		{"gzip of several members", pack(t, raw[:5*mib+17], raw[5*mib+17:5*mib+18], nil, raw[5*mib+18:])},
		{"zip deflated", zipped(t, zip.Deflate, raw, "balena.img")},
		{"zip stored", zipped(t, zip.Store, raw, "dir/", "dir/balena.img", "__MACOSX/dir/._balena.img")},
		{"zip64", zip64(t, raw)},
		{"xz", filter(t, raw, "xz", "-1")},
		{"xz of several streams", slices.Concat(filter(t, raw[:mib], "xz", "-1"), filter(t, raw[mib:], "xz", "-1"))},
		{"zstd", filter(t, raw, "zstd")},
		{"zstd of several frames", slices.Concat(filter(t, raw[:9*mib], "zstd"), filter(t, raw[9*mib:], "zstd"))},
		{"bzip2 of several streams", slices.Concat(filter(t, raw[:9*mib+1], "bzip2"), filter(t, raw[9*mib+1:], "bzip2"))},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, tt.file)
			var last, total int64
			b.run.Progress = func(_ string, d, n int64) {
				if d < last || d > n {
					t.Errorf("progress %d after %d of %d", d, last, n)
				}
				last, total = d, n
			}
			b.in.Config.Image.SHA256, b.in.Config.Image.DeviceType = sum(tt.file), "genericx86-64-ext"
			res := steptest.Laws(t, Step{}, b.run, b.in)
			if got := b.unpacked(t); !bytes.Equal(got, raw) {
				t.Errorf("%d bytes come out, not the image", len(got))
			}
			b.untouched(t, tt.file)
			if last != total || total == 0 {
				t.Errorf("progress ended at %d of %d", last, total)
			}
			b.checkFacts(t, res.Facts.Image, raw, tt.file)
		})
	}
}

func (b *bench) checkFacts(t *testing.T, f *schema.ImageFacts, raw, source []byte) {
	t.Helper()
	packed, err := b.ReadFile(workDir + "/image.gz")
	if err != nil {
		t.Fatal(err)
	}
	want := schema.ImageFacts{
		Path: workDir + "/image.gz", Index: workDir + "/image.index.json", GzipSize: int64(len(packed)), GzipSHA256: sum(packed),
		RawSize: int64(len(raw)), RawSHA256: sum(raw), SourceSHA256: sum(source), Table: "mbr", DeviceType: "genericx86-64-ext", Arch: "amd64",
	}
	for at := 0; at < len(raw); at += mib {
		if chunk := raw[at : at+mib]; !bytes.Equal(chunk, make([]byte, mib)) {
			want.DataSize += mib
		}
	}
	want.Partitions, want.Starts = f.Partitions, f.Starts // see TestTruth and TestStarts
	if !reflect.DeepEqual(*f, want) {
		t.Errorf("facts %+v\nwant  %+v", *f, want)
	}
	names := []string{imageName, indexName, stampName}
	if got := b.visible(t); !slices.Equal(got, names) {
		t.Errorf("work dir holds %v, want %v", got, names)
	}
	for _, name := range names {
		info, err := os.Stat(filepath.Join(b.Root(), workDir, name))
		if err != nil || info.Mode() != fileMode {
			t.Errorf("%s: mode %v, error %v", name, info.Mode(), err)
		}
	}
}

// E21, E23: a GPT, its boot partition known by the partition's name.
func TestGPT(t *testing.T) {
	d := balenaDisk()
	d.table, d.label, d.name = "gpt", "BOOT", "balena-boot"
	raw := d.build(t)
	for name, file := range map[string][]byte{"raw": raw, "gzip": pack(t, raw)} {
		b := newBench(t, file)
		if f := steptest.Laws(t, Step{}, b.run, b.in).Facts.Image; f.Table != "gpt" || f.DeviceType != "genericx86-64-ext" {
			t.Errorf("%s: facts %+v", name, f)
		}
	}
}

// An image of something else is taken, with a word.
func TestNoDeviceType(t *testing.T) {
	d := balenaDisk()
	delete(d.files, "device-type.json")
	b := newBench(t, d.build(t))
	res := steptest.Laws(t, Step{}, b.run, b.in)
	if f := res.Facts.Image; f.DeviceType != "" || f.Arch != "" || len(res.Warnings) != 1 {
		t.Errorf("facts %+v, warnings %q", f, res.Warnings)
	}
	b.run.Strict = true
	b.in.Config.Image.Path = "/srv/copy.img"
	b.Put("/srv/copy.img", string(d.build(t)))
	if res, err := b.run.Converge(context.Background(), Step{}, b.in); err != nil || res.Status != schema.BlockedBy {
		t.Errorf("strict: status %s, error %v", res.Status, err)
	}
}

// A boot partition too far inside a packed image is only looked at afterwards.
func TestBootPartitionFarInside(t *testing.T) {
	d := balenaDisk()
	d.bootAt = reach/mib + 1
	file := pack(t, d.build(t))
	b := newBench(t, file)
	b.in.Config.Image.DeviceType = "genericx86-64-ext"
	if f := steptest.Laws(t, Step{}, b.run, b.in).Facts.Image; f.DeviceType != "genericx86-64-ext" {
		t.Errorf("facts %+v", f)
	}
	b = newBench(t, file)
	b.in.Config.Image.DeviceType = "raspberrypi4-64"
	_, err := b.run.Converge(context.Background(), Step{}, b.in)
	if err == nil || !strings.Contains(err.Error(), "expected raspberrypi4-64") || len(b.visible(t)) > 0 {
		t.Errorf("error %v, work dir %v", err, b.visible(t))
	}
}

// opens counts what is opened and read.
type opens struct {
	host.Host
	names []string
}

func (o *opens) Open(name string) (host.File, error) {
	o.names = append(o.names, name)
	return o.Host.Open(name)
}

func (o *opens) ReadFile(name string) ([]byte, error) {
	o.names = append(o.names, name)
	return o.Host.ReadFile(name)
}

func TestSecondRunReadsOnlyTheStamp(t *testing.T) {
	b := newBench(t, pack(t, balenaDisk().build(t)))
	o := &opens{Host: b.Host}
	run := steptest.RunOn(o)
	for range 2 {
		o.names = nil
		if res, err := run.Converge(context.Background(), Step{}, b.in); err != nil || res.Status != schema.Converged {
			t.Fatal(res.Status, err)
		}
	}
	if want := []string{workDir + "/" + stampName}; !slices.Equal(o.names, want) {
		t.Errorf("second run opened %v, want %v", o.names, want)
	}
}

// What is asked of a prepared image may change without it being made anew.
func TestPreparedImageIsComparedWithWhatIsAsked(t *testing.T) {
	file := pack(t, balenaDisk().build(t))
	other := strings.Repeat("0", 64)
	tests := []struct {
		edit  func(*schema.Migration)
		check string
		texts []string
	}{
		{func(m *schema.Migration) { m.Config.Image.SHA256 = other }, "image", []string{other, sum(file)}},
		{func(m *schema.Migration) { m.Config.Image.DeviceType = "intel-nuc" }, "device-type", []string{"genericx86-64-ext", "intel-nuc"}},
		{func(m *schema.Migration) { m.Facts.Host = &schema.HostFacts{Disk: &schema.Disk{Size: mib}} }, "image", []string{"1048576 bytes of disk"}},
	}
	b := newBench(t, file)
	steptest.Laws(t, Step{}, b.run, b.in)
	for _, tt := range tests {
		in := *b.in
		tt.edit(&in)
		res, err := b.run.Converge(context.Background(), Step{}, &in)
		if err != nil || len(res.Blocked) != 1 || res.Blocked[0].Check != tt.check || res.Facts.Image != nil {
			t.Fatalf("error %v, blocked %+v", err, res.Blocked)
		}
		for _, text := range tt.texts {
			if !strings.Contains(res.Msg, text) {
				t.Errorf("%q is not in %q", text, res.Msg)
			}
		}
	}
}

// A new image replaces the old one and all that belongs to it, also what a killed run left.
func TestReplace(t *testing.T) {
	raw := balenaDisk().build(t)
	b := newBench(t, raw)
	steptest.Laws(t, Step{}, b.run, b.in)
	b.Put(workDir+"/.image.gz.balena-new", "half an image")
	raw[8*mib] ^= 1
	b.Put(srcPath, string(raw))
	steptest.Laws(t, Step{}, b.run, b.in)
	if !bytes.Equal(b.unpacked(t), raw) {
		t.Error("not the new image")
	}
	for _, name := range []string{imageName, indexName, stampName} {
		if err := b.Remove(workDir + "/" + name); err != nil {
			t.Fatal(err)
		}
		steptest.Laws(t, Step{}, b.run, b.in)
	}
}

func TestInterrupted(t *testing.T) {
	raw := balenaDisk().build(t)
	for name, file := range map[string][]byte{"raw": raw, "gzip": pack(t, raw), "zip": zipped(t, zip.Deflate, raw, "x")} {
		b := newBench(t, file)
		ctx, cancel := context.WithCancel(context.Background())
		run := b.run
		run.Progress = func(_ string, done, _ int64) {
			if done > 0 {
				cancel()
			}
		}
		_, err := run.Converge(ctx, Step{}, b.in)
		if !errors.Is(err, context.Canceled) || !errors.Is(err, steps.ErrPartial) {
			t.Errorf("%s: error %v", name, err)
		}
		if got := b.visible(t); len(got) > 0 {
			t.Errorf("%s: %v is visible", name, got)
		}
		steptest.Laws(t, Step{}, b.run, b.in)
	}
}

// The image made on a controller is taken as it is, wherever it lies.
func TestPreparedElsewhere(t *testing.T) {
	raw := balenaDisk().build(t)
	b := newBench(t, raw)
	facts := *steptest.Laws(t, Step{}, b.run, b.in).Facts.Image
	image, err := b.ReadFile(facts.Path)
	if err != nil {
		t.Fatal(err)
	}
	index, err := b.ReadFile(facts.Index)
	if err != nil {
		t.Fatal(err)
	}
	facts.SourceSHA256 = facts.GzipSHA256
	for _, at := range []string{"/srv/fleet", workDir + "/image"} {
		b := newBench(t, raw)
		b.Put(at+".gz", string(image))
		b.Put(at+".index.json", string(index))
		b.in.Config.Image.Path = at + ".gz"
		res := steptest.Laws(t, Step{}, b.run, b.in)
		if !reflect.DeepEqual(*res.Facts.Image, facts) {
			t.Errorf("%s: facts %+v, want %+v", at, *res.Facts.Image, facts)
		}
		if !bytes.Equal(b.unpacked(t), raw) {
			t.Errorf("%s: not the image", at)
		}
	}
}

// A link is how an operator puts the image on another disk; it stays one.
func TestOutputLink(t *testing.T) {
	raw := balenaDisk().build(t)
	b := newBench(t, raw)
	b.Link(workDir+"/image.gz", "/mnt/big/image.gz")
	b.Put("/mnt/big/.keep", "")
	steptest.Laws(t, Step{}, b.run, b.in)
	raw[9*mib] ^= 1
	b.Put(srcPath, string(raw))
	steptest.Laws(t, Step{}, b.run, b.in)
	if to, err := b.Readlink(workDir + "/image.gz"); err != nil || to != "/mnt/big/image.gz" {
		t.Errorf("link to %s, error %v", to, err)
	}
	data, err := b.ReadFile("/mnt/big/image.gz")
	if err != nil || len(data) == 0 {
		t.Errorf("%d bytes, error %v", len(data), err)
	}
}
