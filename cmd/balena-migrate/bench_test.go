package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps/host/hosttest"
)

// BenchmarkPrecheckProgram is what an operator waits for: the whole program, from its start to its end, without the
// network checks, which wait for others. Below 30 ms and 30 MB are promised.
func BenchmarkPrecheckProgram(b *testing.B) {
	dir := b.TempDir()
	program := buildProgram(b, dir)
	for name, data := range inputFiles(hosttest.Image(b)) {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			b.Fatal(err)
		}
	}
	args := []string{"step", "precheck", "--json", "--root", hosttest.Debian(b).Root(), "--input", filepath.Join(dir, "m.json")}
	out, err := exec.Command(program, args...).Output()
	if err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	var res schema.Result
	if err := schema.Decode(out, "result", "result", &res); err != nil || res.Status != schema.Converged || res.Facts.Host == nil {
		b.Fatalf("%v: %s", err, out)
	}
	var busy time.Duration
	for b.Loop() {
		cmd := exec.Command(program, args...)
		if err := cmd.Run(); err != nil {
			b.Fatal(err)
		}
		busy += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/1000/float64(b.N), "ms/op")
	b.ReportMetric(float64(busy.Microseconds())/1000/float64(b.N), "cpu-ms/op") // on a busy machine the truer figure
	b.ReportMetric(peakOf(b, program, args), "peak-MB")
}

// buildProgram builds what is shipped (Makefile, BUILD).
func buildProgram(b testing.TB, dir string) string {
	b.Helper()
	program := filepath.Join(dir, "balena-migrate")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", program, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("go build: %v: %s", err, out)
	}
	return program
}

// peakOf is the most memory that the program had resident, in MB. The kernel lets a child begin with its parent's peak
// (getrusage(2), ru_maxrss lives across execve), so a process that is smaller than this one starts it.
func peakOf(b testing.TB, program string, args []string) float64 {
	b.Helper()
	out, err := exec.Command("peak", append([]string{program}, args...)...).Output()
	if err != nil {
		b.Fatal(err)
	}
	kb, err := strconv.Atoi(string(bytes.TrimSpace(out)))
	if err != nil {
		b.Fatal(err)
	}
	return float64(kb) / 1000
}

// peak is a command of this test program: it runs its arguments and prints their peak in kB.
func peak() {
	cmd := exec.Command(os.Args[1], os.Args[2:]...)
	if err := cmd.Run(); err != nil {
		panic(err)
	}
	fmt.Fprintln(os.Stdout, cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss)
}
