package backup

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps/host/hosttest"
	"github.com/balena-community/balena-migrate/steps/steptest"
)

// command runs a program that must succeed, and returns what it prints.
func command(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v: %s", name, args, err, out)
	}
	return string(out)
}

// everything makes a tree with every kind of file that is backed up, and every property of one that is.
func everything(t *testing.T) *hosttest.Host {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("owners, capabilities and trusted attributes are set by root alone: run the tests as root")
	}
	h := device(t, "- volume: v\n  items:\n  - source: /srv/app\n")
	top := put(h, "/srv/app")
	h.Put("/srv/app/"+strings.Repeat("long/", 60)+strings.Repeat("n", 250), "long")
	h.Put("/srv/app/\xff\xfe not UTF-8\n", "odd")
	h.Put("/srv/app/-rf", "option")
	h.Put("/srv/app/tool", "#!/bin/true\n")
	h.Put("/srv/app/"+strings.Repeat("x", 200), "attributes and a long name")
	h.Link("/srv/app/"+strings.Repeat("l", 120), strings.Repeat("conf/../", 30)+"db")
	h.Link("/srv/app/conf/back", "../db")
	must(t, os.Link(top+"/db", top+"/conf/hard"))
	must(t, os.Link(top+"/db", top+"/"+strings.Repeat("h", 150)))
	mkfifo(t, top+"/fifo")
	must(t, os.Mkdir(top+"/sticky", 0o700))
	must(t, os.Chmod(top+"/sticky", 0o777|fs.ModeSticky))
	must(t, os.Mkdir(top+"/nothing", 0o750))
	must(t, os.Chmod(top+"/conf/a.cfg", 0o755|fs.ModeSetuid))
	must(t, os.Chmod(top+"/conf/.b", 0o710|fs.ModeSetgid))
	must(t, os.Chown(top+"/conf/.b", 1234, 2_000_000_000))
	must(t, os.Lchown(top+"/conf/back", 1234, 5678))
	sparseFile(t, top+"/disk.img")
	for _, name := range []string{top + "/db", top + "/nothing", top + "/" + strings.Repeat("x", 200)} {
		must(t, unix.Setxattr(name, "user.note", []byte("a=b\n\x00\xff"), 0))
	}
	must(t, unix.Setxattr(top+"/db", "trusted.seal", []byte("root's own"), 0))
	command(t, "setcap", "cap_net_raw+ep", top+"/tool")
	command(t, "setfacl", "-m", "u:4321:rw,g:99:r", top+"/conf/a.cfg")
	command(t, "setfacl", "-m", "u:4321:rwx,d:u:77:r-x,d:g::rwx", top+"/conf")
	must(t, os.Chtimes(top+"/conf/.b", time.Time{}, time.Unix(1234567890, 999_999_999)))
	must(t, os.Chtimes(top+"/nothing", time.Time{}, time.Unix(-5, 250_000_000)))
	must(t, os.Chtimes(top+"/fifo", time.Time{}, time.Unix(-86400, 0)))
	return h
}

// sparseFile makes a file of 96 MiB with data in three places, one of them in the middle of nowhere.
func sparseFile(t *testing.T, name string) {
	t.Helper()
	f, err := os.Create(name)
	must(t, err)
	defer f.Close()
	for _, at := range []int64{0, 50<<20 + 12345, 96<<20 - 3} {
		_, err := f.WriteAt([]byte("abc"), at)
		must(t, err)
	}
}

// differences is what rsync would do to make the second tree the first: nothing where they are the same in names, types,
// content, owners, modes, times to the nanosecond, hard links, access lists and attributes.
func differences(t *testing.T, a, b string) string {
	t.Helper()
	return command(t, "rsync", "-naXAHc", "--modify-window=-1", "--delete", "--numeric-ids", "--out-format=%i %n", a+"/", b+"/")
}

// A tree with everything, unpacked by GNU tar, is the same tree in every respect that rsync knows.
func TestRoundTrip(t *testing.T) {
	h := everything(t)
	res := converge(t, steptest.RunOn(h), define(), schema.Converged)
	out := t.TempDir()
	command(t, "tar", "--numeric-owner", "--xattrs", "--xattrs-include=*", "--acls", "-xpf", put(h, res.Facts.Backup.Path), "-C", out)
	if d := differences(t, put(h, "/srv/app"), out+"/v"); d != "" {
		t.Errorf("rsync sees differences:\n%s", d)
	}
	// What the comparison would miss, it is no proof of.
	for what, change := range map[string]func(name string) error{
		"mode":      func(name string) error { return os.Chmod(name, 0o600) },
		"owner":     func(name string) error { return os.Chown(name, 7, 0) },
		"time":      func(name string) error { return os.Chtimes(name, time.Time{}, time.Unix(1234567890, 0)) },
		"attribute": func(name string) error { return unix.Setxattr(name, "user.other", []byte("x"), 0) },
		"list":      func(name string) error { return exec.Command("setfacl", "-m", "u:1:r", name).Run() },
	} {
		copied := t.TempDir()
		command(t, "cp", "-a", out+"/v", copied)
		must(t, change(copied+"/v/conf/.b"))
		if got := differences(t, put(h, "/srv/app"), copied+"/v"); !strings.HasSuffix(got, " conf/.b\n") {
			t.Errorf("after a change of the %s rsync sees %q", what, got)
		}
	}
}

// The tar that unpacks it on the new system is that of BusyBox. It knows no access lists, attributes and parts of a
// second; all else is there, and nothing of what it does not know gets into a file.
func TestUnpackedByBusyBox(t *testing.T) {
	h := everything(t)
	res := converge(t, steptest.RunOn(h), define(), schema.Converged)
	out := t.TempDir()
	if text := command(t, "busybox", "tar", "-xzf", put(h, res.Facts.Backup.Path), "-C", out); text != "" {
		t.Errorf("tar says %s", text)
	}
	// It gives directories and links the time at which it made them, and links to root.
	made := regexp.MustCompile(`(?m)^(".*" (?:d\S+ \d+:\d+|L\S+)).*?(-> .*)?$`)
	got := made.ReplaceAllString(describeTree(t, out+"/v"), "$1 $2")
	want := strings.Split(made.ReplaceAllString(describeTree(t, put(h, "/srv/app")), "$1 $2"), "\n")
	for i, line := range strings.Split(got, "\n") {
		if i >= len(want) || line != want[i] {
			t.Fatalf("unpacked\n%s\nexpected\n%s", line, want[min(i, len(want)-1)])
		}
	}
	info, err := os.Stat(filepath.Join(out, "v/disk.img"))
	if err != nil || info.Size() != 96<<20 {
		t.Errorf("disk.img: %v, %v", info, err)
	}
}

// An access list is foreign bytes: what can't be read gives nothing, and all else the text that setfacl takes.
func FuzzACL(f *testing.F) {
	f.Add([]byte("\x02\x00\x00\x00\x01\x00\x07\x00\xff\xff\xff\xff\x02\x00\x05\x00\xe1\x10\x00\x00\x20\x00\x00\x00\xff\xff\xff\xff"))
	f.Add([]byte("\x02\x00\x00\x00\x03\x00\x07\x00\xff\xff\xff\xff"))
	form := regexp.MustCompile(`^((user|group):\d*|mask:|other:):[r-][w-][x-](,((user|group):\d*|mask:|other:):[r-][w-][x-])*$`)
	f.Fuzz(func(t *testing.T, data []byte) {
		if text := aclText(string(data)); text != "" && !form.MatchString(text) {
			t.Errorf("%q gives %q", data, text)
		}
	})
}
