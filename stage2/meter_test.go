package stage2

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// Progress is a line every few seconds, with the rate of late and the time that is left by it, and one at the end of each
// kind of work.
func TestMeter(t *testing.T) {
	now := time.Unix(0, 0)
	var got []string
	m := &meter{now: func() time.Time { return now }, say: func(f string, args ...any) { got = append(got, fmt.Sprintf(f, args...)) }}
	const mib, total = 1 << 20, 100 << 20
	for second := range 10 {
		now = time.Unix(int64(second), 0)
		m.show("write", int64(second)*4*mib, total)
		m.show("write", int64(second)*4*mib-mib, total) // by another goroutine, late
	}
	now = time.Unix(11, 0)
	m.show("write", total, total)
	m.show("write", total, total)
	m.show("read back", 0, total)
	now = time.Unix(21, 0)
	m.show("read back", 50*mib, total)
	want := []string{
		"write:  20% of 100 MiB, 4.0 MiB/s, 20s left",
		"write: 100% of 100 MiB, 8.7 MiB/s, 0s left",
		"read back:  50% of 100 MiB, 5.0 MiB/s, 10s left",
	}
	if !slices.Equal(got, want) {
		t.Errorf("said %q, want %q", got, want)
	}
}
