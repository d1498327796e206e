package host

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// withUmask sets the umask of the whole process until the test ends.
func withUmask(t *testing.T, mask int) {
	t.Helper()
	old := syscall.Umask(mask)
	t.Cleanup(func() { syscall.Umask(old) })
}

func wantFile(t *testing.T, r *Rooted, name, content string, mode fs.FileMode) {
	t.Helper()
	p := filepath.Join(r.Root(), name)
	data, err := os.ReadFile(p)
	if err != nil || string(data) != content {
		t.Errorf("%s: %q, %v; want %q", name, data, err, content)
	}
	if info, err := os.Lstat(p); err != nil || info.Mode() != mode {
		t.Errorf("%s: %v, %v; want mode %v", name, info, err, mode)
	}
}

func wantNames(t *testing.T, r *Rooted, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(r.Root(), dir))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if got := strings.Join(names, " "); got != strings.Join(want, " ") {
		t.Errorf("%s holds %q, want %q", dir, got, want)
	}
}

// A file gets the mode that was asked for: no umask opens a secret or closes a program.
func TestWriteFileModeWhateverTheUmask(t *testing.T) {
	for _, mask := range []int{0, 0o022, 0o077, 0o777} {
		withUmask(t, mask)
		for _, mode := range []fs.FileMode{0o600, 0o644, 0o755} {
			r := rootWith(t, map[string]string{"/d/old": "old"})
			for _, name := range []string{"/d/old", "/d/new"} {
				if err := r.WriteFile(name, []byte("content"), mode); err != nil {
					t.Fatalf("umask %o: %v", mask, err)
				}
				wantFile(t, r, name, "content", mode)
			}
			wantNames(t, r, "/d", "new", "old")
		}
	}
}

// A configuration file that is a link, absolute or not, stays one: what it points to is replaced.
func TestWriteFileKeepsLinks(t *testing.T) {
	for _, link := range []string{"->/data/file", "->../data/file", "->/data/other-link"} {
		r := rootWith(t, map[string]string{"/etc/file": link, "/data/file": "old", "/data/other-link": "->file"})
		if err := r.WriteFile("/etc/file", []byte("new"), 0o640); err != nil {
			t.Fatal(err)
		}
		if target, err := os.Readlink(filepath.Join(r.Root(), "etc/file")); err != nil || "->"+target != link {
			t.Errorf("link %s: %q, %v", link, target, err)
		}
		wantFile(t, r, "/data/file", "new", 0o640)
		wantNames(t, r, "/etc", "file")
		wantNames(t, r, "/data", "file", "other-link")
	}
	r := rootWith(t, map[string]string{"/etc/file": "->/data/new", "/data/x": ""})
	if err := r.WriteFile("/etc/file", []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantFile(t, r, "/data/new", "new", 0o600)
}

// What a killed run left under the temporary name is replaced, whatever it is; a link there is not followed.
func TestWriteFileReplacesLeftovers(t *testing.T) {
	temp := "/d/.file" + Unfinished
	for what, leftover := range map[string]string{"a file": "much longer than what is written now", "a link": "->/victim", "nothing": ""} {
		t.Run(what, func(t *testing.T) {
			files := map[string]string{"/d/file": "old", "/victim": "untouched"}
			if leftover != "" {
				files[temp] = leftover
			}
			r := rootWith(t, files)
			if err := r.WriteFile("/d/file", []byte("new"), 0o600); err != nil {
				t.Fatal(err)
			}
			wantFile(t, r, "/d/file", "new", 0o600)
			wantFile(t, r, "/victim", "untouched", 0o644)
			wantNames(t, r, "/d", "file")
		})
	}
}

// A write that fails leaves the old file as it was, and nothing beside it.
func TestWriteFileLeavesNothingOnError(t *testing.T) {
	r := rootWith(t, map[string]string{"/d/file": "old", "/d/dir/inside": "", "/loop": "->loop"})
	cases := []struct {
		name string
		want error
	}{
		{"/d/dir", fs.ErrExist},
		{"/missing/file", fs.ErrNotExist},
		{"/d/file/below", syscall.ENOTDIR},
		{"/loop", ErrLoop},
	}
	for _, c := range cases {
		err := r.WriteFile(c.name, []byte("new"), 0o600)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		wantNames(t, r, "/d", "dir", "file")
		wantFile(t, r, "/d/file", "old", 0o644)
	}
	limitFileSize(t, 256<<10) // well above what go test itself writes meanwhile, its list of opened files
	err := r.WriteFile("/d/file", make([]byte, 1<<20), 0o600)
	if !errors.Is(err, syscall.EFBIG) || strings.Contains(err.Error(), r.Root()) {
		t.Errorf("a disk that is full after 256 KiB: %v, want %v with the caller's name", err, syscall.EFBIG)
	}
	wantNames(t, r, "/d", "dir", "file")
	wantFile(t, r, "/d/file", "old", 0o644)
}

// limitFileSize makes every write behind the limit fail, as a full disk would (setrlimit(2), RLIMIT_FSIZE).
func limitFileSize(t *testing.T, limit uint64) {
	t.Helper()
	signal.Ignore(syscall.SIGXFSZ)
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: limit, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
			t.Error(err)
		}
	})
}

