package migdb

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/balena-community/balena-migrate/steps/host"
)

var update = flag.Bool("update", false, "write the golden files")

const golden = "../../../testdata/golden/migdb"

func database(t *testing.T, dir string) *Fleet {
	t.Helper()
	abs, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	f, err := Read(host.At("/"), []string{abs})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// The same database gives the same inventory, named by its folder or by the one around it, and no password is in it.
func TestInventory(t *testing.T) {
	for _, dir := range []string{golden, golden + "/db"} {
		f := database(t, dir)
		inventory, err := Inventory(f)
		if err != nil {
			t.Fatal(err)
		}
		secrets, err := Secrets(f)
		if err != nil {
			t.Fatal(err)
		}
		for name, got := range map[string][]byte{"inventory.yml": inventory, "secrets.yml": secrets} {
			file := filepath.Join(golden, name)
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if want, err := os.ReadFile(file); err != nil || string(want) != string(got) {
				t.Errorf("%v, got\n%s\nwant\n%s", err, got, want)
			}
		}
		if strings.Contains(string(inventory), "canary") {
			t.Errorf("a password is in the inventory:\n%s", inventory)
		}
		if len(f.Warnings) != 1 || !strings.HasSuffix(f.Warnings[0], "/db/units/unit-kiosk.north-Zz9:6: unknown variable SITE is left out") {
			t.Errorf("warnings %q, want SITE's place", f.Warnings)
		}
		if with := f.WithPassword(); len(with) != 2 || !strings.HasSuffix(with[0], "/unit-1001-a1B:7") {
			t.Errorf("passwords in %q, want two places", with)
		}
	}
}

func TestUnitFiles(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"plain", "UNIT_ID=a\nMIG_SSH_HOST=h\nMIG_APP=b\n", ""},
		{"several on a line, the last counts", "UNIT_ID=x; UNIT_ID=a MIG_SSH_HOST=h\nMIG_APP=b # said", ""},
		{"nothing", "", "found no MIG_SSH_HOST, expected one in every unit"},
		{"no application", "UNIT_ID=a\nMIG_SSH_HOST=h\n", "found no MIG_APP"},
		{"a command", "UNIT_ID=a\nrm -rf /\n", "unit:2:1: found a command, expected NAME=value"},
		{"an assignment for a command", "UNIT_ID=a touch x\n", "unit:1:11: found a command"},
		{"substitution", "UNIT_ID=a\nMIG_SSH_HOST=$(touch canary)\n", "unit:2:14: found a command substitution"},
		{"backquotes in quotes", "MIG_SSH_HOST=\"`touch canary`\"\n", "unit:1:15: found a command substitution"},
		{"parameter", "MIG_SSH_HOST=$HOME\n", "unit:1:14: found the value of a variable"},
		{"arithmetic", "MIG_SSH_PORT=$((1+1))\n", "unit:1:14: found arithmetic"},
		{"home", "MIG_CFG_DIR=~/x\n", "unit:1:13: found ~"},
		{"array", "MIG_SSH_OPTS=(a b)\n", "unit:1: MIG_SSH_OPTS: found a list"},
		{"append and export", "UNIT_ID=\nexport UNIT_ID+=a\nMIG_SSH_HOST=h MIG_APP=b\n", ""},
		{"redirection", "UNIT_ID=a >/etc/passwd\n", "unit:1:1: found a command"},
		{"background", "UNIT_ID=a &\n", "unit:1:1: found a command"},
		{"if", "if true; then UNIT_ID=a; fi\n", "unit:1:1: found a command"},
		{"function", "f() { :; }\n", "unit:1:1: found a command"},
		{"open quotes", "UNIT_ID=a\nMIG_SSH_PASSWD='canary\n", "unit:2:16: found no shell syntax"},
		{"port", "MIG_SSH_PORT=ssh\n", "unit:1: MIG_SSH_PORT: found no port"},
		{"large port", "MIG_SSH_PORT=65536\n", "found no port"},
		{"status", "STATUS=READY\n", "unit:1: STATUS: found an unknown status"},
		{"name", "UNIT_ID='a b'\nMIG_SSH_HOST=h\nMIG_APP=b", `found UNIT_ID "a b"`},
		{"pattern", "UNIT_ID='k[1:9]'\nMIG_SSH_HOST=h\nMIG_APP=b", "expected a name without"},
	} {
		t.Run(c.name, func(t *testing.T) {
			u, _, err := read([]byte(c.text), "/x/unit")
			if c.want == "" {
				if err != nil || u.ID != "a" || u.Host != "h" || u.App != "b" || u.State != todo {
					t.Errorf("%+v, %v", u, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "canary") {
				t.Errorf("%v, want %q and no value", err, c.want)
			}
		})
	}
}

func TestDatabaseIsWholeOrRefused(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	refused := func(want ...string) {
		t.Helper()
		_, err := Read(host.At("/"), []string{dir})
		for _, w := range want {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("%v, want %q", err, w)
			}
		}
	}
	refused("found no database")
	put("units/readme", "not a unit file")
	refused("found no unit files")
	put("units/unit-a-1", "MIG_SSH_HOST=h\nMIG_APP=b\n")
	put("fail/fail-a-2", "MIG_SSH_HOST=h\nMIG_APP=b\n")
	put("tmp/unit-b-3", "MIG_SSH_HOST=h\n")
	put("tmp/unit-c-3", strings.Repeat("#", maxUnit+1))
	refused("fail-a-2: found unit a in", "unit-b-3: found no MIG_APP", "unit-c-3: found more than 1 MiB")
}

func TestGroupsOfFleetsDoNotMix(t *testing.T) {
	f := &Fleet{Units: []*Unit{{ID: "a", State: todo, App: "x/y"}, {ID: "b", State: todo, App: "x-y"}}}
	if _, err := Inventory(f); err == nil || !strings.Contains(err.Error(), `"x-y"`) {
		t.Errorf("%v, want the two names", err)
	}
}

// FuzzUnit: whatever a unit file has, it is read or refused; and what was read is the same in YAML.
func FuzzUnit(f *testing.F) {
	f.Add("UNIT_ID=a\nMIG_SSH_HOST=h\nMIG_APP=b\nMIG_SSH_PASSWD='x'\n")
	f.Add("A=\"\\\n\"; B=$'x' # c")
	f.Add("{{ x }} 'a' \\")
	f.Fuzz(func(t *testing.T, text string) {
		if u, _, err := read([]byte(text), "/units/unit-f-1"); err == nil {
			data, err := Inventory(&Fleet{Units: []*Unit{u}})
			if err != nil {
				t.Fatal(err)
			}
			var back struct {
				All struct {
					Children map[string]struct {
						Hosts map[string]map[string]any `yaml:"hosts"`
					} `yaml:"children"`
				} `yaml:"all"`
			}
			if err := yaml.Unmarshal(data, &back); err != nil {
				t.Fatalf("%v:\n%s", err, data)
			}
			if got := back.All.Children["migdb_units"].Hosts[u.ID]["ansible_host"]; got != u.Host {
				t.Errorf("host %q became %q", u.Host, got)
			}
		}
	})
}
