package shellvars

import (
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// word is the text that a shell makes of a word, quotes and backslashes removed. What it would have to look up is
// refused. In an array, unlike in a plain assignment, a shell also looks for files that match.
func (r *File) word(w *syntax.Word, inArray bool) string {
	var b strings.Builder
	for i, part := range w.Parts {
		switch p := part.(type) {
		case *syntax.Lit:
			if i == 0 && strings.HasPrefix(p.Value, "~") {
				r.Refuse(place(p.Pos()), "~, which stands for a home directory", "constant text", "write the path out")
			}
			if inArray && pattern(p.Value) {
				r.Refuse(place(p.Pos()), "a pattern for names of files", "constant text", "write the names out, or quote them")
			}
			b.WriteString(unescape(p.Value, ""))
		case *syntax.SglQuoted:
			if p.Dollar && strings.ContainsRune(p.Value, '\\') {
				r.Refuse(place(p.Pos()), "$'…' with escapes", "constant text", "write it in plain quotes")
			}
			b.WriteString(p.Value)
		case *syntax.DblQuoted:
			b.WriteString(r.quoted(p))
		default:
			r.expansion(part)
		}
	}
	return b.String()
}

// quoted is the text between double quotes.
func (r *File) quoted(q *syntax.DblQuoted) string {
	var b strings.Builder
	for _, part := range q.Parts {
		lit, ok := part.(*syntax.Lit)
		if !ok {
			r.expansion(part)
			continue
		}
		b.WriteString(unescape(lit.Value, "$`\"\\"))
	}
	return b.String()
}

// expansion refuses what only a shell at work knows.
func (r *File) expansion(part syntax.WordPart) {
	got := "an expansion"
	switch part.(type) {
	case *syntax.CmdSubst:
		got = "a command substitution"
	case *syntax.ParamExp:
		got = "the value of a variable"
	case *syntax.ArithmExp:
		got = "arithmetic"
	case *syntax.ProcSubst:
		got = "a process substitution"
	}
	r.Refuse(place(part.Pos()), got, "constant text", "nothing in this file is run; write the value out, or quote it with ' if it is meant as it stands")
}

// unescape removes the backslashes that quote: outside quotes every one, between double quotes those before one of
// special. Before a line's end both go.
func unescape(text, special string) string {
	if !strings.ContainsRune(text, '\\') {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' || i+1 == len(text) {
			b.WriteByte(text[i])
			continue
		}
		next := text[i+1]
		switch {
		case next == '\n':
		case special == "" || strings.IndexByte(special, next) >= 0:
			b.WriteByte(next)
		default:
			b.WriteByte('\\')
			b.WriteByte(next)
		}
		i++
	}
	return b.String()
}

// pattern says whether an unquoted text is a pattern for names, or a list in braces.
func pattern(text string) bool {
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '*', '?', '[', '{':
			return true
		}
	}
	return false
}
