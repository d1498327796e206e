package backup

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

// form is a definition in one line per item: volume, source, target, filter.
func form(volumes []volume) string {
	var b strings.Builder
	for _, v := range volumes {
		for _, it := range v.items {
			fmt.Fprintf(&b, "%s %s %s", v.name, it.source, it.target)
			if it.into {
				b.WriteString("/")
			}
			if it.filter != nil {
				fmt.Fprintf(&b, " %s", it.filter)
			}
			b.WriteString("\n")
		}
	}
	return b.String()
}

const sameForm = `data /srv/data /
data /etc/app/app.conf conf/main.conf
logs /var/log/app old \.log$
`

// S91, S92 and S93 say the same in three dialects.
func TestDialects(t *testing.T) {
	files, err := filepath.Glob("testdata/dialect-*.yml")
	if err != nil || len(files) < 5 {
		t.Fatalf("samples %v: %v", files, err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		volumes, problems := parseDefinition(data)
		if len(problems) > 0 || form(volumes) != sameForm {
			t.Errorf("%s: problems %+v, got\n%s", file, problems, form(volumes))
		}
	}
}

func TestTargets(t *testing.T) {
	for text, want := range map[string]string{
		`""`: "/", ".": "/", "/": "/", "./": "/", "~": "/", "a": "a", "/a/": "a/", "a//b": "a/b", "a/.": "a/", "7": "7", "'x y'": "x y",
	} {
		volumes, problems := parseDefinition([]byte("- volume: v\n  items:\n  - source: /s\n    target: " + text + "\n"))
		if len(problems) > 0 {
			t.Errorf("target %s: %+v", text, problems)
			continue
		}
		if got := strings.TrimSuffix(strings.TrimPrefix(form(volumes), "v /s "), "\n"); got != want {
			t.Errorf("target %s: got %q, expected %q", text, got, want)
		}
	}
}

func TestVolumeEntriesJoin(t *testing.T) {
	volumes, problems := parseDefinition([]byte(
		"- volume: a\n  items: [{source: /1}]\n- volume: b\n  items: [{source: /2}]\n- volume: a\n  content: [{source: /3, target: x}]\n"))
	if got, want := form(volumes), "a /1 /\na /3 x\nb /2 /\n"; got != want || len(problems) > 0 {
		t.Errorf("got\n%sexpected\n%sproblems %+v", got, want, problems)
	}
}

func TestBadDefinitions(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"empty", "", `f: nothing; a list of volumes`},
		{"comment only", "# nothing\n", `f: nothing; a list of volumes`},
		{"no list", "volume: x\n", `f:1:1: a mapping; a list of volumes`},
		{"empty list", "[]\n", `f:1:1: a list; a list of volumes`},
		{"syntax", "- volume: x\n  items: [\n", `f:3:1: did not find`},
		{"key too far left", "# c\n- volume: x\n items:\n - source: /a\n", `f:2:1: did not find expected '-' indicator`},
		{"tab", "- volume: x\n\titems:\n", `f:2:1: found a tab character`},
		{"syntax after an added line", "- volume: x\n  - item:\n    source: [\n- volume: y\n", `f:4:1: did not find`},
		{"two documents", "- volume: x\n  items: [{source: /a}]\n---\n- volume: y\n", `f:3:1: a second YAML document; one`},
		{"unknown key", "- volume: x\n  item: 1\n  items: [{source: /a}]\n", `f:2:3: "item"; only volume, name, content, items`},
		{"unknown item key", "- volume: x\n  items:\n  - source: /a\n    filtr: b\n", `f:4:5: "filtr"; only item, source, target, filter`},
		{"key twice", "- volume: x\n  items:\n  - source: /a\n    source: /b\n", `f:4:5: a second source; one`},
		{"no name", "- items: [{source: /a}]\n", `f:1:3: the volume name ""; a letter or digit`},
		{"name with a space", "- volume: my data\n  items: [{source: /a}]\n", `f:1:11: the volume name "my data"; a letter or digit`},
		{"name with a dot", "- volume: .data\n  items: [{source: /a}]\n", `f:1:11: the volume name ".data"; a letter`},
		{"name with a slash", "- volume: a/b\n  items: [{source: /a}]\n", `f:1:11: the volume name "a/b"; a letter`},
		{"long name", "- volume: " + strings.Repeat("n", 201) + "\n  items: [{source: /a}]\n", `f:1:11: the volume name "nnn`},
		{"two names", "- volume: a\n  name: b\n  items: [{source: /a}]\n", `f:2:9: both volume and name; one name`},
		{"no items", "- volume: a\n", `f:1:3: a volume without items; a list`},
		{"items no list", "- volume: a\n  items: /x\n", `f:2:10: a volume without items; a list`},
		{"items and content", "- volume: a\n  items: [{source: /a}]\n  content: [{source: /a}]\n", `f:3:12: both items and content; one list`},
		{"item no mapping", "- volume: a\n  items:\n  - /a\n", `f:3:5: "/a"; a mapping with only`},
		{"item at two levels", "- volume: a\n  items:\n  - item: {source: /a}\n    target: b\n", `f:3:5: fields both below and beside item; them in one place`},
		{"no source", "- volume: a\n  items:\n  - target: b\n", `f:3:5: the source ""; an absolute path`},
		{"relative source", "- volume: a\n  items:\n  - source: b\n", `f:3:13: the source "b"; an absolute path`},
		{"NUL", "- volume: a\n  items:\n  - source: \"/b\\0\"\n", `f:3:13: the source "/b\x00"; an absolute path`},
		{"source a list", "- volume: a\n  items:\n  - source: [/b]\n", `f:3:13: a list; text`},
		{"target out of the volume", "- volume: a\n  items:\n  - source: /b\n    target: x/../../y\n", `f:4:13: the target "x/../../y"; a path inside`},
		{"long target", "- volume: a\n  items:\n  - source: /b\n    target: " + strings.Repeat("t", 256) + "\n", `f:4:13: the target "ttt`},
		{"glob as filter", "- volume: a\n  items:\n  - source: /b\n    filter: '*.conf'\n", "f:4:13: error parsing regexp: missing argument to repetition operator: `*`; a regular expression"},
		{"alias", "- volume: &n a\n  items: [{source: /a}]\n- volume: *n\n  items: [{source: /b}]\n", `f:3:11: the alias *n; text`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, problems := parseDefinition([]byte(c.text))
			if len(problems) == 0 {
				t.Fatal("no problem found")
			}
			p := problems[0]
			if got := p.at.in("f") + ": " + p.got + "; " + p.want; !strings.HasPrefix(got, c.want) || p.remedy == "" {
				t.Errorf("got      %s (%s)\nexpected %s", got, p.remedy, c.want)
			}
		})
	}
}

