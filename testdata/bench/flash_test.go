// Package bench puts the flash engine beside what else there is to write an image: real programs, the same image, the same
// disk, one run. `make bench` prints the table.
package bench

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/goccy/go-json"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/flashimage"
)

const (
	mib        = 1 << 20
	imageSize  = 1536 * mib // a third of it is data
	dataRun    = 32 * mib
	diskSize   = 2048 * mib
	fastRounds = 2
	limit      = 40_000_000 // of the slow disk, bytes/s
)

// material is one image in the forms that the tools want.
type material struct {
	dir, program    string
	raw, gzip, bmap string
	data            int64
}

// tool writes the image to a disk.
type tool struct {
	name string
	argv func(m *material, disk string) []string
}

func tools() []tool {
	return []tool{
		{"gzip -dc | dd bs=4M conv=fsync", func(m *material, disk string) []string {
			return []string{"sh", "-c", "gzip -dc " + m.gzip + " | dd of=" + disk + " bs=4M conv=fsync status=none"}
		}},
		{"bmaptool copy --nobmap", func(m *material, disk string) []string {
			return []string{"bmaptool", "-q", "copy", "--nobmap", m.gzip, disk}
		}},
		{"bmaptool copy with its map", func(m *material, disk string) []string {
			return []string{"bmaptool", "-q", "copy", "--bmap", m.bmap, m.gzip, disk}
		}},
		{"balena-migrate image write", func(m *material, disk string) []string {
			return []string{m.program, "image", "write", "--json", "--yes", "--size", strconv.Itoa(diskSize), m.gzip, disk}
		}},
	}
}

// TestFlashTable writes the table, and fails where the engine is slower than was promised.
func TestFlashTable(t *testing.T) {
	m := prepare(t)
	slow := measure(t, m, 1, func(t *testing.T) (string, string) { return throttled(t, m.dir) })
	fast := measure(t, m, fastRounds, func(t *testing.T) (string, string) { return inMemory(t, m.dir) })
	fmt.Printf("\n%d MiB image, %d MiB of it data (files of this system), %d MiB packed; two cores; best of %d without the limit\n\n",
		imageSize/mib, m.data/mib, size(t, m.gzip)/mib, fastRounds)
	fmt.Printf("| | disk of %d MB/s | of the limit | loop disk in memory |\n|---|---|---|---|\n", limit/1_000_000)
	for i, tool := range tools() {
		fmt.Printf("| `%s` | %.1f s | %.0f %% | %.2f s |\n", strings.ReplaceAll(tool.name, "|", `\|`), slow[i].write, 100*m.ideal()/slow[i].write, fast[i].write)
	}
	ours, theirs, seed := len(slow)-1, len(slow)-2, 0
	fmt.Printf("| its read-back, apart | %.1f s | | %.2f s |\n\n", slow[ours].readBack, fast[ours].readBack)
	fmt.Printf("Memory of `%s` at its peak: %d MiB.\n\n", tools()[ours].name, fast[ours].memory/mib)
	expect := func(what string, got, want float64) {
		fmt.Printf("%s: %.2f (at least %.2f)\n", what, got, want)
		if got < want {
			t.Errorf("%s: %.2f, expected at least %.2f", what, got, want)
		}
	}
	expect("limited, times the seed", slow[seed].write/slow[ours].write, 3)
	expect("limited, part of the limit", m.ideal()/slow[ours].write, 0.95)
	expect("unlimited, times the seed", fast[seed].write/fast[ours].write, 4)
	expect("unlimited, times bmaptool with its map", fast[theirs].write/fast[ours].write, 1.3)
}

// ideal is how long the data takes at the limit, in seconds.
func (m *material) ideal() float64 { return float64(m.data) / limit }

// timing is in seconds. Reading back is only ours, and apart.
type timing struct {
	write, readBack float64
	memory          int64 // at its peak, in bytes; of sh, not of what it starts
}

// measure runs the tools by turns, each time on a disk of its own, and keeps the best of each.
func measure(t *testing.T, m *material, rounds int, disk func(t *testing.T) (device, file string)) []timing {
	t.Helper()
	best := make([]timing, len(tools()))
	for range rounds {
		for i, tool := range tools() {
			t.Run(tool.name, func(t *testing.T) {
				device, file := disk(t)
				got := m.run(t, tool, device)
				m.holds(t, file)
				t.Logf("%.2f s, read back in %.2f s", got.write, got.readBack)
				if best[i].write == 0 || got.write < best[i].write {
					best[i] = got
				}
			})
		}
	}
	for i := range best { // a run that failed has none
		if best[i].write == 0 {
			t.Fatalf("%s was not measured", tools()[i].name)
		}
	}
	return best
}

