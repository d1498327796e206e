package schema

import (
	"maps"
	"slices"
	"strings"

	"github.com/goccy/go-json"
	"github.com/santhosh-tekuri/jsonschema/v5"
)

// unknown reports members that a closed object does not have, each at its own place, with those it has.
func unknown(tree any, e *jsonschema.ValidationError) []Violation {
	known := members(e.AbsoluteKeywordLocation)
	object, _ := lookUp(tree, e.InstanceLocation).(map[string]any)
	var out []Violation
	for _, name := range slices.Sorted(maps.Keys(object)) {
		if slices.Contains(known, name) {
			continue
		}
		want := "one of " + strings.Join(known, ", ")
		if near := nearest(name, known); near != "" {
			want = near + "? It has " + strings.Join(known, ", ")
		}
		pointer := e.InstanceLocation + "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(clip(name))
		out = append(out, Violation{Pointer: pointer, Got: "an unknown member", Want: want})
	}
	return out
}

// members lists the properties of the schema whose additionalProperties keyword lies at location, a URL with a JSON
// pointer; none when there are none.
func members(location string) []string {
	url, pointer, _ := strings.Cut(location, "#")
	text, err := Text(strings.TrimPrefix(url, baseURL))
	if err != nil {
		return nil
	}
	var tree any
	if json.Unmarshal(text, &tree) != nil {
		return nil
	}
	node, _ := lookUp(tree, strings.TrimSuffix(pointer, "/additionalProperties")).(map[string]any)
	properties, _ := node["properties"].(map[string]any)
	return slices.Sorted(maps.Keys(properties))
}

// nearest is the name that was most likely meant, "" if none is near: the same but for case, or two letters apart.
func nearest(name string, known []string) string {
	const near = 2
	best, distance := "", near+1
	for _, k := range known {
		if d := edits(strings.ToLower(name), k); d < distance && d < len(k) {
			best, distance = k, d
		}
	}
	return best
}

// edits counts the letters to insert, delete or replace to get from a to b (Levenshtein); far apart counts as far.
func edits(a, b string) int {
	const far = 64
	if len(a) > far || len(b) > far {
		return far
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
