package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// load is data to back up: files of 128 KiB, half of them noise, half of them lines of a log, and sparse files of 1 GiB
// with as many parts of 1 MiB of the same here and there.
type load struct {
	files, sparse, parts int
}

// put makes the data in dir.
func (l load) put(tb testing.TB, dir string) {
	tb.Helper()
	const size = 128 << 10
	noise := rand.NewChaCha8([32]byte{1})
	block := make([]byte, size)
	next := func(i int) []byte {
		if i%2 == 0 {
			_, _ = noise.Read(block) // it never fails
			return block
		}
		line := fmt.Sprintf("2026-01-02T03:04:05Z app[42]: measured %d.5 degrees at sensor %d\n", i%40, i%7)
		return bytes.Repeat([]byte(line), size/len(line)+1)[:size]
	}
	for i := range l.files {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("f%05d", i)), next(i), 0o644); err != nil {
			tb.Fatal(err)
		}
	}
	for i := range l.sparse {
		f, err := os.Create(filepath.Join(dir, fmt.Sprintf("s%05d", i)))
		if err != nil {
			tb.Fatal(err)
		}
		const whole = 1 << 30
		for p := range l.parts * (1 << 20) / size {
			if _, err := f.WriteAt(next(p), int64(p/8)*whole/int64(l.parts)+int64(p%8)*size); err != nil {
				tb.Fatal(err)
			}
		}
		if err := f.Truncate(whole); err != nil {
			tb.Fatal(err)
		}
		if err := f.Close(); err != nil {
			tb.Fatal(err)
		}
	}
}

// backupArgs are the arguments that back dir up below a root of its own.
func backupArgs(tb testing.TB, dir string) []string {
	tb.Helper()
	in := tb.TempDir()
	for name, text := range map[string]string{
		"m.json":     `{"schema":"migration/1","config":{"backup":{"definition":"backup.yml"}}}`,
		"backup.yml": "- volume: data\n  items:\n  - source: /data\n",
	} {
		if err := os.WriteFile(filepath.Join(in, name), []byte(text), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	return []string{"step", "backup", "--json", "--root", dir, "--work-dir", filepath.Join(in, "work"), "--input", filepath.Join(in, "m.json")}
}

// Memory does not depend on how much there is to back up, nor on how many files and how large they are.
func TestBackupMemory(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "data")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	load{files: 400, sparse: 3, parts: 8}.put(t, dir)
	for i := range 5_000 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("n%05d", i)), []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const most = 64 // MB
	if got := peakOf(t, buildProgram(t, t.TempDir()), backupArgs(t, root)); got > most {
		t.Errorf("peak %.0f MB, at most %d are allowed", got, most)
	} else {
		t.Logf("peak %.0f MB", got)
	}
}

// BenchmarkBackup measures the program against tar with gzip and with pigz, taking turns, on plain files and on 10 GiB of
// sparse ones. Of tar there are two: as it is, whose archive holds the same as ours, and with --sparse, which leaves the
// holes out; the new system's tar can't read such an archive.
func BenchmarkBackup(b *testing.B) {
	for _, c := range []struct {
		name string
		load load
	}{{"plain", load{files: 2048}}, {"sparse", load{files: 512, sparse: 10, parts: 24}}} {
		b.Run(c.name, func(b *testing.B) {
			root := b.TempDir()
			dir := filepath.Join(root, "data")
			if err := os.Mkdir(dir, 0o755); err != nil {
				b.Fatal(err)
			}
			c.load.put(b, dir)
			program := buildProgram(b, b.TempDir())
			others := map[string]string{
				"tar-gzip": "tar czf %s data", "tar-pigz": "tar cf - data | pigz >%s",
				"tar-S-gzip": "tar cSzf %s data", "tar-S-pigz": "tar cSf - data | pigz >%s",
			}
			took := map[string]time.Duration{}
			for b.Loop() {
				took["ours"] += run1(b, root, program, backupArgs(b, root)...)
				for name, script := range others {
					out := filepath.Join(b.TempDir(), "out.tgz")
					took[name] += run1(b, root, "sh", "-c", fmt.Sprintf(script, out))
				}
			}
			b.ReportMetric(took["ours"].Seconds()/float64(b.N), "s/op")
			for name := range others {
				if strings.Contains(name, "-S-") && c.load.sparse == 0 {
					continue
				}
				b.ReportMetric(took[name].Seconds()/took["ours"].Seconds(), "times-"+name)
			}
			b.ReportMetric(peakOf(b, program, backupArgs(b, root)), "peak-MB")
		})
	}
}

// run1 runs a command in dir and says how long it took.
func run1(b *testing.B, dir, name string, args ...string) time.Duration {
	b.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	start := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%s: %v: %s", cmd, err, out)
	}
	return time.Since(start)
}
