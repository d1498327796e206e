// Package configtxt reads config.txt, by which the firmware of a Raspberry Pi starts Linux (Raspberry Pi documentation,
// "config.txt"), as far as it decides what is started: which initramfs, which file of kernel arguments, and where they
// lie. It also says how config.txt looks when something else is to be started instead.
//
// The file has sections. A filter in brackets holds for what follows, filters of different kinds add up, and [all] ends
// them. Some ask for what only the firmware knows, such as a monitor; a setting of ours behind one of these can't be told.
package configtxt

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Answer is whether the firmware takes a line.
type Answer int

// Unknown is a line behind a filter that only the firmware can tell.
const (
	No Answer = iota
	Yes
	Unknown
)

// Line is a setting with what was found about it.
type Line struct {
	File   string // its path on the boot partition
	Number int    // from 1
	Filter string // what it stands behind, "" for nothing
	Taken  Answer
	Key    string
	Value  string
}

// depthLimit bounds includes: a file may include itself.
const depthLimit = 8

// maxLine is how much of a line the firmware reads, in bytes; older ones read 78.
const maxLine = 98

// Read returns the settings of config.txt, in the order in which the firmware reads them. read returns a file of the boot
// partition by its path there.
func Read(read func(name string) ([]byte, error), board Board) ([]Line, error) {
	r := reader{read: read, board: board}
	if err := r.file("config.txt", 0); err != nil {
		return nil, err
	}
	return r.lines, nil
}

// Flat is config.txt as one text, with what it includes in the place of the include lines (Raspberry Pi documentation,
// "include"), as far as the board reads them.
func Flat(read func(name string) ([]byte, error), board Board) (string, error) {
	r := reader{read: read, board: board}
	err := r.file("config.txt", 0)
	return r.flat.String(), err
}

type reader struct {
	read  func(string) ([]byte, error)
	board Board
	lines []Line
	flat  strings.Builder
	// filters are those in force, by kind.
	filters map[string]string
}

func (r *reader) file(name string, depth int) error {
	if depth > depthLimit {
		return fmt.Errorf("%s: found it included %d deep, expected no circle of includes", name, depth)
	}
	text, err := r.read(name)
	if err != nil {
		return err
	}
	number := 0
	for raw := range strings.Lines(string(text)) {
		number++
		if err := r.line(name, number, raw, depth); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) line(name string, number int, raw string, depth int) error {
	text := raw[:min(len(raw), maxLine)]
	text = strings.TrimSpace(text)
	l := Line{File: name, Number: number, Filter: r.inForce(), Taken: r.taken()}
	l.Key, l.Value = split(text)
	if l.Key == "include" && l.Taken != No {
		return r.file(path.Clean(l.Value), depth+1)
	}
	r.flat.WriteString(strings.TrimSuffix(raw, "\n") + "\n")
	switch {
	case text == "" || text[0] == '#':
	case text[0] == '[':
		r.filter(strings.TrimSuffix(text[1:], "]"))
	default:
		r.lines = append(r.lines, l)
	}
	return nil
}

// split tells name and value apart. include and initramfs stand without an equals sign.
func split(text string) (string, string) {
	for _, word := range []string{"include", "initramfs"} {
		if rest, ok := strings.CutPrefix(text, word); ok && rest != "" && (rest[0] == ' ' || rest[0] == '\t') {
			return word, strings.TrimSpace(rest)
		}
	}
	key, value, _ := strings.Cut(text, "=")
	return strings.TrimSpace(key), strings.TrimSpace(value)
}

// filter adds a filter, which replaces the one of its kind.
func (r *reader) filter(text string) {
	text = strings.TrimSpace(text)
	if text == "all" {
		r.filters = nil
		return
	}
	if r.filters == nil {
		r.filters = map[string]string{}
	}
	r.filters[kind(text)] = text
}

// inForce names the filters for people.
func (r *reader) inForce() string {
	var out []string
	for _, f := range r.filters {
		out = append(out, "["+f+"]")
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func (r *reader) taken() Answer {
	answer := Yes
	for k, f := range r.filters {
		switch r.board.matches(k, f) {
		case No:
			return No
		case Unknown:
			answer = Unknown
		}
	}
	return answer
}

// Decides says whether a setting decides what is started.
func (l Line) Decides() bool {
	switch l.Key {
	case "kernel", "initramfs", "ramfsfile", "ramfsaddr", "auto_initramfs", "cmdline", "os_prefix", "upstream_kernel":
		return true
	}
	return false
}

// Start is what the firmware starts. Names are paths on the boot partition, before the prefix.
type Start struct {
	Prefix string
	// Kernel is "" when config.txt names none.
	Kernel string
	// Initramfs are the files that are joined in memory; nil when none is named.
	Initramfs []string
	// Auto says that the one that goes with the kernel's name is taken, if it is there.
	Auto    bool
	Cmdline string
}

// Resolve says what the firmware starts. A line that it can't decide is an error that names it.
func Resolve(lines []Line) (Start, error) {
	s := Start{Cmdline: "cmdline.txt"}
	for _, l := range lines {
		if !l.Decides() || l.Taken == No {
			continue
		}
		if l.Taken == Unknown {
			return s, fmt.Errorf("%s line %d: found %s behind the filter %s, expected a filter that does not depend on what only the firmware knows",
				l.File, l.Number, l.Key, l.Filter)
		}
		s.set(l)
	}
	return s, nil
}

func (s *Start) set(l Line) {
	switch l.Key {
	case "kernel":
		s.Kernel = l.Value
	case "initramfs":
		name, _, _ := strings.Cut(l.Value, " ")
		s.Initramfs = strings.Split(name, ",")
	case "ramfsfile":
		s.Initramfs = nil
		if l.Value != "" {
			s.Initramfs = strings.Split(l.Value, ",")
		}
	case "auto_initramfs":
		s.Auto = l.Value != "0" && l.Value != ""
	case "cmdline":
		s.Cmdline = l.Value
	case "os_prefix":
		s.Prefix = l.Value
	case "upstream_kernel":
		if s.Prefix == "" && l.Value == "1" {
			s.Prefix = "upstream/"
		}
	}
}

// Path is where a file lies on the boot partition: a name with a slash in front goes without the prefix.
func (s Start) Path(name string) string {
	if strings.HasPrefix(name, "/") {
		return path.Clean(name)
	}
	return path.Clean("/" + s.Prefix + name)
}
