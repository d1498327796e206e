// Package grubenv reads and writes GRUB's environment block: a file of exactly 1024 bytes, a comment line, then
// name=value lines, padded with '#' (GRUB manual, "The GRUB environment block"). GRUB itself can't allocate blocks,
// so the size must never change.
package grubenv

import (
	"bytes"
	"fmt"
	"strings"
)

// Size is the size of the block in bytes.
const Size = 1024

const header = "# GRUB Environment Block\n"

// Env is an environment block. Comments and the order of variables are kept.
type Env struct {
	lines []string
}

// New returns an empty block.
func New() *Env { return &Env{lines: []string{strings.TrimSuffix(header, "\n")}} }

// Parse reads a block.
func Parse(data []byte) (*Env, error) {
	if len(data) != Size {
		return nil, fmt.Errorf("GRUB environment block: found %d bytes, expected %d", len(data), Size)
	}
	if !bytes.HasPrefix(data, []byte(header)) {
		return nil, fmt.Errorf("GRUB environment block: found %q, expected it to begin with %q", data[:len(header)], header)
	}
	body := strings.TrimRight(string(data), "#")
	return &Env{lines: strings.Split(strings.TrimSuffix(body, "\n"), "\n")}, nil
}

// Get returns a variable's value, escapes undone.
func (e *Env) Get(name string) (string, bool) {
	for _, l := range e.lines {
		if v, ok := strings.CutPrefix(l, name+"="); ok {
			return unescape(v), true
		}
	}
	return "", false
}

// Set sets a variable in its place, or at the end.
func (e *Env) Set(name, value string) {
	line := name + "=" + escape(value)
	for i, l := range e.lines {
		if strings.HasPrefix(l, name+"=") {
			e.lines[i] = line
			return
		}
	}
	e.lines = append(e.lines, line)
}

// Unset removes a variable.
func (e *Env) Unset(name string) {
	kept := e.lines[:0:0]
	for _, l := range e.lines {
		if !strings.HasPrefix(l, name+"=") {
			kept = append(kept, l)
		}
	}
	e.lines = kept
}

// Bytes returns the block, or an error when the variables do not fit.
func (e *Env) Bytes() ([]byte, error) {
	text := strings.Join(e.lines, "\n") + "\n"
	if len(text) > Size {
		return nil, fmt.Errorf("GRUB environment block: the variables need %d bytes, there are %d", len(text), Size)
	}
	return []byte(text + strings.Repeat("#", Size-len(text))), nil
}

func escape(s string) string {
	return strings.NewReplacer(`\`, `\\`, "\n", "\\\n").Replace(s)
}

func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
