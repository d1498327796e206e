package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps/host"
	"github.com/balena-community/balena-migrate/steps/host/hosttest"
)

// loop makes a disk of the kernel's own out of a file of so many bytes, all of them 0xee, and returns both names.
func loop(t *testing.T, size int, options ...string) (device, file string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("not root: writing to disks is tested on a loop device, which takes root rights (run it with sudo)")
	}
	file = filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(file, bytes.Repeat([]byte{0xee}, size), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("losetup", append(append([]string{"--find", "--show"}, options...), file)...).CombinedOutput()
	if err != nil {
		t.Fatalf("losetup: %v: %s", err, out)
	}
	device = strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if out, err := exec.Command("losetup", "--detach", device).CombinedOutput(); err != nil {
			t.Errorf("losetup --detach %s: %v: %s", device, err, out)
		}
	})
	return device, file
}

// write runs image write with --json and returns the exit code and the document.
func write(t *testing.T, args ...string) (int, string) {
	t.Helper()
	var out, errs bytes.Buffer
	code := run(append([]string{"image", "write", "--json"}, args...), terminal{in: strings.NewReader(""), out: &out, err: &errs})
	return code, out.String()
}

func imageFile(t *testing.T) (string, []byte) {
	t.Helper()
	data := hosttest.Image(t)
	name := filepath.Join(t.TempDir(), "balena.img")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return name, data
}

func wantContent(t *testing.T, file string, want []byte) {
	t.Helper()
	if got, err := os.ReadFile(file); err != nil || !bytes.HasPrefix(got, want) {
		t.Errorf("%s does not begin with what was expected: %v", file, err)
	}
}

// A disk is written past the page cache, when it was named twice.
func TestImageWriteToADisk(t *testing.T) {
	img, want := imageFile(t)
	size := len(want) + 4<<20
	device, file := loop(t, size)
	code, out := write(t, "--yes", "--size", strconv.Itoa(size), img, device)
	doc := &schema.ImageWrite{}
	if err := schema.Decode([]byte(out), "out", "image-write", doc); err != nil || code != exitConverged {
		t.Fatalf("exit code %d, %v: %s", code, err, out)
	}
	if doc.RawSize != int64(len(want)) || doc.DiskSize != int64(size) || doc.Disk != device {
		t.Errorf("%+v", doc)
	}
	wantContent(t, file, want)
	if rest, err := os.ReadFile(file); err != nil || !bytes.Equal(rest[len(want):], bytes.Repeat([]byte{0xee}, 4<<20)) {
		t.Errorf("something behind the image was written: %v", err)
	}
}

// Each disk that is not certain to be meant is refused, with its reason, and not a byte of it changes.
func TestImageWriteRefusesDisks(t *testing.T) {
	img, want := imageFile(t)
	size := strconv.Itoa(len(want) + 4<<20)
	cases := map[string]struct {
		args    []string
		options []string
		size    int
		prepare func(t *testing.T, device string)
		code    int
		want    string
	}{
		"no confirmation": {code: exitBlocked, want: "a confirmation"},
		"yes alone":       {args: []string{"--yes"}, code: exitBlocked, want: "--size " + size},
		"another size":    {args: []string{"--yes", "--size", "4096"}, code: exitBlocked, want: "4096 bytes"},
		"another serial":  {args: []string{"--yes", "--serial", "X1"}, code: exitBlocked, want: "serial number X1"},
		"too small":       {args: []string{"--yes", "--size", strconv.Itoa(1 << 20)}, size: 1 << 20, code: exitBlocked, want: "at least the"},
		"write-protected": {args: []string{"--yes", "--size", size}, options: []string{"--read-only"}, code: exitBlocked, want: "write-protected"},
		"taken": {args: []string{"--yes", "--size", size}, code: exitFailed, want: "is in use", prepare: func(t *testing.T, device string) {
			d, err := host.Linux{}.OpenDisk(device)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = d.Close() })
		}},
		"mounted": {args: []string{"--yes", "--size", size}, code: exitBlocked, want: "is mounted on", prepare: func(t *testing.T, device string) {
			if out, err := exec.Command("mkfs.ext4", "-q", "-F", device).CombinedOutput(); err != nil {
				t.Fatalf("mkfs.ext4: %v: %s", err, out)
			}
			point := t.TempDir()
			if err := (host.Linux{}).Mount(device, point, "ext4", "", true); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := (host.Linux{}).Unmount(point); err != nil {
					t.Error(err)
				}
			})
		}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if c.size == 0 {
				c.size = len(want) + 4<<20
			}
			device, file := loop(t, c.size, c.options...)
			if c.prepare != nil {
				c.prepare(t, device)
			}
			before, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			code, out := write(t, append(c.args, img, device)...)
			if code != c.code || !strings.Contains(out, c.want) {
				t.Errorf("exit code %d, want %d and %q: %s", code, c.code, c.want, out)
			}
			if err := schema.Decode([]byte(out), "out", "result", &schema.Result{}); err != nil {
				t.Error(err)
			}
			wantContent(t, file, before)
		})
	}
}

// A partition is no disk.
func TestImageWriteRefusesPartitions(t *testing.T) {
	img, _ := imageFile(t)
	device, _ := loop(t, 8<<20, "--partscan")
	if out, err := exec.Command("addpart", device, "1", "2048", "4096").CombinedOutput(); err != nil {
		t.Fatalf("addpart: %v: %s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("delpart", device, "1").Run() })
	if code, out := write(t, "--yes", "--size", "2097152", img, device+"p1"); code != exitBlocked || !strings.Contains(out, "is a partition") {
		t.Errorf("exit code %d: %s", code, out)
	}
}

// An image that turns out to be rotten on the way leaves a disk that nothing boots from, neither its beginning nor the
// second table at its end.
func TestImageWriteDestroysHalfOfAnImage(t *testing.T) {
	img, want := imageFile(t)
	packed, err := exec.Command("gzip", "-c", img).Output()
	if err != nil {
		t.Fatal(err)
	}
	packed[len(packed)-6] ^= 1 // the checksum at the end: all has been written by then
	bad := img + ".gz"
	if err := os.WriteFile(bad, packed, 0o600); err != nil {
		t.Fatal(err)
	}
	size := len(want) + 4<<20
	device, file := loop(t, size)
	code, out := write(t, "--yes", "--size", strconv.Itoa(size), bad, device)
	if code != exitFailed || !strings.Contains(out, "was destroyed, so that nothing boots") {
		t.Errorf("exit code %d: %s", code, out)
	}
	got, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(got[:tableRoom], make([]byte, tableRoom)) || !bytes.Equal(got[size-tableRoom:], make([]byte, tableRoom)) {
		t.Errorf("the ends of the disk are not zero: %v", err)
	}
}

// A person types the name of the disk; nothing else is a yes.
func TestAsk(t *testing.T) {
	target := &diskTarget{name: "/dev/sdb", block: true, disk: schema.Disk{Model: "Card Reader", Serial: "S123", Size: 32e9}}
	for answer, want := range map[string]bool{"sdb\n": true, " sdb \n": true, "y\n": false, "yes\n": false, "sda\n": false, "": false, "sdb": false, "\n": false} {
		var asked bytes.Buffer
		if got := ask(strings.NewReader(answer), &asked, target); got != want {
			t.Errorf("%q: %v", answer, got)
		}
		for _, part := range []string{"Card Reader", "S123", "32.0 GB", "/dev/sdb", "will be lost"} {
			if !strings.Contains(asked.String(), part) {
				t.Errorf("asked %q, want %q in it", asked.String(), part)
			}
		}
	}
}
