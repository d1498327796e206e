// Package shellvars reads files of shell variables, such as were sourced by the predecessor (F12) and by its fleet tool
// migdb (F9).
//
// The text is parsed by the grammar of the shell (POSIX, Shell Command Language) and nothing of it is run. Assignments of
// constant text mean what they mean to a shell; whatever only a shell at work could know, such as $(hostname), is refused
// with its place. No error quotes the file: it may hold passwords.
package shellvars

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// maxSize is the largest file that is read, in bytes; those in use had three thousand.
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

// Setting is a variable with a value.
type Setting struct {
	Position
	Name  string
	Value string
	// List are the elements of an array, nil when it is none.
	List []string
}

// Words are the elements of a list, or the words of a text.
func (s Setting) Words() []string {
	if s.List != nil {
		return s.List
	}
	return strings.Fields(s.Value)
}

// File is what a file says, in the order of its lines.
type File struct {
	Settings []Setting
	// Again are the settings that a later one of the same name replaced.
	Again []Setting
	// Problems left the rest of the file readable.
	Problems []Problem

	index map[string]int
}

// Get returns a variable, and whether the file sets it.
func (r *File) Get(name string) (Setting, bool) {
	i, ok := r.index[name]
	if !ok {
		return Setting{Name: name}, false
	}
	return r.Settings[i], true
}

// Read parses a file; source is its name in messages. What can't be read at all gives *Refused.
func Read(data []byte, source string) (*File, error) {
	r := &File{index: map[string]int{}}
	if len(data) > maxSize {
		r.Refuse(Position{1, 1}, fmt.Sprintf("%d bytes", len(data)), "at most 64 KiB", "see that it is the right file")
		return nil, &Refused{Source: source, Problems: r.Problems}
	}
	// Edited under Windows, every value would end in a carriage return.
	data = bytes.TrimPrefix(bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n")), []byte("\xef\xbb\xbf"))
	file, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(bytes.NewReader(data), source)
	if err != nil {
		r.syntax(err)
		return nil, &Refused{Source: source, Problems: r.Problems}
	}
	for _, s := range file.Stmts {
		r.statement(s)
	}
	return r, nil
}

// Refuse adds a problem.
func (r *File) Refuse(at Position, got, want, remedy string) {
	r.Problems = append(r.Problems, Problem{Position: at, Got: got, Want: want, Remedy: remedy})
}

// syntax notes an error of the shell parser. Its words may quote the file, secrets too, so only its kind is told.
func (r *File) syntax(err error) {
	at := Position{1, 1}
	var parse syntax.ParseError
	var lang syntax.LangError
	switch {
	case errors.As(err, &parse):
		at = place(parse.Pos)
	case errors.As(err, &lang):
		at = place(lang.Pos)
	}
	r.Refuse(at, "no shell syntax", "NAME=value", "look for a quote that is not closed, or a bracket")
}

func place(p syntax.Pos) Position { return Position{max(int(p.Line()), 1), max(int(p.Col()), 1)} }

const constant = "NAME=value with constant text"

// statement takes assignments, with export before them or not, and nothing else.
func (r *File) statement(s *syntax.Stmt) {
	if s.Negated || s.Background || s.Coprocess || len(s.Redirs) > 0 {
		r.Refuse(place(s.Pos()), "a command", constant, "nothing in this file is run; remove it")
		return
	}
	switch c := s.Cmd.(type) {
	case *syntax.CallExpr:
		if len(c.Args) > 0 {
			r.Refuse(place(c.Args[0].Pos()), "a command", constant, "nothing in this file is run; remove it, or quote the value if it is one with spaces")
			return
		}
		r.assignments(c.Assigns)
	case *syntax.DeclClause:
		if c.Variant.Value != "export" && c.Variant.Value != "readonly" {
			r.Refuse(place(c.Pos()), c.Variant.Value, constant, "write NAME=value")
			return
		}
		r.assignments(c.Args)
	default:
		r.Refuse(place(s.Pos()), "a command", constant, "nothing in this file is run; remove it")
	}
}

func (r *File) assignments(list []*syntax.Assign) {
	for _, a := range list {
		switch {
		case a.Name == nil || a.Index != nil:
			r.Refuse(place(a.Pos()), "an option or an element", constant, "write NAME=value")
		case a.Naked: // "export NAME" says nothing of its value
		default:
			r.assign(a)
		}
	}
}

// assign takes one assignment.
func (r *File) assign(a *syntax.Assign) {
	s := Setting{Position: place(a.Pos()), Name: a.Name.Value}
	before := len(r.Problems)
	switch {
	case a.Array != nil:
		s.List = []string{}
		for _, e := range a.Array.Elems {
			if e.Index != nil || e.Value == nil {
				r.Refuse(place(e.Pos()), "an element with an index", "(one two three)", "write the elements only")
				continue
			}
			s.List = append(s.List, r.word(e.Value, true))
		}
	case a.Value != nil:
		s.Value = r.word(a.Value, false)
	}
	if len(r.Problems) > before {
		return
	}
	i, known := r.index[s.Name]
	if !known {
		r.index[s.Name] = len(r.Settings)
		r.Settings = append(r.Settings, s)
		return
	}
	old := r.Settings[i]
	if a.Append {
		s = join(old, s)
	} else {
		r.Again = append(r.Again, old)
	}
	r.Settings[i] = s
}

// join is NAME+=value.
func join(old, more Setting) Setting {
	if old.List != nil || more.List != nil {
		more.List = append(append([]string{}, old.Words()...), more.Words()...)
		more.Value = ""
		return more
	}
	more.Value = old.Value + more.Value
	return more
}