// A file has no name before Commit and no trace after Discard; a deferred Discard after Commit does nothing.
func TestPending(t *testing.T) {
	r := rootWith(t, map[string]string{"/d/keep": ""})
	begin := func() *Pending {
		t.Helper()
		p, err := r.Create("/d/file", 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Write([]byte("part")); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Lstat("/d/file"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("before Commit: %v, want no file", err)
		}
		return p
	}
	begin().Discard()
	wantNames(t, r, "/d", "keep")
	p := begin()
	if err := p.Commit(); err != nil {
		t.Fatal(err)
	}
	p.Discard()
	wantFile(t, r, "/d/file", "part", 0o600)
	wantNames(t, r, "/d", "file", "keep")
}

// Whoever reads while a file is written sees all of the old content or all of the new.
func TestReadersNeverSeeHalf(t *testing.T) {
	r := rootWith(t, map[string]string{"/file": ""})
	contents := [][]byte{bytes.Repeat([]byte("a"), 1<<18), bytes.Repeat([]byte("b"), 1<<18)}
	if err := r.WriteFile("/file", contents[0], 0o600); err != nil {
		t.Fatal(err)
	}
	written := make(chan error)
	go func() {
		for i := range 20 {
			if err := r.WriteFile("/file", contents[(i+1)%2], 0o600); err != nil {
				written <- err
				return
			}
		}
		written <- nil
	}()
	for {
		data, err := r.ReadFile("/file")
		if err != nil || !bytes.Equal(data, contents[0]) && !bytes.Equal(data, contents[1]) {
			t.Fatalf("read %d bytes, %v: neither the old content nor the new", len(data), err)
		}
		select {
		case err := <-written:
			if err != nil {
				t.Fatal(err)
			}
			return
		default:
		}
	}
}

// The directory that is asked for gets the mode, parents can be passed by everybody who may, and what is there stays.
func TestMkdirAll(t *testing.T) {
	r := rootWith(t, map[string]string{"/there/file": "", "/link": "->/there"})
	withUmask(t, 0o077)
	if err := os.Chmod(filepath.Join(r.Root(), "there"), 0o711); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]fs.FileMode{"/a/b/private": 0o700, "/a/public": 0o755, "/there": 0o700, "/link/new": 0o750} {
		if err := r.MkdirAll(name, mode); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	want := map[string]fs.FileMode{
		"/a": 0o755, "/a/b": 0o755, "/a/b/private": 0o700, "/a/public": 0o755, "/there": 0o711, "/there/new": 0o750,
	}
	for name, mode := range want {
		if info, err := os.Lstat(filepath.Join(r.Root(), name)); err != nil || info.Mode() != mode|fs.ModeDir {
			t.Errorf("%s: %v, %v; want %v", name, info, err, mode)
		}
	}
	for _, name := range []string{"/there/file", "/there/file/below"} {
		if err := r.MkdirAll(name, 0o755); !errors.Is(err, syscall.ENOTDIR) {
			t.Errorf("%s: %v, want %v: a file is in the way", name, err, syscall.ENOTDIR)
		}
	}
	wantFile(t, r, "/there/file", "", 0o644)
}
