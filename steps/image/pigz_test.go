package image

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/balena-community/balena-migrate/stage2/flashimage"
)

// programs is like an image: a third of it the programs of this machine, the rest zeros.
func programs(b *testing.B, size int) []byte {
	b.Helper()
	raw := make([]byte, 0, size)
	files, err := filepath.Glob("/usr/bin/*")
	if err != nil {
		b.Fatal(err)
	}
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(files), func(i, k int) { files[i], files[k] = files[k], files[i] })
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err == nil && len(raw)+len(data) < size/3 {
			raw = append(raw, data...)
		}
	}
	if len(raw) < size/4 {
		b.Fatalf("only %d bytes in /usr/bin", len(raw))
	}
	return raw[:size]
}

// BenchmarkAgainstPigz prepares a raw image and packs it by pigz, in turns, with the same number of processors and each
// at its default level. Ours digests file, image and chunks, and unpacks and compares what it packed, besides. ratio is
// pigz's time divided by ours: 1 and more is promised; cpu-ratio is the same for the time on the processor, which is
// the truer figure where others work too.
func BenchmarkAgainstPigz(b *testing.B) {
	in := inputOf(b, programs(b, 192*mib))
	var ours, theirs, oursCPU, theirsCPU, size time.Duration
	for b.Loop() {
		out := &tally{}
		start, cpu := time.Now(), processor()
		p := packing{w: out, tee: sha256.New(), limit: maxRaw, options: flashimage.Options{Workers: runtime.GOMAXPROCS(0)}}
		if _, err := (streamed{rawStream{in}}).pack(context.Background(), p); err != nil {
			b.Fatal(err)
		}
		ours, oursCPU, size = ours+time.Since(start), oursCPU+processor()-cpu, time.Duration(out.n.Load())
		start = time.Now()
		cmd := exec.Command("pigz", "-p", fmt.Sprint(runtime.GOMAXPROCS(0)), "-c", in.name)
		if err := cmd.Run(); err != nil {
			b.Fatal(err)
		}
		theirs, theirsCPU = theirs+time.Since(start), theirsCPU+cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime()
	}
	b.ReportMetric(float64(theirs)/float64(ours), "ratio")
	b.ReportMetric(float64(theirsCPU)/float64(oursCPU), "cpu-ratio")
	b.ReportMetric(float64(size)/mib, "MiB-packed")
}

// processor is the time this process has had on the processors.
func processor() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