// All problems are told at once, each at its own line, also behind lines that spellOut added.
func TestAllProblemsAtOnce(t *testing.T) {
	_, problems := parseDefinition([]byte("- volume: a\n  - item:\n    source: x\n  - item:\n    source: y\n- volume: /\n  - item:\n    source: z\n"))
	var at []string
	for _, p := range problems {
		at = append(at, p.at.in("f"))
	}
	if got, want := strings.Join(at, " "), "f:3:13 f:5:13 f:6:11 f:8:13"; got != want {
		t.Errorf("got %s, expected %s", got, want)
	}
}

func FuzzDefinition(f *testing.F) {
	files, err := filepath.Glob("testdata/dialect-*.yml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		volumes, problems := parseDefinition(data)
		lines := strings.Count(string(data), "\n") + 1
		for _, p := range problems {
			if p.got == "" || p.want == "" || p.remedy == "" || p.at.line > lines {
				t.Errorf("problem %+v in %d lines", p, lines)
			}
		}
		if len(problems) > 0 {
			return
		}
		for _, v := range volumes {
			if !volumeName.MatchString(v.name) || len(v.items) == 0 {
				t.Errorf("volume %+v passed", v)
			}
			for _, it := range v.items {
				top := path.Join(v.name, it.target)
				if !path.IsAbs(it.source) || top != v.name && !strings.HasPrefix(top, v.name+"/") {
					t.Errorf("item %+v of %s passed", it, v.name)
				}
			}
		}
	})
}
