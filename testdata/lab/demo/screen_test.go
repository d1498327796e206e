package main

import (
	"strings"
	"testing"
)

// What a guest writes can't move the cursor, and comes out whole.
func TestLines(t *testing.T) {
	long := strings.Repeat("x", 5000)
	for _, c := range []struct{ name, in, want string }{
		{"plain", "one\ntwo\n", "c | one\nc | two\n"},
		{"crlf", "login: \r\r\n", "c | login:\n"},
		{"empty lines", "\n\r\n  \n", ""},
		{"grub", "\x1b[H\x1b[J\x1b[1;1H  Booting `Debian'\r\n", "c |   Booting `Debian'\n"},
		{"colour", "[\x1b[0;32m  OK  \x1b[0m] Started\n", "c | [  OK  ] Started\n"},
		{"bell, title, c1", "a\x07b\x1b]0;t\x07c\u009bd\n", "c | ab0;tcd\n"},
		{"not UTF-8", "\xff\xfe!\n", "c | ?!\n"},
		{"too long", long[:200] + "\n", "c | " + long[:width-1] + "…\n"},
		{"far too long", long + "\nnext\n", "c | " + long[:width-1] + "…\nc | next\n"},
		{"unended", "half", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, chunk := range []int{1, 3, len(c.in)} { // however it comes
				var out strings.Builder
				w := (&screen{out: &out}).lines("c")
				for i := 0; i < len(c.in); i += chunk {
					if _, err := w.Write([]byte(c.in[i:min(i+chunk, len(c.in))])); err != nil {
						t.Fatal(err)
					}
				}
				if out.String() != c.want {
					t.Errorf("in pieces of %d: got %q, want %q", chunk, out.String(), c.want)
				}
			}
		})
	}
}

// A line that never ends is not kept in memory.
func TestEndlessLine(t *testing.T) {
	w := &lines{screen: &screen{out: &strings.Builder{}}}
	for range 1000 {
		if _, err := w.Write([]byte(strings.Repeat("y", 100))); err != nil {
			t.Fatal(err)
		}
	}
	if len(w.rest) > 9*width {
		t.Errorf("%d bytes are kept", len(w.rest))
	}
}
