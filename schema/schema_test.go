package schema

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/goccy/go-json"
)

// documents pairs every schema with its Go type.
func documents() map[string]any {
	return map[string]any{
		"config": &Config{}, "facts": &Facts{}, "migration": &Migration{}, "result": &Result{}, "flash-plan": &FlashPlan{},
		"outcome": &Outcome{}, "armed": &Armed{}, "status": &Status{}, "image-index": &ImageIndex{}, "image-report": &ImageReport{}, "image-download": &ImageDownload{}, "stamp": &Stamp{},
		"device-report": &DeviceReport{}, "fleet-report": &FleetReport{},
		"config-import": &ConfigImport{},
		"image-write":   &ImageWrite{},
		"registration":  &Registration{}, "device-registration": &DeviceRegistration{}, "device-arrival": &DeviceArrival{},
		"worker": &Worker{},
	}
}

func TestEverySchemaHasItsTypeAndDescriptions(t *testing.T) {
	docs := documents()
	if len(docs) != len(Names()) {
		t.Errorf("schemas %v, types for %d", Names(), len(docs))
	}
	for _, name := range Names() {
		if _, err := compile(name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		text, _ := Text(name)
		var tree map[string]any
		if err := json.Unmarshal(text, &tree); err != nil {
			t.Fatal(err)
		}
		sameMembers(t, name, tree, tree, reflect.TypeOf(docs[name]))
	}
}

// sameMembers walks schema and type together: same members, every object closed, every member described.
func sameMembers(t *testing.T, at string, doc, node map[string]any, typ reflect.Type) {
	t.Helper()
	for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice && typ.Elem().Kind() != reflect.Uint8 {
		typ = typ.Elem()
	}
	if typ.Kind() != reflect.Struct {
		return
	}
	doc, node = follow(t, doc, node)
	if node["additionalProperties"] != false {
		t.Errorf("%s: object is not closed", at)
	}
	props, _ := node["properties"].(map[string]any)
	known := map[string]bool{}
	for i := range typ.NumField() {
		f := typ.Field(i)
		tag, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		prop, ok := props[tag].(map[string]any)
		if !ok {
			t.Errorf("%s/%s: member of %s without schema", at, tag, typ.Name())
			continue
		}
		known[tag] = true
		pdoc, target := follow(t, doc, prop)
		if target["type"] == "array" {
			target, _ = target["items"].(map[string]any)
		} else if target["description"] == nil {
			t.Errorf("%s/%s: no description", at, tag)
		}
		sameMembers(t, at+"/"+tag, pdoc, target, f.Type)
	}
	for tag := range props {
		if known[tag] {
			continue
		}
		t.Errorf("%s/%s: schema has a member that %s lacks", at, tag, typ.Name())
	}
}

// follow resolves $ref within our own documents.
func follow(t *testing.T, doc, node map[string]any) (map[string]any, map[string]any) {
	t.Helper()
	for {
		ref, ok := node["$ref"].(string)
		if !ok {
			return doc, node
		}
		file, pointer, _ := strings.Cut(ref, "#")
		if file != "" {
			text, err := Text(strings.TrimPrefix(file, baseURL))
			if err != nil {
				t.Fatal(err)
			}
			doc = map[string]any{}
			if err := json.Unmarshal(text, &doc); err != nil {
				t.Fatal(err)
			}
		}
		node = doc
		for _, token := range strings.Split(pointer, "/")[1:] {
			node, _ = node[token].(map[string]any)
		}
	}
}

func TestDefaultsAreValid(t *testing.T) {
	for _, v := range []any{NewMigration(), NewResult("precheck")} {
		name := "migration"
		if r, ok := v.(*Result); ok {
			name, r.Status = "result", Converged
		}
		data, err := Encode(v)
		if err != nil {
			t.Fatal(err)
		}
		if err := Decode(data, "defaults", name, reflect.New(reflect.TypeOf(v).Elem()).Interface()); err != nil {
			t.Error(err)
		}
	}
}

func TestDecodeNamesEveryViolation(t *testing.T) {
	deep := strings.Repeat("[", 200_000)
	tests := []struct{ name, doc, want string }{
		{"unknown key", `{"schema":"migration/1","config":{"imagge":{}}}`, "/config/imagge: found an unknown member, expected image? It has backup, balena, "},
		{"other case", `{"schema":"migration/1","config":{"Image":{}}}`, "/config/Image: found an unknown member, expected image?"},
		{"unlike any", `{"schema":"migration/1","config":{"a/b~c":1}}`, "/config/a~1b~0c: found an unknown member, expected one of backup, "},
		{"two unknown", `{"schema":"migration/1","config":{"reboot":{"delay":1,"x":1}}}`, "/config/reboot/x: found an unknown member, expected one of delay_s"},
		{"wrong type", `{"schema":"migration/1","config":{"boot":{"arm":"yes"}}}`, `/config/boot/arm: found the string "yes", expected boolean`},
		{"two at once", `{"schema":"migration/1","config":{"boot":{"arm":1},"reboot":{"delay_s":0}}}`, "/config/reboot/delay_s: found the number 0"},
		{"wrong version", `{"schema":"migration/9"}`, `/schema: found the string "migration/9"`},
		{"binary", "\x7fELF\x02\x01", "expected one JSON document"},
		{"empty", "", "found nothing"},
		{"trailing", `{"schema":"migration/1"} {}`, "exactly one JSON document"},
		{"too deep", deep, "expected one JSON document"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := Decode([]byte(tt.doc), "in.json", "migration", NewMigration())
			var inv *Invalid
			if !errors.As(err, &inv) {
				t.Fatalf("got %v, want *Invalid", err)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %q, want it to contain %q", err, tt.want)
			}
		})
	}
}

func TestReadAllIsBounded(t *testing.T) {
	_, err := ReadAll(strings.NewReader(strings.Repeat(" ", MaxSize+1)), "big.json")
	if want := fmt.Sprintf("more than %d MiB", MaxSize>>20); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"schema":"migration/1","config":{"boot":{"arm":true}},"facts":{}}`))
	f.Add([]byte(`{"schema":"result/1"}`))
	f.Add([]byte(`{"schema":"device-report/1","host":"h","fate":"ready","attempts":[{"run":"r"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, name := range []string{"migration", "flash-plan", "armed", "outcome", "device-report"} {
			target := reflect.New(reflect.TypeOf(documents()[name]).Elem()).Interface()
			if err := Decode(data, "fuzz", name, target); err != nil {
				continue
			}
			if _, err := Encode(target); err != nil {
				t.Errorf("%s decodes but does not encode: %v", name, err)
			}
		}
	})
}
