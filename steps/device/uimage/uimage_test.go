package uimage

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// mkimage wraps data as U-Boot's own program does.
func mkimage(t *testing.T, data []byte) []byte {
	t.Helper()
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	if err := os.WriteFile(in, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if text, err := exec.Command("mkimage", "-A", "arm", "-O", "linux", "-T", "ramdisk", "-C", "gzip", "-n", "uInitrd", "-d", in, out).CombinedOutput(); err != nil {
		t.Fatalf("mkimage: %v: %s", err, text)
	}
	wrapped, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return wrapped
}

// TestWrap: what is in U-Boot's own wrapping comes out, and what we wrap its own program takes for whole.
func TestWrap(t *testing.T) {
	head, inner, err := Open(mkimage(t, []byte("the host's")))
	if err != nil || string(inner) != "the host's" || head == nil {
		t.Fatalf("%q, %v", inner, err)
	}
	file := filepath.Join(t.TempDir(), "ours")
	if err := os.WriteFile(file, head.Wrap([]byte("the host's and ours")), 0o600); err != nil {
		t.Fatal(err)
	}
	text, err := exec.Command("mkimage", "-l", file).CombinedOutput()
	if err != nil || !bytes.Contains(text, []byte("ARM Linux RAMDisk Image (uncompressed)")) || !bytes.Contains(text, []byte("19 Bytes")) {
		t.Errorf("%v: %s", err, text)
	}
	if _, inner, err = Open(head.Wrap([]byte("the host's and ours"))); err != nil || string(inner) != "the host's and ours" {
		t.Errorf("%q, %v", inner, err)
	}
}

func TestBare(t *testing.T) {
	for _, data := range []string{"", "070701", "\x1f\x8b" + string(make([]byte, 100))} {
		head, inner, err := Open([]byte(data))
		if err != nil || string(inner) != data || string(head.Wrap(inner)) != data {
			t.Errorf("%q: %q, %v", data, inner, err)
		}
	}
}

func TestDamaged(t *testing.T) {
	whole := mkimage(t, []byte("the host's"))
	for n := range whole {
		if n < 4 { // no longer wrapped at all
			continue
		}
		bad := bytes.Clone(whole)
		bad[n] ^= 0x10
		if _, _, err := Open(bad); err == nil {
			t.Errorf("byte %d is damaged, and nothing is said", n)
		}
	}
	if _, _, err := Open(whole[:len(whole)-1]); err == nil {
		t.Error("cut short, and nothing is said")
	}
}

func FuzzOpen(f *testing.F) {
	f.Add([]byte("\x27\x05\x19\x56"))
	f.Add(append([]byte("\x27\x05\x19\x56"), make([]byte, 80)...))
	f.Fuzz(func(t *testing.T, data []byte) {
		head, inner, err := Open(data)
		if err != nil {
			return
		}
		again, got, err := Open(head.Wrap(inner))
		if err != nil || !bytes.Equal(got, inner) || (again == nil) != (head == nil) {
			t.Errorf("%q, %v, want %q", got, err, inner)
		}
	})
}
