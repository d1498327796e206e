// Package schema holds every JSON document of balena-migrate: each has a JSON schema (draft 2020-12) in a file
// of its name, and beside it the one Go type that mirrors it.
//
// Documents that come from outside are read in two passes. The first decodes into plain values and checks them
// against the schema, so that every violation is reported by JSON pointer. Only a valid document is then decoded
// into its type; goccy/go-json matches keys regardless of case and fills its target even when it fails, so the
// schema goes first and the value of a failed decode is dropped.
//
// Within a version documents only ever gain optional members.
package schema

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"path"
	"sort"
	"strings"
	"sync"

	"github.com/goccy/go-json"
	"github.com/santhosh-tekuri/jsonschema/v5"
)

// MaxSize is the largest document that is read, in bytes. The largest of ours, the index of a 16 GiB image, is
// about 2.5 MB.
const MaxSize = 16 << 20

const baseURL = "https://balena-migrate.invalid/schema/"

//go:embed *.json
var files embed.FS

// Names lists the documents, sorted.
func Names() []string {
	entries, err := files.ReadDir(".")
	if err != nil {
		return nil
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), path.Ext(e.Name())))
	}
	sort.Strings(names)
	return names
}

// Text returns the JSON schema of the named document.
func Text(name string) ([]byte, error) {
	data, err := files.ReadFile(name + ".json")
	if err != nil {
		return nil, fmt.Errorf("schema %q: there is none; there are: %s", name, strings.Join(Names(), ", "))
	}
	return data, nil
}

// ReadAll reads a document of at most MaxSize bytes from r; source is its name in errors.
func ReadAll(r io.Reader, source string) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", source, err)
	}
	if len(data) > MaxSize {
		return nil, &Invalid{Source: source, Violations: []Violation{{
			Got: fmt.Sprintf("more than %d MiB", MaxSize>>20), Want: "a JSON document of at most that size",
		}}}
	}
	return data, nil
}

// Peek returns the "schema" member of a document, whatever else is in it.
func Peek(data []byte, source string) (string, error) {
	tree, err := parse(data, source)
	if err != nil {
		return "", err
	}
	object, ok := tree.(map[string]any)
	if !ok {
		return "", invalid(source, "", kind(tree), "a JSON object")
	}
	name, ok := object["schema"].(string)
	if !ok {
		return "", invalid(source, "/schema", kind(object["schema"]), `the document's name and version, e.g. "`+MigrationName+`"`)
	}
	return name, nil
}

// Decode checks data against the named schema ("migration", "result", ...) and fills into. source is the
// document's name in errors. Bad documents give *Invalid; into is then not to be used.
func Decode(data []byte, source, name string, into any) error {
	tree, err := parse(data, source)
	if err != nil {
		return err
	}
	compiled, err := compiled(name)
	if err != nil {
		return err
	}
	if err := compiled.Validate(tree); err != nil {
		return violations(source, tree, err)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return invalid(source, "", err.Error(), "a "+name+" document")
	}
	return nil
}

// Encode returns v as indented JSON with a newline at its end.
func Encode(v any) ([]byte, error) {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	return append(data, '\n'), nil
}

// parse decodes data into plain values, numbers kept as text.
func parse(data []byte, source string) (any, error) {
	var tree any
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if err := dec.Decode(&tree); err != nil {
		return nil, invalid(source, "", snippet(data)+" ("+err.Error()+")", "one JSON document")
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, invalid(source, "", "more after the document's end", "exactly one JSON document")
	}
	return tree, nil
}

// cache holds the schemas compiled so far, as a compiled regexp would be held: they never change, and compiling one
// costs more than checking a document by it.
var cache sync.Map //nolint:gochecknoglobals // see above

func compiled(name string) (*jsonschema.Schema, error) {
	if c, ok := cache.Load(name); ok {
		return c.(*jsonschema.Schema), nil
	}
	c, err := compile(name)
	if err == nil {
		cache.Store(name, c)
	}
	return c, err
}

// compile reads the named schema and those it refers to. Formats are not used, so that whether they are
// asserted (a trap of jsonschema/v5) makes no difference.
func compile(name string) (*jsonschema.Schema, error) {
	c := jsonschema.NewCompiler()
	c.LoadURL = func(url string) (io.ReadCloser, error) {
		data, err := Text(strings.TrimPrefix(url, baseURL))
		if err != nil {
			return nil, err
		}
		return io.NopCloser(bytes.NewReader(data)), nil
	}
	compiled, err := c.Compile(baseURL + name)
	if err != nil {
		return nil, fmt.Errorf("schema %s: %w", name, err)
	}
	return compiled, nil
}
