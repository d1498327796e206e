package host

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// rootWith makes a root directory: content by path, and links where the content begins with "->".
func rootWith(t *testing.T, files map[string]string) *Rooted {
	t.Helper()
	root := filepath.Join(t.TempDir(), "root")
	for name, content := range files {
		p := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		target, link := strings.CutPrefix(content, "->")
		var err error
		if link {
			err = os.Symlink(target, p)
		} else {
			err = os.WriteFile(p, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return At(root)
}

// Links of a system that lies below a root must lead where they would if it ran, and never out of it.
func TestLinksStayBelowTheRoot(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(outside, []byte("outside"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := rootWith(t, map[string]string{
		"/etc/real":      "inside",
		"/a/relative":    "->../etc/real",
		"/a/absolute":    "->/etc/real",
		"/a/climbs":      "->../../../../../../etc/real",
		"/a/chain":       "->chain2",
		"/a/chain2":      "->/a/chain3",
		"/a/chain3":      "->../etc/./real",
		"/a/out":         "->" + outside,
		"/a/out-climb":   "->../../../../../../../.." + outside,
		"/a/root":        "->/",
		"/a/missing":     "->/nowhere/file",
		"/a/self":        "->self",
		"/a/ping":        "->/a/pong",
		"/a/pong":        "->ping",
		"/a/grows":       "->grows/x",
		"/dir":           "->/etc",
		"/deep/dir":      "->../dir",
		"/deep/dir-back": "->../dir/../etc",
	})
	cases := []struct {
		name, real, content string
		resolve             error
		open                error
	}{
		{name: "/etc/real", real: "/etc/real", content: "inside"},
		{name: "etc/real", real: "/etc/real", content: "inside"},
		{name: "/../../etc/real", real: "/etc/real", content: "inside"},
		{name: "//etc//./real", real: "/etc/real", content: "inside"},
		{name: "/a/relative", real: "/etc/real", content: "inside"},
		{name: "/a/absolute", real: "/etc/real", content: "inside"},
		{name: "/a/climbs", real: "/etc/real", content: "inside"},
		{name: "/a/chain", real: "/etc/real", content: "inside"},
		{name: "/dir/real", real: "/etc/real", content: "inside"},
		{name: "/deep/dir/real", real: "/etc/real", content: "inside"},
		{name: "/deep/dir-back/real", real: "/etc/real", content: "inside"},
		{name: "/a/root/a/root/etc/real", real: "/etc/real", content: "inside"},
		{name: "/a/out", real: outside, open: fs.ErrNotExist},
		{name: "/a/out-climb", real: outside, open: fs.ErrNotExist},
		{name: "/a/missing", real: "/nowhere/file", open: fs.ErrNotExist},
		{name: "/no/such/file", real: "/no/such/file", open: fs.ErrNotExist},
		{name: "/etc/real/below-a-file", real: "/etc/real/below-a-file", open: syscall.ENOTDIR},
		{name: "/a/self", resolve: ErrLoop, open: ErrLoop},
		{name: "/a/ping", resolve: ErrLoop, open: ErrLoop},
		{name: "/a/ping/x", resolve: ErrLoop, open: ErrLoop},
		{name: "/a/grows", resolve: ErrLoop, open: ErrLoop},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			real, err := r.RealPath(c.name)
			if real != c.real || !errors.Is(err, c.resolve) {
				t.Errorf("RealPath: %q, %v; want %q, %v", real, err, c.real, c.resolve)
			}
			wantError(t, r, c.name, c.open)
			if c.open != nil {
				return
			}
			f, err := r.Open(c.name)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if data, err := io.ReadAll(f); err != nil || string(data) != c.content {
				t.Errorf("Open: read %q, %v; want %q", data, err, c.content)
			}
		})
	}
}

// wantError asks every reader for name. Errors name what the caller asked for, not where it lies on this machine.
func wantError(t *testing.T, r *Rooted, name string, want error) {
	t.Helper()
	f, openErr := r.Open(name)
	if openErr == nil {
		_ = f.Close()
	}
	_, readErr := r.ReadFile(name)
	_, statErr := r.Stat(name)
	for what, err := range map[string]error{"Open": openErr, "ReadFile": readErr, "Stat": statErr} {
		if !errors.Is(err, want) {
			t.Errorf("%s: error %v, want %v", what, err, want)
		}
		if err != nil && (strings.Contains(err.Error(), r.Root()) || !strings.Contains(err.Error(), name)) {
			t.Errorf("%s: %q should name %s and not %s", what, err, name, r.Root())
		}
	}
}

// As many links as the kernel follows are followed, and one more is a loop (path_resolution(7): 40).
func TestLinkLimitIsTheKernels(t *testing.T) {
	files := map[string]string{"/0": "end"}
	for i := 1; i <= maxLinks+1; i++ {
		files[fmt.Sprintf("/%d", i)] = fmt.Sprintf("->%d", i-1)
	}
	r := rootWith(t, files)
	for _, c := range []struct {
		links int
		want  error
	}{{maxLinks, nil}, {maxLinks + 1, ErrLoop}} {
		name := fmt.Sprintf("/%d", c.links)
		if _, err := r.ReadFile(name); !errors.Is(err, c.want) {
			t.Errorf("%d links: %v, want %v", c.links, err, c.want)
		}
		_, kernel := os.ReadFile(filepath.Join(r.Root(), name))
		if errors.Is(kernel, syscall.ELOOP) != (c.want != nil) {
			t.Errorf("%d links: the kernel says %v, we say %v", c.links, kernel, c.want)
		}
	}
}

// Lstat, Readlink and Remove are about the link, and the links before it are followed inside the root all the same.
func TestLinksThemselves(t *testing.T) {
	r := rootWith(t, map[string]string{"/etc/real": "x", "/etc/link": "->/etc/real", "/dir": "->/etc"})
	if info, err := r.Lstat("/dir/link"); err != nil || info.Mode().Type() != fs.ModeSymlink {
		t.Errorf("Lstat: %v, %v; want a link", info, err)
	}
	if target, err := r.Readlink("/dir/link"); err != nil || target != "/etc/real" {
		t.Errorf("Readlink: %q, %v", target, err)
	}
	if entries, err := r.ReadDir("/dir"); err != nil || len(entries) != 2 {
		t.Errorf("ReadDir: %v, %v; want 2 names", entries, err)
	}
	if err := r.Remove("/dir/link"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Lstat("/etc/link"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the link is still there: %v", err)
	}
	if data, err := r.ReadFile("/etc/real"); err != nil || string(data) != "x" {
		t.Errorf("the link's target: %q, %v", data, err)
	}
	if err := r.Remove("/dir/link"); err != nil {
		t.Errorf("removing what is gone: %v, want no error", err)
	}
}

// A device below another root must not be opened on the machine that runs us.
func TestOpenDeviceIsBelowTheRoot(t *testing.T) {
	r := rootWith(t, map[string]string{"/dev/console": "old", "/dev/link": "->/dev/console"})
	w, err := r.OpenDevice("/dev/link")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, "new"); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if data, err := r.ReadFile("/dev/console"); err != nil || string(data) != "new" {
		t.Errorf("device: %q, %v", data, err)
	}
	if _, err := r.OpenDevice("/dev/null"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a device that is only on this machine: %v, want %v", err, fs.ErrNotExist)
	}
}

// What the machine is comes from below the root, too.
func TestMachineIsOfTheRoot(t *testing.T) {
	if got := rootWith(t, map[string]string{"/proc/sys/kernel/arch": "armv7l\n"}).Machine(); got != "armv7l" {
		t.Errorf("machine %q, want armv7l", got)
	}
	if got := rootWith(t, map[string]string{"/x": ""}).Machine(); got != "" {
		t.Errorf("machine %q of a root that does not say, want none", got)
	}
	if got := At("/").Machine(); got == "" {
		t.Error("the running system has no machine name")
	}
	space, err := At(t.TempDir()).Space("/")
	if err != nil || space.Total < space.Free || space.Free <= 0 {
		t.Errorf("space %+v, %v", space, err)
	}
	if !At("/").Alive(os.Getpid()) || At("/").Alive(1<<22+1) {
		t.Error("alive: want this process to be, and a pid beyond the kernel's largest not")
	}
}
