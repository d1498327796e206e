// Package hosttest is a machine for tests: a real directory tree as its root, and a script for everything that is
// not a file. What the script does not name fails the test.
package hosttest

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/balena-community/balena-migrate/steps/host"
)

// Host is host.Host on a temporary directory. Set its fields before use.
type Host struct {
	*host.Rooted
	t testing.TB
	// MachineName is what uname -m says; Unprivileged makes it a machine without root rights.
	MachineName  string
	Unprivileged bool
	// FreeBytes, when not 0, is the free space of every file system.
	FreeBytes int64
	// Reachable are the addresses that accept a connection.
	Reachable []string
	// Commands maps each expected command line to what it does; one that is not there fails the test.
	Commands map[string]func() error
	// Spawned are the command lines that were started to outlive the process; Living are the pids that run.
	Spawned []string
	Living  []int
	// Placed scripts where files lie; without it the file system below the temporary directory is asked.
	Placed map[string][]host.Extent
	// WriteKBs is how fast the disk is measured to write, in kB/s; 0 fails the test.
	WriteKBs int64
	// Kexecs are the kernels that were loaded for kexec.
	Kexecs []host.Kexec
	// Clock is the time.
	Clock time.Time
}

// New makes a host whose files are given by path and content.
func New(t testing.TB, files map[string]string) *Host {
	t.Helper()
	h := &Host{
		Rooted: host.At(t.TempDir()), t: t, MachineName: "x86_64", Clock: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		h.Put(name, files[name])
	}
	return h
}

// Existing takes a directory tree that is there already.
func Existing(t testing.TB, root string) *Host {
	t.Helper()
	return &Host{Rooted: host.At(root), t: t, MachineName: "x86_64", Clock: time.Now()}
}

// Put writes a file and its directories.
func (h *Host) Put(name, content string) {
	h.t.Helper()
	p := filepath.Join(h.Root(), name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
		h.t.Fatal(err)
	}
}

// Link makes a symbolic link and its directories.
func (h *Host) Link(name, target string) {
	h.t.Helper()
	p := filepath.Join(h.Root(), name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := os.Symlink(target, p); err != nil {
		h.t.Fatal(err)
	}
}

// Machine implements host.Reader.
func (h *Host) Machine() string { return h.MachineName }

// Privileged implements host.Reader.
func (h *Host) Privileged() bool { return !h.Unprivileged }

// Now implements host.Reader.
func (h *Host) Now() time.Time { return h.Clock }

// Alive implements host.Reader.
func (h *Host) Alive(pid int) bool { return slices.Contains(h.Living, pid) }

// Space implements host.Reader.
func (h *Host) Space(name string) (host.Space, error) {
	if h.FreeBytes != 0 {
		return host.Space{Total: h.FreeBytes, Free: h.FreeBytes}, nil
	}
	return h.Rooted.Space(name)
}

// Extents implements host.Reader.
func (h *Host) Extents(name string) ([]host.Extent, error) {
	if h.Placed != nil {
		return h.Placed[name], nil
	}
	return h.Rooted.Extents(name)
}

// Dial implements host.Reader.
func (h *Host) Dial(_ context.Context, address string) error {
	if slices.Contains(h.Reachable, address) {
		return nil
	}
	return fmt.Errorf("connect to %s: %w", address, fs.ErrNotExist)
}

// Fetch implements host.Reader. Only servers of the test itself are asked, which listen on loopback.
func (h *Host) Fetch(ctx context.Context, q host.Request) (*http.Response, error) {
	u, err := url.Parse(q.URL)
	if err != nil || !net.ParseIP(u.Hostname()).IsLoopback() {
		h.t.Errorf("request that no test expects: %s", host.Shown(q.URL))
		return nil, fs.ErrNotExist
	}
	return h.Rooted.Fetch(ctx, q)
}

// MeasureWrite implements host.Host.
func (h *Host) MeasureWrite(_ context.Context, _ string, size int64, _ time.Duration) (int64, time.Duration, error) {
	if h.WriteKBs == 0 {
		h.t.Error("a measurement that no test expects")
		return 0, 0, fs.ErrNotExist
	}
	return size, time.Duration(size/h.WriteKBs) * time.Millisecond, nil
}

// Run implements host.Host.
func (h *Host) Run(_ context.Context, cmd host.Cmd) error {
	do, ok := h.Commands[cmd.String()]
	if !ok {
		h.t.Errorf("command that no test expects: %s", cmd)
		return fs.ErrNotExist
	}
	return do()
}

// Spawn implements host.Host.
func (h *Host) Spawn(cmd host.Cmd) (int, error) {
	h.Spawned = append(h.Spawned, cmd.String())
	pid := 1_000_000 + len(h.Spawned)
	h.Living = append(h.Living, pid)
	return pid, nil
}

// KexecLoad implements host.Host, and shows it in /sys as the kernel does. What is to be loaded must be there.
func (h *Host) KexecLoad(k host.Kexec) error {
	for _, name := range []string{k.Kernel, k.Initramfs} {
		if _, err := h.Stat(name); err != nil {
			return err
		}
	}
	h.Kexecs = append(h.Kexecs, k)
	h.Put(host.KexecLoaded, "1\n")
	return nil
}

// KexecUnload implements host.Host.
func (h *Host) KexecUnload() error {
	h.Put(host.KexecLoaded, "0\n")
	return nil
}
