package host

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// A file is a disk of whole sectors, for one writer at a time; zeros in it are holes.
func TestFileDisk(t *testing.T) {
	name := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := OpenFileDisk(name, 1<<20+1)
	if err != nil {
		t.Fatal(err)
	}
	if d.Size() != 1<<20+512 || d.SectorSize() != 512 {
		t.Errorf("%d bytes in sectors of %d", d.Size(), d.SectorSize())
	}
	if _, err := OpenFileDisk(name, 0); !errors.Is(err, syscall.EWOULDBLOCK) {
		t.Errorf("a second writer: %v, want %v", err, syscall.EWOULDBLOCK)
	}
	if _, err := d.WriteAt(bytes.Repeat([]byte{1}, 1<<20), 0); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(d.ZeroRange(4096, 1<<19), d.Flush(), d.RereadTable(), d.Close()); err != nil {
		t.Fatal(err)
	}
	want := bytes.Repeat([]byte{1}, 1<<20)
	clear(want[4096 : 4096+1<<19])
	if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, append(want, make([]byte, 512)...)) {
		t.Errorf("other bytes in the file, %v", err)
	}
	var st syscall.Stat_t
	if err := syscall.Stat(name, &st); err != nil || st.Blocks*512 > 1<<20-1<<18 {
		t.Errorf("%d bytes on the disk: no hole was made, %v", st.Blocks*512, err)
	}
	if d, err = OpenFileDisk(name, 5); err != nil || d.Size() != 1<<20+512 {
		t.Fatalf("a file that has a size changed it: %v", err)
	}
	_ = d.Close()
	for _, bad := range []string{filepath.Dir(name), "/dev/null", name + "-missing"} {
		if _, err := OpenFileDisk(bad, 1); err == nil {
			t.Errorf("%s: opened", bad)
		}
	}
}
