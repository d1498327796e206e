package backup

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// The lines of the dialect of S92 that matter to spellOut.
var (
	volumeLine = regexp.MustCompile(`^(\s*-\s+)volume\s*:`)
	listLine   = regexp.MustCompile(`^\s*(items|content)\s*:`)
	itemLine   = regexp.MustCompile(`^\s+-\s+item\s*:`)
)

// spellOut makes YAML of the dialect that never was (S92): its items follow the volume's name without a key of their
// own. The key is added; text that has it stays as it is. lines[i] is the line of data that line i+1 of the text
// came from.
func spellOut(data []byte) (text []byte, lines []int) {
	key := ""
	var out bytes.Buffer
	for i, line := range strings.SplitAfter(string(data), "\n") {
		switch m := volumeLine.FindStringSubmatch(line); {
		case m != nil:
			key = strings.Repeat(" ", len(m[1])) + "items:\n"
		case listLine.MatchString(line):
			key = ""
		case key != "" && itemLine.MatchString(line):
			out.WriteString(key)
			lines = append(lines, i+1)
			key = ""
		}
		out.WriteString(line)
		lines = append(lines, i+1)
	}
	return out.Bytes(), lines
}

// fields returns the members of a mapping, which may only have the given keys, each once; nil when it is none.
func (p *parser) fields(n *yaml.Node, keys ...string) map[string]*yaml.Node {
	want := "only " + strings.Join(keys, ", ")
	if n.Kind != yaml.MappingNode {
		p.complain(n, describe(n), "a mapping with "+want, "write each as \"key: value\"")
		return nil
	}
	fields := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch {
		case key.Kind != yaml.ScalarNode || !slices.Contains(keys, key.Value):
			p.complain(key, describe(key), want, "remove it, or mend its spelling")
		case fields[key.Value] != nil:
			p.complain(key, "a second "+key.Value, "one", "remove one of them; each item and volume begins with a dash")
		default:
			fields[key.Value] = value
		}
	}
	return fields
}

// text is the value of a plain text member, "" when it is missing.
func (p *parser) text(n *yaml.Node) string {
	if isNull(n) {
		return ""
	}
	if n.Kind != yaml.ScalarNode {
		p.complain(n, describe(n), "text", "write one value on the line of its key")
		return ""
	}
	return n.Value
}

func isNull(n *yaml.Node) bool {
	return n == nil || n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}

// describe says in words what a node is.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.SequenceNode:
		return "a list"
	case yaml.MappingNode:
		return "a mapping"
	case yaml.AliasNode:
		return "the alias *" + n.Value
	default:
		const limit = 60
		if len(n.Value) > limit {
			return fmt.Sprintf("%q…", n.Value[:limit])
		}
		return fmt.Sprintf("%q", n.Value)
	}
}

// complain records a problem at a node.
func (p *parser) complain(n *yaml.Node, got, want, remedy string) {
	p.report(p.at(n), got, want, remedy)
}

func (p *parser) report(at position, got, want, remedy string) {
	p.problems = append(p.problems, problem{at: at, got: got, want: want, remedy: remedy})
}

func (p *parser) at(n *yaml.Node) position { return p.place(n.Line, n.Column) }

// place is where a line of the parsed text is in the file.
func (p *parser) place(line, column int) position {
	if line < 1 || line > len(p.lines) {
		return position{}
	}
	return position{line: p.lines[line-1], column: column}
}
