package schema

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v5"
)

// Invalid is a document that is not what it should be, with every violation found.
type Invalid struct {
	Source     string
	Violations []Violation
}

// Remedy says what the author of the document can do.
func (e *Invalid) Remedy() string {
	return "mend " + e.Source + "; `balena-migrate schema migration` describes every member"
}

// Violation is one place of a document: a JSON pointer, what is there, and what should be.
type Violation struct {
	Pointer string
	Got     string
	Want    string
}

// Error lists the violations, one a line when there are several.
func (e *Invalid) Error() string {
	lines := make([]string, len(e.Violations))
	for i, v := range e.Violations {
		at := v.Pointer
		if at == "" {
			at = "document"
		}
		lines[i] = fmt.Sprintf("%s: found %s, expected %s", at, v.Got, v.Want)
	}
	if len(lines) == 1 {
		return e.Source + ": " + lines[0]
	}
	return e.Source + ":\n  " + strings.Join(lines, "\n  ")
}

func invalid(source, pointer, got, want string) *Invalid {
	return &Invalid{Source: source, Violations: []Violation{{Pointer: pointer, Got: got, Want: want}}}
}

// violations turns jsonschema's tree of causes into its leaves, the places a person can mend.
func violations(source string, tree any, err error) error {
	var top *jsonschema.ValidationError
	if !errors.As(err, &top) {
		return fmt.Errorf("%s: %w", source, err)
	}
	out := &Invalid{Source: source}
	var walk func(*jsonschema.ValidationError)
	walk = func(e *jsonschema.ValidationError) {
		if strings.HasSuffix(e.KeywordLocation, "/additionalProperties") {
			out.Violations = append(out.Violations, unknown(tree, e)...)
			return
		}
		if len(e.Causes) == 0 {
			out.Violations = append(out.Violations, Violation{
				Pointer: e.InstanceLocation, Got: describe(tree, e.InstanceLocation), Want: want(e),
			})
			return
		}
		for _, c := range e.Causes {
			walk(c)
		}
	}
	walk(top)
	return out
}

// want says in words what the keyword that was violated asks for.
func want(e *jsonschema.ValidationError) string {
	switch keyword := e.KeywordLocation[strings.LastIndex(e.KeywordLocation, "/")+1:]; keyword {
	case "type":
		return strings.ReplaceAll(strings.TrimPrefix(before(e.Message, ", but got"), "expected "), " or ", " or a ")
	case "required":
		return "the members " + strings.TrimPrefix(e.Message, "missing properties: ")
	default:
		return e.Message
	}
}

func before(s, sep string) string {
	head, _, _ := strings.Cut(s, sep)
	return head
}

// describe says what is at the pointer without giving long values away.
func describe(tree any, pointer string) string { return kind(lookUp(tree, pointer)) }

// lookUp follows a JSON pointer (RFC 6901); nil is nothing.
func lookUp(tree any, pointer string) any {
	for _, token := range strings.Split(pointer, "/")[1:] {
		token = strings.ReplaceAll(strings.ReplaceAll(token, "~1", "/"), "~0", "~")
		switch node := tree.(type) {
		case map[string]any:
			tree = node[token]
		case []any:
			i, err := strconv.Atoi(token)
			if err != nil || i < 0 || i >= len(node) {
				return nil
			}
			tree = node[i]
		}
	}
	return tree
}

func kind(v any) string {
	switch v := v.(type) {
	case nil:
		return "nothing"
	case string:
		return fmt.Sprintf("the string %q", clip(v))
	case bool:
		return strconv.FormatBool(v)
	case map[string]any:
		return "an object"
	case []any:
		return "an array"
	default:
		return fmt.Sprintf("the number %v", v)
	}
}

// snippet shows the beginning of something that is not JSON.
func snippet(data []byte) string {
	if len(data) == 0 {
		return "nothing"
	}
	return fmt.Sprintf("%q", clip(string(data)))
}

func clip(s string) string {
	const limit = 40
	if len(s) > limit {
		return s[:limit] + "…"
	}
	return s
}
