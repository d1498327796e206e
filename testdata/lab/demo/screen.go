package main

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"time"
	"unicode"
)

// width bounds a line of a program's output, in characters; a longer one is cut.
const width = 160

// escape is a terminal's control sequence (ECMA-48, 5.4), as GRUB and systemd write them.
var escape = regexp.MustCompile(`\x1b(\[[0-9;?]*[ -/]*[@-~]|[()][0-9A-Za-z]|.)`)

// screen is what the person sees: headlines with the time, and the output of programs line by line in between.
type screen struct {
	mu    sync.Mutex
	out   io.Writer
	began time.Time
}

// say writes a headline.
func (s *screen) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	took := time.Since(s.began).Round(time.Second)
	fmt.Fprintf(s.out, "\n[%2d:%02d] %s\n", int(took.Minutes()), int(took.Seconds())%60, fmt.Sprintf(format, args...))
}

// note writes a line below a headline.
func (s *screen) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.out, "        %s\n", fmt.Sprintf(format, args...))
}

// lines returns a writer whose lines show up behind a name. It is for one program at a time.
func (s *screen) lines(name string) io.Writer { return &lines{screen: s, name: name} }

type lines struct {
	screen *screen
	name   string
	rest   []byte // of a line that has not ended yet
	cut    bool   // that line is shown already, as far as it will be
}

// Write implements io.Writer.
func (l *lines) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	for {
		line, rest, ended := bytes.Cut(l.rest, []byte("\n"))
		if !ended {
			break
		}
		if !l.cut {
			l.show(line)
		}
		l.rest, l.cut = rest, false
	}
	if len(l.rest) > 8*width { // four bytes a character at most, and escapes
		if !l.cut {
			l.show(l.rest)
		}
		l.rest, l.cut = nil, true
	}
	return len(p), nil
}

// show writes a line unless nothing of it can be seen.
func (l *lines) show(line []byte) {
	text := readable(string(line))
	if text == "" {
		return
	}
	l.screen.mu.Lock()
	defer l.screen.mu.Unlock()
	fmt.Fprintf(l.screen.out, "%s | %s\n", l.name, text)
}

// readable is a line without what would move the cursor or ring the bell, and not too long.
func readable(line string) string {
	line = strings.ToValidUTF8(escape.ReplaceAllString(line, ""), "?")
	line = strings.Map(func(r rune) rune {
		if r == '\t' {
			return ' '
		}
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, line)
	runes := []rune(strings.TrimRight(line, " "))
	if len(runes) > width {
		return string(runes[:width-1]) + "…"
	}
	return string(runes)
}
