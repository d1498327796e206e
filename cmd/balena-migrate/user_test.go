package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/balena-community/balena-migrate/schema"
)

// nobody is the user without rights.
const nobody = 65534

// A user without root rights is told so by every step that would need them, in one document, and nothing is written:
// what may not be read must not count as what is not there (S5).
func TestNoRootRights(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("not root: to become another user takes root rights (run it with sudo)")
	}
	dir := t.TempDir()
	for d := dir; d != filepath.Clean(os.TempDir()); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	program, work := buildProgram(t, dir), filepath.Join(dir, "work")
	for _, name := range stepNames() {
		cmd := exec.Command(program, "step", name, "--json", "--work-dir", work)
		cmd.Dir = dir
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		out, err := cmd.Output()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != exitBlocked {
			t.Errorf("%s: %v, want exit code %d", name, err, exitBlocked)
		}
		res := schema.NewResult("")
		if err := schema.Decode(out, name, "result", res); err != nil {
			t.Fatal(err)
		}
		lacksRoot := func(b schema.Blocked) bool { return b.Check == "root" && b.Remedy == "run it as root, e.g. with sudo" }
		if name != "prepare-image" && !slices.ContainsFunc(res.Blocked, lacksRoot) {
			t.Errorf("%s: blocked by %v, want the missing rights", name, res.Blocked)
		}
	}
	if _, err := os.Lstat(work); err == nil {
		t.Errorf("%s was written", work)
	}
}
