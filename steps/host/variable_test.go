package host_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/balena-community/balena-migrate/steps/host"
)

// TestVariables: what is written replaces all that was there, in place and under no other name, through the immutable
// flag that efivarfs gives its files.
func TestVariables(t *testing.T) {
	dir := t.TempDir()
	h := host.At(dir)
	file := filepath.Join(dir, "v")
	check := func(want string) {
		t.Helper()
		got, err := os.ReadFile(file)
		entries, dirErr := os.ReadDir(dir)
		if err != nil || dirErr != nil || string(got) != want || len(entries) != 1 {
			t.Errorf("%q %v, want %q in one file of %v", got, err, want, entries)
		}
	}
	for _, text := range []string{"a long value", "short"} {
		if err := h.WriteVariable("/v", []byte(text)); err != nil {
			t.Fatal(err)
		}
		check(text)
		protect(t, file)
	}
	protect(t, file)
	for range 2 { // the second time there is none
		if err := h.RemoveVariable("/v"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("still there: %v", err)
	}
}

// protect sets the flag where the file system knows it and the caller may.
func protect(t *testing.T, file string) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	flags, err := unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags|0x10)
	}
	t.Logf("immutable: %v", err == nil)
	t.Cleanup(func() { _ = host.At("/").RemoveVariable(file) })
}
