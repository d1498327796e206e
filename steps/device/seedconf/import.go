// Package seedconf makes documents of ours of the predecessor's configuration files (F12), and of the unit files of its fleet
// tool migdb (F9). How they are read, package shellvars tells.
package seedconf

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps/device/shellvars"
)

// Import makes a document of a file. source is its name in messages; exists tells whether a file, relative to its
// folder, is there. Problems give *shellvars.Refused. The document is a valid migration/1 with the keys that the file decides, and
// no others; the notes have every variable of the file in the order of its lines, and none of their values.
func Import(data []byte, source string, exists func(name string) bool) (*schema.ConfigImport, error) {
	r, err := shellvars.Read(data, source)
	if err != nil {
		return nil, err
	}
	im := &importer{File: r, exists: exists, config: map[string]any{}, from: map[string]shellvars.Setting{}}
	im.run()
	doc, err := im.document(source)
	if err != nil {
		return nil, err
	}
	if len(im.Problems) > 0 {
		slices.SortStableFunc(im.Problems, func(a, b shellvars.Problem) int { return a.Line - b.Line })
		return nil, &shellvars.Refused{Source: source, Problems: im.Problems}
	}
	slices.SortStableFunc(im.notes, func(a, b schema.ImportNote) int { return a.Line - b.Line })
	return &schema.ConfigImport{Schema: schema.ConfigImportName, Source: source, Document: doc, Variables: im.notes}, nil
}

// importer turns settings into the members of a configuration.
type importer struct {
	*shellvars.File
	exists func(name string) bool
	config map[string]any
	// from is the setting that a member, by its pointer, comes from.
	from  map[string]shellvars.Setting
	notes []schema.ImportNote
}

// run applies every rule once, in the order of the table; the order does not matter but for HOME_DIR, whose value others
// need and look up themselves.
func (im *importer) run() {
	for _, s := range im.Settings {
		if rule, ok := rules()[s.Name]; ok {
			rule(im, s)
			continue
		}
		if reason, ok := obsolete()[s.Name]; ok {
			im.note(s, schema.ImportObsolete, reason)
			continue
		}
		im.Refuse(s.Position, "the variable "+s.Name, "one that the predecessor knew", "remove it, or mend its spelling")
	}
	for _, s := range im.Again {
		im.note(s, schema.ImportUnused, "it is set again further down, which is what counts")
	}
	im.hosts()
	im.wifi()
	im.backup()
	im.grub()
	im.memory()
}

// set gives a member, such as "image.path", its value.
func (im *importer) set(s shellvars.Setting, key string, value any) {
	parts := strings.Split(key, ".")
	node := im.config
	for _, p := range parts[:len(parts)-1] {
		inner, ok := node[p].(map[string]any)
		if !ok {
			inner = map[string]any{}
			node[p] = inner
		}
		node = inner
	}
	node[parts[len(parts)-1]] = value
	im.from["/config/"+strings.ReplaceAll(key, ".", "/")] = s
	im.mapped(s, key)
}

// mapped notes where a variable went.
func (im *importer) mapped(s shellvars.Setting, key string) {
	for i, n := range im.notes {
		if n.Variable == s.Name && n.Line == s.Line {
			im.notes[i].Keys = append(im.notes[i].Keys, key)
			return
		}
	}
	im.notes = append(im.notes, schema.ImportNote{
		Variable: s.Name, Line: s.Line, Column: s.Column, Kind: schema.ImportMapped, Keys: []string{key},
	})
}

// note says something about a variable; what it says of one that was mapped is that its meaning changed.
func (im *importer) note(s shellvars.Setting, kind, text string) {
	for i, n := range im.notes {
		if n.Variable == s.Name && n.Line == s.Line {
			im.notes[i].Kind, im.notes[i].Text = kind, strings.TrimPrefix(n.Text+"; "+text, "; ")
			return
		}
	}
	im.notes = append(im.notes, schema.ImportNote{
		Variable: s.Name, Line: s.Line, Column: s.Column, Kind: kind, Keys: []string{}, Text: text,
	})
}

// file is a name as it is meant from the folder of the file: HOME_DIR was where the predecessor looked (S12).
func (im *importer) file(name string) string {
	home, _ := im.Get("HOME_DIR")
	if path.IsAbs(name) || home.Value == "" {
		return name
	}
	return path.Join(home.Value, name)
}

// document checks the result against its schema: what a value there can't be, is said of the variable it came from.
func (im *importer) document(source string) ([]byte, error) {
	data, err := schema.Encode(map[string]any{"schema": schema.MigrationName, "config": im.config})
	if err != nil {
		return nil, err
	}
	err = schema.Decode(data, source, "migration", schema.NewMigration())
	var bad *schema.Invalid
	if !errors.As(err, &bad) {
		return data, err
	}
	for _, v := range bad.Violations {
		s, ok := im.from[v.Pointer]
		if !ok {
			s, ok = im.from[path.Dir(v.Pointer)] // an element of a list
		}
		if !ok {
			return nil, fmt.Errorf("import %s: %w", source, err)
		}
		im.Refuse(s.Position, s.Name+" with another value", v.Want, "correct it")
	}
	return nil, nil
}
