package backup

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps/host"
	"github.com/balena-community/balena-migrate/steps/host/hosttest"
	"github.com/balena-community/balena-migrate/steps/steptest"
)

// tarList is what GNU tar lists.
func tarList(t *testing.T, archive string) string {
	t.Helper()
	out, err := exec.Command("tar", "--quoting-style=literal", "-tzf", archive).CombinedOutput()
	if err != nil {
		t.Fatalf("tar: %v: %s", err, out)
	}
	return string(out)
}

// describeTree is a text with every name below dir and all that a backup keeps of it.
func describeTree(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	first := map[uint64]string{}
	must(t, filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		must(t, err)
		info, err := d.Info()
		must(t, err)
		rel, err := filepath.Rel(dir, name)
		must(t, err)
		if info.Mode()&(fs.ModeSocket|fs.ModeDevice) != 0 {
			return nil
		}
		st := stat(info)
		fmt.Fprintf(&b, "%q %s %d:%d %d", rel, info.Mode(), st.Uid, st.Gid, info.ModTime().Unix())
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(name)
			must(t, err)
			fmt.Fprintf(&b, " -> %s", target)
		case info.Mode().IsRegular():
			data, err := os.ReadFile(name)
			must(t, err)
			if first[st.Ino] == "" {
				first[st.Ino] = rel
			}
			if len(data) > 1024 {
				data = fmt.Appendf(nil, "%x", sha256.Sum256(data))
			}
			fmt.Fprintf(&b, " %q %s %d", data, first[st.Ino], st.Nlink)
		}
		b.WriteByte('\n')
		return nil
	}))
	return b.String()
}

// A tree with every kind of file, unpacked by GNU tar, is the same tree.
func TestUnpackedByGNUTarIsTheSource(t *testing.T) {
	h := device(t, "- volume: v\n  items:\n  - source: /srv/link-to-app\n")
	h.Link("/srv/link-to-app", "/srv/app")
	top := put(h, "/srv/app")
	h.Put("/srv/app/"+strings.Repeat("long/", 40)+strings.Repeat("n", 200), "long")
	h.Put("/srv/app/\xff\xfe not UTF-8\n", "odd")
	h.Put("/srv/app/-rf", "option")
	h.Link("/srv/app/"+strings.Repeat("l", 120), strings.Repeat("target/", 30))
	h.Link("/srv/app/conf/back", "../db")
	must(t, os.Link(top+"/db", top+"/conf/hard"))
	must(t, os.Link(top+"/db", top+"/"+strings.Repeat("h", 150)))
	mkfifo(t, top+"/fifo")
	must(t, os.Mkdir(top+"/sticky", 0o700))
	must(t, os.Chmod(top+"/sticky", 0o777|fs.ModeSticky))
	must(t, os.Chmod(top+"/conf/a.cfg", 0o755|fs.ModeSetuid))
	must(t, os.Chtimes(top+"/db", time.Time{}, time.Unix(1234567890, 999_999_999)))
	must(t, os.Chtimes(top+"/empty", time.Time{}, time.Unix(-5, 0)))
	res := converge(t, steptest.RunOn(h), define(), schema.Converged)

	out := t.TempDir()
	if text, err := exec.Command("tar", "--numeric-owner", "-xpzf", put(h, res.Facts.Backup.Path), "-C", out).CombinedOutput(); err != nil {
		t.Fatalf("tar: %v: %s", err, text)
	}
	if got, want := describeTree(t, out+"/v"), describeTree(t, top); got != want {
		t.Errorf("unpacked\n%sexpected\n%s", got, want)
	}
	f, err := h.Open(res.Facts.Backup.Path)
	must(t, err)
	defer f.Close()
	if p, err := inspect(f, []string{"v"}); err != nil || p.files != res.Facts.Backup.Files {
		t.Errorf("the check for foreign archives says %+v, %v of ours", p, err)
	}
}

// meddler changes things on the device at the moment a file is opened.
type meddler struct {
	*hosttest.Host
	before func(name string) error
}

func (m meddler) Open(name string) (host.File, error) {
	if err := m.before(name); err != nil {
		return nil, err
	}
	return m.Host.Open(name)
}

