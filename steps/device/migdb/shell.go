// Package migdb reads the fleets of the predecessor: its database of unit files (S141, S142, F9), and makes an inventory for
// Ansible of them. A unit file is a piece of shell that migdb sourced; here it is read and never executed.
package migdb

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// assignment is one KEY=value of a unit file.
type assignment struct {
	name, value string
	line        uint
}

// parse reads the assignments of a file in order. Anything that a shell would have to execute or look up is refused by
// place: what it stands for can't be known. The errors tell no value.
func parse(data []byte, name string) ([]assignment, error) {
	file, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(bytes.NewReader(data), name)
	if err != nil {
		return nil, unreadable(err, name)
	}
	var out []assignment
	for _, s := range file.Stmts {
		call, ok := s.Cmd.(*syntax.CallExpr)
		if !ok || len(call.Args) > 0 || len(s.Redirs) > 0 || s.Negated || s.Background || s.Coprocess {
			return nil, refuse(name, s.Pos(), "a command", "KEY=value")
		}
		for _, a := range call.Assigns {
			value, err := valueOf(a, name)
			if err != nil {
				return nil, err
			}
			out = append(out, assignment{a.Name.Value, value, a.Pos().Line()})
		}
	}
	return out, nil
}

// unreadable keeps the place and the kind of a syntax error, but not the text it is about: it may be a password.
func unreadable(err error, name string) error {
	var syn syntax.ParseError
	if errors.As(err, &syn) {
		return refuse(name, syn.Pos, "what is no shell", "KEY=value, its quotes closed")
	}
	var lang syntax.LangError
	if errors.As(err, &lang) {
		return refuse(name, lang.Pos, "what this shell does not know", "KEY=value")
	}
	return fmt.Errorf("%s: found what is no shell, expected KEY=value on each line", name)
}

func refuse(name string, pos syntax.Pos, found, want string) error {
	return fmt.Errorf("%s:%d: found %s, expected %s", name, pos.Line(), found, want)
}

func valueOf(a *syntax.Assign, name string) (string, error) {
	if a.Append || a.Array != nil || a.Index != nil || a.Naked {
		return "", refuse(name, a.Pos(), "more than a plain assignment to "+a.Name.Value, "KEY=value")
	}
	if a.Value == nil {
		return "", nil
	}
	text, ok := literal(a.Value.Parts, false)
	if !ok {
		return "", refuse(name, a.Pos(), "a value of "+a.Name.Value+" that a shell would have to work out", "a plain or quoted text")
	}
	return text, nil
}

// literal takes the quotes off a word (POSIX, Shell Command Language, 2.2). It is false for what is more than a text.
func literal(parts []syntax.WordPart, quoted bool) (string, bool) {
	var b strings.Builder
	for i, p := range parts {
		switch p := p.(type) {
		case *syntax.Lit:
			if i == 0 && !quoted && strings.HasPrefix(p.Value, "~") {
				return "", false
			}
			b.WriteString(unescape(p.Value, quoted))
		case *syntax.SglQuoted:
			if p.Dollar && strings.Contains(p.Value, `\`) {
				return "", false
			}
			b.WriteString(p.Value)
		case *syntax.DblQuoted:
			text, ok := literal(p.Parts, true)
			if !ok || p.Dollar {
				return "", false
			}
			b.WriteString(text)
		default:
			return "", false
		}
	}
	return b.String(), true
}

// unescape takes backslashes away: all of them outside of quotes, within double ones only those that mean something there
// (POSIX, 2.2.3).
func unescape(s string, quoted bool) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) && (!quoted || strings.IndexByte("$`\"\\\n", s[i+1]) >= 0) {
			i++
			if s[i] == '\n' {
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