// run times one program on two processors.
func (m *material) run(t *testing.T, tool tool, disk string) timing {
	t.Helper()
	cmd := exec.Command("taskset", append([]string{"-c", "0,1"}, tool.argv(m, disk)...)...)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	syscall.Sync()
	start := time.Now()
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s%s", tool.name, err, out.String(), errs.String())
	}
	got := timing{write: time.Since(start).Seconds()}
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		got.memory = usage.Maxrss << 10
	}
	if strings.HasPrefix(out.String(), "{") {
		var doc schema.ImageWrite
		if err := json.Unmarshal([]byte(out.String()), &doc); err != nil {
			t.Fatal(err)
		}
		got.readBack = doc.ReadBack
		got.write -= doc.ReadBack
	}
	return got
}

// holds compares what is below the disk with the image, by a program that is not ours.
func (m *material) holds(t *testing.T, file string) {
	t.Helper()
	if out, err := exec.Command("cmp", "-n", strconv.Itoa(imageSize), m.raw, file).CombinedOutput(); err != nil {
		t.Errorf("the disk is not the image: %v: %s", err, out)
	}
}

// prepare makes the image out of files of this system, in runs between holes, packs it and maps it.
func prepare(t *testing.T) *material {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("not root: loop devices take root rights (run it with sudo)")
	}
	m := &material{dir: workDir(t)}
	m.program, m.raw = filepath.Join(m.dir, "balena-migrate"), filepath.Join(m.dir, "image")
	m.gzip, m.bmap = m.raw+".gz", m.raw+".bmap"
	must(t, "go", "build", "-o", m.program, "../../cmd/balena-migrate")
	m.data = writeRaw(t, m.raw)
	must(t, "bmaptool", "-q", "create", "-o", m.bmap, m.raw)
	in, err := os.Open(m.raw)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(m.gzip)
	if err != nil {
		t.Fatal(err)
	}
	index, err := flashimage.Encode(context.Background(), out, in, flashimage.Options{})
	if err != nil {
		t.Fatal(err)
	}
	text, err := schema.Encode(index)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(m.raw+".index.json", text, 0o600); err != nil {
		t.Fatal(err)
	}
	if index.DataSize() != m.data {
		t.Fatalf("%d bytes of data in the index, %d were written", index.DataSize(), m.data)
	}
	return m
}

// workDir is in memory where there is room, so that the loop disk is as fast as a drive can be.
func workDir(t *testing.T) string {
	t.Helper()
	var st syscall.Statfs_t
	if err := syscall.Statfs("/dev/shm", &st); err != nil || int64(st.Bavail)*st.Bsize < 6<<30 {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp("/dev/shm", "balena-migrate-bench")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// writeRaw fills one run in three, and begins like a disk.
func writeRaw(t *testing.T, name string) int64 {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(imageSize); err != nil {
		t.Fatal(err)
	}
	src := bufio.NewReaderSize(&systemFiles{t: t}, mib)
	var n int64
	for off := int64(0); off < imageSize; off += 3 * dataRun {
		w := io.NewOffsetWriter(f, off)
		if _, err := io.CopyN(w, src, dataRun); err != nil {
			t.Fatal(err)
		}
		n += dataRun
	}
	if _, err := f.WriteAt([]byte{0x55, 0xaa}, 510); err != nil {
		t.Fatal(err)
	}
	return n
}

// systemFiles reads the files below /usr one after the other, without zeros, which would be holes.
type systemFiles struct {
	t     *testing.T
	names []string
	f     *os.File
}

func (s *systemFiles) Read(p []byte) (int, error) {
	for {
		if s.f != nil {
			n, err := s.f.Read(p)
			if n > 0 {
				return noHole(p[:n]), nil
			}
			s.f.Close()
			if s.f = nil; err != io.EOF {
				return 0, err
			}
		}
		if len(s.names) == 0 {
			s.list()
		}
		var err error
		if s.f, err = os.Open(s.names[0]); err != nil {
			return 0, err
		}
		s.names = s.names[1:]
	}
}

// noHole marks each page, so that none is all zeros.
func noHole(p []byte) int {
	for i := 0; i < len(p); i += 4096 {
		p[i] |= 1
	}
	return len(p)
}

func (s *systemFiles) list() {
	for _, dir := range []string{"/usr/bin", "/usr/lib", "/usr/sbin"} {
		err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
			if err == nil && e.Type().IsRegular() {
				s.names = append(s.names, name)
			}
			return err
		})
		if err != nil {
			s.t.Fatal(err)
		}
	}
}

func size(t *testing.T, name string) int64 {
	t.Helper()
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

func must(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// inMemory makes a disk out of an empty file, as fast as the directory is.
func inMemory(t *testing.T, dir string) (device, file string) {
	t.Helper()
	name := filepath.Join(dir, "disk")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(name, diskSize); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(name) })
	return loop(t, name, "on"), name
}

// loop makes a disk of the kernel's own out of a file.
func loop(t *testing.T, file, direct string) string {
	t.Helper()
	out, err := exec.Command("losetup", "--find", "--show", "--direct-io="+direct, file).Output()
	if err != nil {
		out, err = exec.Command("losetup", "--find", "--show", file).Output()
	}
	if err != nil {
		t.Fatalf("losetup: %v", err)
	}
	device := strings.TrimSpace(string(out))
	t.Cleanup(func() { must(t, "losetup", "--detach", device) })
	return device
}
