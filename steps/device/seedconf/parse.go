// Package seedconf reads the configuration files of the predecessor, a shell script that sourced them (F12), and of its
// fleet tool migdb (F9), and makes documents of ours of them.
//
// The text is parsed by the grammar of the shell and nothing of it is run. Assignments of constant text mean what they
// mean to a shell; whatever only a shell at work could know, such as $(hostname), is refused with its place.
package seedconf

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// maxSize is the largest file that is read, in bytes; theirs had three thousand.
const maxSize = 64 << 10

// Position is a place in the file, both counted from 1; columns are bytes.
type Position struct{ Line, Column int }

// Problem is something in the file that can't become part of a document.
type Problem struct {
	Position
	Got, Want, Remedy string
}

// Refused lists everything in a file that can't be imported.
type Refused struct {
	Source   string
	Problems []Problem
}

// Error lists the problems, one a line.
func (r *Refused) Error() string {
	lines := make([]string, len(r.Problems))
	for i, p := range r.Problems {
		lines[i] = fmt.Sprintf("%s:%d:%d: found %s, expected %s: %s", r.Source, p.Line, p.Column, p.Got, p.Want, p.Remedy)
	}
	return strings.Join(lines, "\n")
}

// setting is a variable with its last value.
type setting struct {
	Position
	name  string
	value string
	// list are the elements of an array, nil when it is none.
	list []string
}

// words are the elements of a list, which the predecessor wrote as words of a text.
func (s setting) words() []string {
	if s.list != nil {
		return s.list
	}
	return strings.Fields(s.value)
}

// reader collects the settings of a file in their order.
type reader struct {
	settings []setting
	index    map[string]int
	again    []setting // values that a later one replaced
	problems []Problem
}

// read parses a file. Problems that leave the rest of it readable are in the reader.
func read(data []byte, source string) (*reader, error) {
	r := &reader{index: map[string]int{}}
	if len(data) > maxSize {
		r.refuse(Position{1, 1}, fmt.Sprintf("%d bytes", len(data)), "at most 64 KiB", "this is no configuration file of the predecessor")
		return nil, &Refused{Source: source, Problems: r.problems}
	}
	// Edited under Windows, every value would end in a carriage return.
	data = bytes.TrimPrefix(bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n")), []byte("\xef\xbb\xbf"))
	file, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(bytes.NewReader(data), source)
	if err != nil {
		r.syntax(err)
		return nil, &Refused{Source: source, Problems: r.problems}
	}
	for _, s := range file.Stmts {
		r.statement(s)
	}
	return r, nil
}

func (r *reader) refuse(at Position, got, want, remedy string) {
	r.problems = append(r.problems, Problem{Position: at, Got: got, Want: want, Remedy: remedy})
}

// syntax notes an error of the shell parser. Its words may quote the file, secrets too, so only its kind is told.
func (r *reader) syntax(err error) {
	at := Position{1, 1}
	var parse syntax.ParseError
	var lang syntax.LangError
	switch {
	case errors.As(err, &parse):
		at = place(parse.Pos)
	case errors.As(err, &lang):
		at = place(lang.Pos)
	}
	r.refuse(at, "no shell syntax", "NAME=value", "look for a quote that is not closed, or a bracket")
}

func place(p syntax.Pos) Position { return Position{max(int(p.Line()), 1), max(int(p.Col()), 1)} }

const constant = "NAME=value with constant text"

// statement takes assignments, with export before them or not, and nothing else.
func (r *reader) statement(s *syntax.Stmt) {
	if s.Negated || s.Background || s.Coprocess || len(s.Redirs) > 0 {
		r.refuse(place(s.Pos()), "a command", constant, "nothing in this file is run; remove it")
		return
	}
	switch c := s.Cmd.(type) {
	case *syntax.CallExpr:
		if len(c.Args) > 0 {
			r.refuse(place(c.Args[0].Pos()), "a command", constant, "nothing in this file is run; remove it, or quote the value if it is one with spaces")
			return
		}
		r.assignments(c.Assigns)
	case *syntax.DeclClause:
		if c.Variant.Value != "export" && c.Variant.Value != "readonly" {
			r.refuse(place(c.Pos()), c.Variant.Value, constant, "write NAME=value")
			return
		}
		r.assignments(c.Args)
	default:
		r.refuse(place(s.Pos()), "a command", constant, "nothing in this file is run; remove it")
	}
}

func (r *reader) assignments(list []*syntax.Assign) {
	for _, a := range list {
		switch {
		case a.Name == nil || a.Index != nil:
			r.refuse(place(a.Pos()), "an option or an element", constant, "write NAME=value")
		case a.Naked: // "export NAME" says nothing of its value
		default:
			r.assign(a)
		}
	}
}

// assign takes one assignment.
func (r *reader) assign(a *syntax.Assign) {
	s := setting{Position: place(a.Pos()), name: a.Name.Value}
	before := len(r.problems)
	switch {
	case a.Array != nil:
		s.list = []string{}
		for _, e := range a.Array.Elems {
			if e.Index != nil || e.Value == nil {
				r.refuse(place(e.Pos()), "an element with an index", "(one two three)", "write the elements only")
				continue
			}
			s.list = append(s.list, r.word(e.Value, true))
		}
	case a.Value != nil:
		s.value = r.word(a.Value, false)
	}
	if len(r.problems) > before {
		return
	}
	i, known := r.index[s.name]
	if !known {
		r.index[s.name] = len(r.settings)
		r.settings = append(r.settings, s)
		return
	}
	old := r.settings[i]
	if a.Append {
		s = join(old, s)
	} else {
		r.again = append(r.again, old)
	}
	r.settings[i] = s
}

// join is NAME+=value.
func join(old, more setting) setting {
	if old.list != nil || more.list != nil {
		more.list = append(append([]string{}, old.words()...), more.words()...)
		more.value = ""
		return more
	}
	more.value = old.value + more.value
	return more
}
