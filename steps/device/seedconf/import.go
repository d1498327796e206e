package seedconf

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/balena-community/balena-migrate/schema"
)

// Import makes a document of a file. source is its name in messages; exists tells whether a file, relative to its
// folder, is there. Problems give *Refused. The document is a valid migration/1 with the keys that the file decides, and
// no others; the notes have every variable of the file in the order of its lines, and none of their values.
func Import(data []byte, source string, exists func(name string) bool) (*schema.ConfigImport, error) {
	r, err := read(data, source)
	if err != nil {
		return nil, err
	}
	im := &importer{reader: r, exists: exists, config: map[string]any{}, from: map[string]setting{}}
	im.run()
	doc, err := im.document(source)
	if err != nil {
		return nil, err
	}
	if len(im.problems) > 0 {
		slices.SortStableFunc(im.problems, func(a, b Problem) int { return a.Line - b.Line })
		return nil, &Refused{Source: source, Problems: im.problems}
	}
	slices.SortStableFunc(im.notes, func(a, b schema.ImportNote) int { return a.Line - b.Line })
	return &schema.ConfigImport{Schema: schema.ConfigImportName, Source: source, Document: doc, Variables: im.notes}, nil
}

// importer turns settings into the members of a configuration.
type importer struct {
	*reader
	exists func(name string) bool
	config map[string]any
	// from is the setting that a member, by its pointer, comes from.
	from  map[string]setting
	notes []schema.ImportNote
}

// run applies every rule once, in the order of the table; the order does not matter but for HOME_DIR, whose value others
// need and look up themselves.
func (im *importer) run() {
	for _, s := range im.settings {
		if rule, ok := rules()[s.name]; ok {
			rule(im, s)
			continue
		}
		if reason, ok := obsolete()[s.name]; ok {
			im.note(s, schema.ImportObsolete, reason)
			continue
		}
		im.refuse(s.Position, "the variable "+s.name, "one that the predecessor knew", "remove it, or mend its spelling")
	}
	for _, s := range im.again {
		im.note(s, schema.ImportUnused, "it is set again further down, which is what counts")
	}
	im.hosts()
	im.wifi()
	im.backup()
	im.grub()
	im.memory()
}

// get returns a variable, and whether the file sets it.
func (im *importer) get(name string) (setting, bool) {
	i, ok := im.index[name]
	if !ok {
		return setting{name: name}, false
	}
	return im.settings[i], true
}

// set gives a member, such as "image.path", its value.
func (im *importer) set(s setting, key string, value any) {
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
func (im *importer) mapped(s setting, key string) {
	for i, n := range im.notes {
		if n.Variable == s.name && n.Line == s.Line {
			im.notes[i].Keys = append(im.notes[i].Keys, key)
			return
		}
	}
	im.notes = append(im.notes, schema.ImportNote{
		Variable: s.name, Line: s.Line, Column: s.Column, Kind: schema.ImportMapped, Keys: []string{key},
	})
}

// note says something about a variable; what it says of one that was mapped is that its meaning changed.
func (im *importer) note(s setting, kind, text string) {
	for i, n := range im.notes {
		if n.Variable == s.name && n.Line == s.Line {
			im.notes[i].Kind, im.notes[i].Text = kind, strings.TrimPrefix(n.Text+"; "+text, "; ")
			return
		}
	}
	im.notes = append(im.notes, schema.ImportNote{
		Variable: s.name, Line: s.Line, Column: s.Column, Kind: kind, Keys: []string{}, Text: text,
	})
}

// file is a name as it is meant from the folder of the file: HOME_DIR was where the predecessor looked (S12).
func (im *importer) file(name string) string {
	home, _ := im.get("HOME_DIR")
	if path.IsAbs(name) || home.value == "" {
		return name
	}
	return path.Join(home.value, name)
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
		im.refuse(s.Position, s.name+" with another value", v.Want, "correct it")
	}
	return nil, nil
}
