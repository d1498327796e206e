package steps

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"unicode/utf8"

	"github.com/balena-community/balena-migrate/schema"
)

// WriteFile gives a file its content, at once or not at all.
type WriteFile struct {
	Place Place
	Path  string
	Data  []byte
	Mode  fs.FileMode
	// Before is what the diff shows as the old content; Secret keeps both out of it.
	Before []byte
	Secret bool
}

// Note implements Change.
func (w WriteFile) Note() schema.ChangeNote {
	return schema.ChangeNote{Action: "write", Target: w.Path}
}

// Apply implements Change.
func (w WriteFile) Apply(_ context.Context, t Target) error {
	return t.On(w.Place).WriteFile(w.Path, w.Data, w.Mode)
}

// Diff implements Differ.
func (w WriteFile) Diff() schema.Diff {
	return schema.Diff{
		BeforeHeader: w.Path, AfterHeader: w.Path, Before: shown(w.Before, w.Secret), After: shown(w.Data, w.Secret),
	}
}

// shown is file content fit for a diff.
func shown(data []byte, secret bool) string {
	switch {
	case len(data) == 0:
		return ""
	case secret:
		return "(content not shown: it holds secrets)\n"
	case !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0:
		return fmt.Sprintf("(%d bytes of binary data)\n", len(data))
	default:
		return string(data)
	}
}

// Mkdir makes a directory and its parents.
type Mkdir struct {
	Place Place
	Path  string
	Mode  fs.FileMode
}

// Note implements Change.
func (m Mkdir) Note() schema.ChangeNote {
	return schema.ChangeNote{Action: "make directory", Target: m.Path}
}

// Apply implements Change.
func (m Mkdir) Apply(_ context.Context, t Target) error {
	return t.On(m.Place).MkdirAll(m.Path, m.Mode)
}

// Remove removes a file.
type Remove struct {
	Place  Place
	Path   string
	Before []byte
	Secret bool
}

// Note implements Change.
func (r Remove) Note() schema.ChangeNote { return schema.ChangeNote{Action: "remove", Target: r.Path} }

// Apply implements Change.
func (r Remove) Apply(_ context.Context, t Target) error { return t.On(r.Place).Remove(r.Path) }

// Diff implements Differ.
func (r Remove) Diff() schema.Diff {
	return schema.Diff{BeforeHeader: r.Path, AfterHeader: "(removed)", Before: shown(r.Before, r.Secret)}
}
