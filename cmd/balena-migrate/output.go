package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/term"

	"github.com/balena-community/balena-migrate/schema"
)

// output is what goes to the terminal and to standard output. With --json standard output gets one document and nothing
// else; log and progress always go to standard error: as lines and a bar for a person, as JSON lines for a program.
type output struct {
	terminal
	json bool
	log  *zap.Logger
	bar  *bar
}

func newOutput(t terminal, json bool) (*output, error) {
	o := &output{terminal: t, json: json}
	person := isTerminal(t.err)
	enc := zap.NewProductionEncoderConfig()
	enc.EncodeTime = zapcore.RFC3339TimeEncoder
	encoder := zapcore.NewJSONEncoder(enc)
	if person {
		enc.EncodeLevel = zapcore.CapitalColorLevelEncoder
		encoder = zapcore.NewConsoleEncoder(enc)
		o.bar = &bar{w: t.err, now: time.Now}
	}
	o.log = zap.New(zapcore.NewCore(encoder, zapcore.AddSync(t.err), zapcore.InfoLevel))
	return o, nil
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// event logs one act of a step.
func (o *output) event(act string, n schema.ChangeNote, took time.Duration) {
	if o.bar != nil {
		o.bar.clear()
	}
	fields := []zap.Field{zap.String("action", n.Action), zap.String("target", n.Target)}
	if took > 0 {
		fields = append(fields, zap.Duration("took", took))
	}
	o.log.Info(act, fields...)
}

func (o *output) progress(what string, done, total int64) {
	if o.bar != nil {
		o.bar.show(what, done, total)
	}
}

func (o *output) done() {
	if o.bar != nil {
		o.bar.clear()
	}
}

// result writes a step's result.
func (o *output) result(r *schema.Result) error {
	if o.json {
		return o.document(r)
	}
	return human{o.out}.result(r)
}

func (o *output) status(s *schema.Status) error {
	if o.json {
		return o.document(s)
	}
	return human{o.out}.status(s)
}

func (o *output) document(v any) error {
	data, err := schema.Encode(v)
	if err != nil {
		return err
	}
	_, err = o.out.Write(data)
	return err
}

// bar is a progress bar on one line.
type bar struct {
	w     io.Writer
	now   func() time.Time
	what  string
	start time.Time
	last  time.Time
	drawn bool
}

const barWidth = 30

func (b *bar) show(what string, done, total int64) {
	now := b.now()
	if what != b.what {
		b.what, b.start, b.last = what, now, time.Time{}
	}
	if now.Sub(b.last) < 100*time.Millisecond && done != total {
		return
	}
	b.last, b.drawn = now, true
	fmt.Fprintf(b.w, "\r\x1b[K%s", b.line(done, total, now.Sub(b.start)))
}

func (b *bar) line(done, total int64, since time.Duration) string {
	rate := float64(done) / max(since.Seconds(), 0.001)
	text := fmt.Sprintf("%s %d MiB, %.0f MiB/s", b.what, done>>20, rate/(1<<20))
	if total <= 0 {
		return text
	}
	full := int(barWidth * min(done, total) / total)
	left := time.Duration(float64(total-done) / max(rate, 1) * float64(time.Second)).Truncate(time.Second)
	return fmt.Sprintf("%s [%s%s] %3d%% of %d MiB, %.0f MiB/s, %s left", b.what, strings.Repeat("#", full),
		strings.Repeat(".", barWidth-full), 100*min(done, total)/total, total>>20, rate/(1<<20), max(left, 0))
}

func (b *bar) clear() {
	if b.drawn {
		fmt.Fprint(b.w, "\r\x1b[K")
		b.drawn = false
	}
}
