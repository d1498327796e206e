package host

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"
)

// A measurement writes what was asked for or stops in time, and leaves nothing behind.
func TestMeasureWrite(t *testing.T) {
	dir := t.TempDir()
	h := At(dir)
	n, took, err := h.MeasureWrite(context.Background(), "/", 3<<20, time.Minute)
	if err != nil || n != 3<<20 || took <= 0 {
		t.Errorf("%d bytes in %s, %v", n, took, err)
	}
	if n, _, err := h.MeasureWrite(context.Background(), "/", 1<<40, 20*time.Millisecond); err != nil || n < 1<<20 || n > 1<<34 {
		t.Errorf("in 20 ms: %d bytes, %v", n, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, _, err := h.MeasureWrite(ctx, "/", 1<<20, time.Minute); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	if _, _, err := h.MeasureWrite(context.Background(), "/missing", 1<<20, time.Minute); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
