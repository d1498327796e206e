package host

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// Attributes are the file's own, also through links in its path, and never those of what a link leads to.
func TestXattrs(t *testing.T) {
	dir := t.TempDir()
	r := At(dir)
	for _, err := range []error{
		os.Mkdir(dir+"/d", 0o755), os.WriteFile(dir+"/d/f", nil, 0o644), os.WriteFile(dir+"/plain", nil, 0o644),
		os.Symlink("/d", dir+"/to-d"), os.Symlink("d/f", dir+"/to-f"),
		unix.Setxattr(dir+"/d/f", "user.one", []byte("1\x002\n"), 0), unix.Setxattr(dir+"/d/f", "user.empty", nil, 0),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]string{"user.one": "1\x002\n", "user.empty": ""}
	for name, want := range map[string]map[string]string{"/d/f": want, "/to-d/f": want, "/plain": {}, "/to-f": {}, "/d": {}} {
		got, err := r.Xattrs(name)
		delete(got, "security.selinux") // where there is one, every file has it
		if err != nil || !maps.Equal(got, want) {
			t.Errorf("%s: %q, %v; expected %q", name, got, err, want)
		}
	}
	var pe *fs.PathError
	if _, err := r.Xattrs("/none"); !errors.Is(err, fs.ErrNotExist) || !errors.As(err, &pe) || pe.Path != "/none" {
		t.Errorf("missing file: %v", err)
	}
	if got, err := At("/").Xattrs("/proc/self/stat"); err != nil || len(got) > 1 {
		t.Errorf("a file system without attributes: %q, %v", got, err)
	}
}
