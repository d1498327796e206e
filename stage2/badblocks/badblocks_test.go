package badblocks

import (
	"context"
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// worn is a disk some of whose blocks can't be read.
type worn struct {
	size  int64
	bad   []int64
	reads int
	slow  time.Duration
}

func (w *worn) ReadAt(p []byte, off int64) (int, error) {
	w.reads++
	time.Sleep(w.slow)
	if off+int64(len(p)) > w.size {
		return 0, errors.New("behind the end")
	}
	for _, b := range w.bad {
		if b*BlockSize < off+int64(len(p)) && off < (b+1)*BlockSize {
			return 0, syscall.EIO
		}
	}
	return len(p), nil
}

func (w *worn) test(limit string) (Report, []int64, error) {
	var told []int64
	l, err := ParseLimit(limit)
	if err != nil {
		return Report{}, nil, err
	}
	r, err := Test{
		Disk: w, Size: w.size, Limit: l, Time: time.Minute, Buf: make([]byte, step),
		Progress: func(string, int64, int64) {}, Bad: func(off int64, _ error) { told = append(told, off/BlockSize) },
	}.Run(context.Background())
	return r, told, err
}

// Each bad block is counted, once and at its place; one more than allowed ends the test at once.
func TestBadBlocksAreCounted(t *testing.T) {
	const blocks = 1000 // the last piece is not whole
	bad := []int64{0, 255, 256, 999}
	for limit, want := range map[string]struct {
		count int64
		many  bool
	}{"4": {4, false}, "3": {4, true}, "0": {1, true}, "1%": {4, false}, "0%": {1, true}, "100%": {4, false}} {
		w := &worn{size: blocks * BlockSize, bad: bad}
		r, told, err := w.test(limit)
		if errors.Is(err, ErrTooMany) != want.many || (err != nil) != want.many || r.Bad != want.count || r.First != 0 || r.Blocks != blocks {
			t.Errorf("limit %s: %+v, %v; want %+v", limit, r, err, want)
		}
		if !slices.Equal(told, bad[:want.count]) {
			t.Errorf("limit %s: told of %v, want %v", limit, told, bad[:want.count])
		}
	}
	w := &worn{size: blocks*BlockSize - 512}
	if r, _, err := w.test("0"); err != nil || r.Bad != 0 || r.First != -1 || w.reads != 4 {
		t.Errorf("a good disk: %+v after %d reads, %v", r, w.reads, err)
	}
}

// A drive that tries for long at each block does not hold the migration up for ever.
func TestTimeIsBounded(t *testing.T) {
	w := &worn{size: 1000 * BlockSize, bad: []int64{3, 4, 5, 6, 7, 8}, slow: 5 * time.Millisecond}
	l, _ := ParseLimit("100")
	ctx, cancel := context.WithCancel(context.Background())
	test := Test{Disk: w, Size: w.size, Limit: l, Time: 20 * time.Millisecond, Buf: make([]byte, step), Progress: func(string, int64, int64) {}, Bad: func(int64, error) {}}
	if _, err := test.Run(ctx); !errors.Is(err, ErrTooSlow) || !strings.Contains(err.Error(), "0 of 3 MiB") || w.reads > 8 {
		t.Errorf("%v after %d reads", err, w.reads)
	}
	cancel()
	if _, err := test.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want %v", err, context.Canceled)
	}
}

func TestParseLimit(t *testing.T) {
	for _, bad := range []string{"", "%", "-1", "101%", "1.5%", "x", "99999999999999999999"} {
		if _, err := ParseLimit(bad); err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	l, err := ParseLimit("7%")
	if got := l.Of(250); err != nil || got != 17 {
		t.Errorf("7%% of 250: %d, %v", got, err)
	}
	if got := l.Of(1 << 62); got < 1<<57 {
		t.Errorf("7%% of a huge disk: %d", got)
	}
}

// FuzzParseLimit: whatever the text, a limit never allows more than all blocks by percent, nor less than none.
func FuzzParseLimit(f *testing.F) {
	for _, s := range []string{"", "3", "5%", "100%", "0%", "-3"} {
		f.Add(s, int64(1000))
	}
	f.Fuzz(func(t *testing.T, text string, blocks int64) {
		l, err := ParseLimit(text)
		if err != nil || blocks < 0 {
			return
		}
		if n := l.Of(blocks); n < 0 || l.percent && n > blocks {
			t.Errorf("%q of %d: %d", text, blocks, n)
		}
	})
}
