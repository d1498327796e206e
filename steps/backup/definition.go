package backup

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// volume is a volume of the new application and what goes into it.
type volume struct {
	name  string
	at    position
	items []item
}

// item is a source on the device and its place in the volume.
type item struct {
	at     position
	source string // absolute, clean
	target string // relative to the volume, clean, "" for its root
	// into: a file keeps its own name, below target.
	into bool
	// filter, when not nil, picks the direct children of a source directory by a match anywhere in their name.
	filter *regexp.Regexp
}

// position is a place in a definition file, both counted from 1; the zero position is the file as a whole.
type position struct{ line, column int }

// problem is something in a definition, or in what it leads to, that keeps a backup from being made.
type problem struct {
	at                position
	got, want, remedy string
}

// volumeName is what the container engine accepts; one character more would stop the restore on the new system.
var volumeName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,199}$`)

// The YAML parser says where it stopped in words; lines that its grammar stopped at, unlike those its scanner did, it
// counts from 0.
var (
	yamlLine    = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)
	yamlGrammar = regexp.MustCompile(`did not find expected (key|node content|'-' indicator|',' or|<)`)
)

// parser turns YAML nodes into volumes and collects every problem. lines maps lines of the parsed text to the file's.
type parser struct {
	lines    []int
	problems []problem
}

// parseDefinition reads the three dialects in use and knows one form only (S91–S93):
//
//   - volume: NAME          or   - volume:
//     name: NAME
//     items:                or   content:, or nothing before items that begin with "- item:"
//   - source: /path       or   - item:
//     target: path                 source: /path
//     filter: regex
//
// Several entries of one volume are one volume. Volumes are in the order of their first entry.
func parseDefinition(data []byte) ([]volume, []problem) {
	text, lines := spellOut(data)
	p := &parser{lines: lines}
	root := p.load(text)
	if root == nil {
		return nil, p.problems
	}
	if root.Kind != yaml.SequenceNode || len(root.Content) == 0 {
		p.complain(root, describe(root), "a list of volumes", "begin each volume with \"- volume: NAME\"")
		return nil, p.problems
	}
	var volumes []volume
	index := map[string]int{}
	for _, n := range root.Content {
		v := p.volume(n)
		if i, ok := index[v.name]; ok {
			volumes[i].items = append(volumes[i].items, v.items...)
			continue
		}
		index[v.name] = len(volumes)
		volumes = append(volumes, v)
	}
	return volumes, p.problems
}

// load parses the text, which must be one YAML document.
func (p *parser) load(text []byte) *yaml.Node {
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc, more yaml.Node
	err := dec.Decode(&doc)
	if errors.Is(err, io.EOF) || err == nil && len(doc.Content) == 0 {
		p.problems = append(p.problems, problem{got: "nothing", want: "a list of volumes", remedy: "begin each volume with \"- volume: NAME\""})
		return nil
	}
	if err == nil {
		switch err = dec.Decode(&more); {
		case errors.Is(err, io.EOF):
			return doc.Content[0]
		case err == nil:
			p.complain(&more, "a second YAML document", "one", "remove the line \"---\" before it")
			return nil
		}
	}
	p.problems = append(p.problems, p.syntax(err.Error()))
	return nil
}

// syntax turns an error of the YAML parser into a problem.
func (p *parser) syntax(text string) problem {
	bad := problem{got: text, want: "YAML", remedy: "keep the keys of a volume, and those of an item, in one column; tabs do not indent in YAML"}
	m := yamlLine.FindStringSubmatch(text)
	if m == nil {
		return bad
	}
	bad.got = strings.TrimPrefix(text, m[0])
	line, err := strconv.Atoi(m[1])
	if err != nil {
		return bad
	}
	if yamlGrammar.MatchString(text) {
		line++
	}
	bad.at = p.place(min(line, len(p.lines)), 1)
	return bad
}

// volume reads one volume; what is wrong with it is among the problems.
func (p *parser) volume(n *yaml.Node) volume {
	v := volume{at: p.at(n)}
	fields := p.fields(n, "volume", "name", "content", "items")
	if fields == nil {
		return v
	}
	named := fields["volume"]
	switch {
	case named != nil && named.Kind == yaml.MappingNode:
		named = p.fields(named, "name")["name"]
	case isNull(named):
		named = fields["name"]
	case fields["name"] != nil:
		p.complain(fields["name"], "both volume and name", "one name", "remove one of the two")
	}
	v.name = p.text(named)
	if named != nil {
		v.at = p.at(named)
	}
	if !volumeName.MatchString(v.name) {
		p.report(v.at, fmt.Sprintf("the volume name %q", v.name), volumeWant(nil), "name it as the application's release does; none can have this name, and the new system would try forever to restore it")
	}
	v.items = p.items(n, fields)
	return v
}

// items reads the list of a volume.
func (p *parser) items(n *yaml.Node, fields map[string]*yaml.Node) []item {
	list := fields["items"]
	if content := fields["content"]; list == nil {
		list = content
	} else if content != nil {
		p.complain(content, "both items and content", "one list", "join the two")
	}
	if list == nil || list.Kind != yaml.SequenceNode || len(list.Content) == 0 {
		if isNull(list) {
			list = n
		}
		p.complain(list, "a volume without items", "a list of items with source, target and filter", "add items, or remove the volume")
		return nil
	}
	items := make([]item, 0, len(list.Content))
	for _, n := range list.Content {
		items = append(items, p.item(n))
	}
	return items
}

// item reads one item. The value of a plain "item:" is a remark.
func (p *parser) item(n *yaml.Node) item {
	it := item{at: p.at(n)}
	fields := p.fields(n, "item", "source", "target", "filter")
	if inner := fields["item"]; inner != nil && inner.Kind == yaml.MappingNode {
		if len(fields) > 1 {
			p.complain(n, "fields both below and beside item", "them in one place", "indent all of them alike")
		}
		fields = p.fields(inner, "source", "target", "filter")
	}
	if fields == nil {
		return it
	}
	if source := fields["source"]; source != nil {
		it.at = p.at(source)
	}
	it.source = p.text(fields["source"])
	if !path.IsAbs(it.source) || strings.ContainsRune(it.source, 0) {
		p.report(it.at, fmt.Sprintf("the source %q", it.source), "an absolute path on the device", "begin it with /")
	}
	it.source = path.Clean(it.source)
	p.target(&it, fields["target"])
	if text := p.text(fields["filter"]); text != "" {
		filter, err := regexp.Compile(text)
		if err != nil {
			p.complain(fields["filter"], err.Error(), "a regular expression", "write it as RE2 has it, e.g. '\\.conf$' for *.conf")
		}
		it.filter = filter
	}
	return it
}

// target places the item in its volume: "", "." and "/" are the volume itself (S94).
func (p *parser) target(it *item, n *yaml.Node) {
	text := p.text(n)
	it.into = text == "" || strings.HasSuffix(text, "/") || path.Base(text) == "."
	it.target = strings.TrimPrefix(path.Clean("/"+text), "/")
	for _, part := range strings.Split(text, "/") {
		if part == ".." || len(part) > 255 || strings.ContainsRune(part, 0) {
			p.complain(n, fmt.Sprintf("the target %q", text), "a path inside the volume, its names at most 255 bytes long", "write it without ..")
			return
		}
	}
}