// unpack reads an archive into memory, by name.
func unpack(t *testing.T, h host.Reader, archive string) map[string]*tar.Header {
	t.Helper()
	f, err := h.Open(archive)
	must(t, err)
	defer f.Close()
	gz, err := gzip.NewReader(f)
	must(t, err)
	all := map[string]*tar.Header{}
	for tr := tar.NewReader(gz); ; {
		hd, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		must(t, err)
		data, err := io.ReadAll(tr)
		must(t, err)
		hd.Uname = string(data)
		all[hd.Name] = hd
	}
}

// running makes the device one that runs, on which things may change while a backup is made.
func running(t *testing.T, definition string) *hosttest.Host {
	h := device(t, definition)
	h.Put("/proc/self/stat", "42 (x) S 1 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 7777 1 1\n")
	h.Put("/proc/sys/kernel/random/boot_id", "b-1\n")
	return h
}

// once is f, the first time only.
func once(f func(h *hosttest.Host) error) func(h *hosttest.Host) error {
	done := false
	return func(h *hosttest.Host) error {
		if done {
			return nil
		}
		done = true
		return f(h)
	}
}

// grow makes the big file longer by a byte.
func grow(h *hosttest.Host) error {
	f, err := os.OpenFile(put(h, "/srv/app/big"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = f.Write([]byte{0})
	return errors.Join(err, f.Close())
}

// What changes, shrinks, grows, vanishes or is swapped while it is read leaves a whole archive and a word.
func TestMovingSources(t *testing.T) {
	const big = "/srv/app/big"
	for _, c := range []struct {
		name     string
		meddle   func(h *hosttest.Host) error // when big is opened
		progress func(h *hosttest.Host) error // when its first part was read
		want     string                       // content of v/big as length and how many of it are not zero
	}{
		{"shrinks", nil, once(func(h *hosttest.Host) error { return os.Truncate(put(h, big), 300<<10) }), "307200 307200"},
		{"grows", nil, once(func(h *hosttest.Host) error { return os.Truncate(put(h, big), 2<<20) }), "2097152 1048576"},
		{"grows all the time", nil, grow, "more 1048576"},
		{"shrinks, with another name", func(h *hosttest.Host) error { return os.Link(put(h, big), put(h, "/srv/app/bigger")) },
			once(func(h *hosttest.Host) error { return os.Truncate(put(h, big), 300<<10) }), "1048576 307200"},
		{"vanishes", func(h *hosttest.Host) error { return os.Remove(put(h, big)) }, nil, ""},
		{"vanishes while it is read", nil, once(func(h *hosttest.Host) error {
			must(t, os.Truncate(put(h, big), 300<<10))
			return os.Remove(put(h, big))
		}), "1048576 307200"},
		{"becomes a link", func(h *hosttest.Host) error {
			must(t, os.Remove(put(h, big)))
			return os.Symlink("/root/backup.yml", put(h, big))
		}, nil, ""},
		{"is replaced by a rename", func(h *hosttest.Host) error {
			h.Put("/srv/app.new", strings.Repeat("n", 100))
			return os.Rename(put(h, "/srv/app.new"), put(h, big))
		}, nil, "100 100"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := running(t, "- volume: v\n  items:\n  - source: /srv/app\n")
			h.Put(big, strings.Repeat("x", 1<<20))
			run := steptest.RunOn(h)
			opened := false
			run.Device = meddler{h, func(name string) error {
				if name != big || opened {
					return nil
				}
				opened = true
				if c.meddle != nil {
					return c.meddle(h)
				}
				return nil
			}}
			run.Progress = func(string, int64, int64) {
				if opened && c.progress != nil {
					must(t, c.progress(h))
				}
			}
			res := converge(t, run, define(), schema.Converged)
			hd := unpack(t, h, res.Facts.Backup.Path)["v/big"]
			got := ""
			if hd != nil {
				got = fmt.Sprint(len(hd.Uname), len(hd.Uname)-strings.Count(hd.Uname, "\x00"))
			}
			if size, rest, _ := strings.Cut(got, " "); c.want == "more "+rest && len(size) == 7 && size > "1048576" {
				got = c.want
			}
			if got != c.want {
				t.Errorf("big in the archive: %q, expected %q", got, c.want)
			}
			warned := slices.ContainsFunc(res.Warnings, func(w string) bool { return strings.Contains(w, "may be torn: "+big) })
			if out := t.TempDir(); c.want != "" { // the tar of the new system takes the later of two entries, too
				command(t, "busybox", "tar", "-xzf", put(h, res.Facts.Backup.Path), "-C", out)
				if info, err := os.Stat(out + "/v/big"); err != nil || info.Size() != int64(len(hd.Uname)) {
					t.Errorf("unpacked: %v, %v", info, err)
				}
			}
			still := c.name == "is replaced by a rename" || c.name == "shrinks" || c.name == "grows" // when it is read again
			if warned == still {
				t.Errorf("warnings %q", res.Warnings)
			}
			// Another process sees sources that are newer than the archive.
			h.Put("/proc/self/stat", "43 (x) S 1 43 43 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 7778 1 1\n")
			h.Put("/srv/app/more", "")
			if res := converge(t, steptest.RunOn(h), define(), schema.Converged); !res.Changed || len(res.Warnings) > 1 {
				t.Errorf("second run: changed %v, warnings %q", res.Changed, res.Warnings)
			}
		})
	}
}

// A hard link whose first name could not be read becomes the file, for the links after it too.
func TestHardLinkToALostFile(t *testing.T) {
	h := running(t, "- volume: v\n  items:\n  - source: /srv/app\n")
	for _, name := range []string{"db1", "db2"} {
		must(t, os.Link(put(h, "/srv/app/db"), put(h, "/srv/app/"+name)))
	}
	run := steptest.RunOn(h)
	run.Device = meddler{h, func(name string) error {
		if name == "/srv/app/db" {
			return &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		}
		return nil
	}}
	res := converge(t, run, define(), schema.Converged)
	all := unpack(t, h, res.Facts.Backup.Path)
	if all["v/db"] != nil || all["v/db1"].Uname != canary || all["v/db2"].Linkname != "v/db1" {
		t.Errorf("db %v, db1 %v, db2 %v", all["v/db"], all["v/db1"], all["v/db2"])
	}
}

// Volumes are independent: a file linked into two is stored in both.
func TestHardLinksStayInTheirVolume(t *testing.T) {
	h := device(t, "- volume: a\n  items: [{source: /srv/app}]\n- volume: b\n  items: [{source: /srv/two}]\n")
	must(t, os.Mkdir(put(h, "/srv/two"), 0o755))
	must(t, os.Link(put(h, "/srv/app/db"), put(h, "/srv/two/db")))
	res := converge(t, steptest.RunOn(h), define(), schema.Converged)
	if all := unpack(t, h, res.Facts.Backup.Path); all["a/db"].Uname != canary || all["b/db"].Uname != canary {
		t.Errorf("a/db %v, b/db %v", all["a/db"], all["b/db"])
	}
}

// BenchmarkArchive writes 64 MiB in 512 files: half of it random, half of it text, as data goes.
func BenchmarkArchive(b *testing.B) {
	const files, each = 512, 128 << 10
	dir := b.TempDir()
	random := rand.NewChaCha8([32]byte{})
	text := bytes.Repeat([]byte("2026-01-02T03:04:05Z app[42]: measured 21.5 degrees at sensor 7\n"), each/64)
	for i := range files {
		data := text
		if i%2 == 0 {
			data = make([]byte, each)
			_, _ = random.Read(data) // it never fails
		}
		if err := os.WriteFile(path.Join(dir, fmt.Sprint(i)), data, 0o644); err != nil {
			b.Fatal(err)
		}
	}
	h := host.At("/")
	found, _, err := resolve(h, []volume{{name: "v", items: []item{{source: dir}}}}, "")
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(files * each)
	b.ReportAllocs()
	for b.Loop() {
		a, err := newArchive(h, io.Discard, func(int64) {})
		if err != nil {
			b.Fatal(err)
		}
		w := walker{r: h, visit: func(e entry) error { return a.add(context.Background(), e) }}
		if err := w.walk(context.Background(), found); err != nil {
			b.Fatal(err)
		}
		if err := a.close(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
}
