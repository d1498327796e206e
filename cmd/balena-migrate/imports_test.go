package main

import (
	"os/exec"
	"path"
	"reflect"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/balena-community/balena-migrate"

// graph is what each package of ours imports directly, in files that are not tests. Our own are without the module's name.
type graph map[string][]string

// imports asks the go command for the packages that match, tests left out.
func imports(t *testing.T, tags string, args ...string) graph {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-tags", tags, "-f", `{{.ImportPath}} {{join .Imports " "}}`}, args...)...)
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	g := graph{}
	for line := range strings.Lines(string(out)) {
		if words := strings.Fields(line); strings.HasPrefix(words[0], module) {
			for i, w := range words {
				words[i] = strings.TrimPrefix(w, module+"/")
			}
			g[words[0]] = words[1:]
		}
	}
	return g
}

// rooms are the packages of the steps.
func rooms() []string {
	var out []string
	for _, s := range sequence() {
		out = append(out, strings.TrimPrefix(reflect.TypeOf(s).PkgPath(), module+"/"))
	}
	return out
}

func within(p, dir string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }

// allowed says whether the package from may import the package of ours to: the direction of imports (design, section 2).
func allowed(from, to string) bool {
	switch {
	case from == "schema", from == "steps/host":
		return false
	case within(from, "stage2"):
		return to == "schema" || to == "steps/host" || within(to, "stage2")
	case within(from, "steps/device"):
		return to == "schema" || to == "steps/host" || within(to, "stage2") || within(to, "steps/device")
	case from == "steps":
		return to == "schema" || to == "steps/host"
	case slices.Contains(rooms(), from):
		return to != "stage2" && !slices.Contains(rooms(), to) && to != "steps/status"
	}
	return !within(to, "cmd")
}

// breaches lists what goes against the directions, or starts programs, or has tests in it.
func (g graph) breaches() []string {
	var out []string
	for from, tos := range g {
		for _, to := range tos {
			_, ours := g[to]
			switch {
			case ours && !allowed(from, to),
				to == "os/exec" && from != "steps/host",
				to == "encoding/json" || to == "testing",
				within(to, "steps/host/hosttest") || within(to, "steps/steptest"):
				out = append(out, from+" imports "+to)
			}
		}
	}
	slices.Sort(out)
	return out
}

// The program is made of rooms with doors in one direction only: what stage 2 is made of can't depend on stage 1, steps
// meet in documents, and one package starts programs.
func TestDirectionOfImports(t *testing.T) {
	for _, tags := range []string{"", "faults"} {
		g := imports(t, tags, "-deps", "./cmd/balena-migrate")
		for _, room := range append(rooms(), "schema", "steps", "steps/host", "stage2", "stage2/flash", "cmd/balena-migrate") {
			if len(g[room]) == 0 {
				t.Fatalf("tags %q: the program has no package %s", tags, room)
			}
		}
		for _, b := range g.breaches() {
			t.Errorf("tags %q: %s", tags, b)
		}
	}
}

// The packages that are not part of the program are known, so that none is forgotten above.
func TestEveryPackageIsUsed(t *testing.T) {
	program := imports(t, "", "-deps", "./cmd/balena-migrate")
	for p := range imports(t, "", "./...") {
		if _, ok := program[p]; !ok && p != "steps/host/hosttest" && p != "steps/steptest" {
			t.Errorf("%s is in no program", p)
		}
	}
}

// The libraries that were asked for do their work in the program and not only in its tests.
func TestNamedLibrariesAreUsed(t *testing.T) {
	g := imports(t, "", "-deps", "./cmd/balena-migrate")
	for _, library := range []string{
		"github.com/alecthomas/kong", "github.com/goccy/go-json", "github.com/santhosh-tekuri/jsonschema/v5",
		"github.com/klauspost/pgzip", "github.com/cavaliergopher/cpio", "go.uber.org/zap",
	} {
		used := false
		for _, tos := range g {
			used = used || slices.Contains(tos, library)
		}
		if !used {
			t.Errorf("%s is not imported by the program", library)
		}
	}
}

// Each rule refuses what it is there for.
func TestBreachesAreSeen(t *testing.T) {
	ours := []string{
		"schema", "steps", "steps/host", "steps/host/hosttest", "steps/wifi", "steps/backup", "steps/status", "steps/reboot",
		"steps/device/boot", "stage2", "stage2/flash", "cmd/balena-migrate",
	}
	cases := map[string]bool{
		"schema > steps/host": true, "schema > fmt": false, "steps/host > schema": true, "steps/host > os/exec": false,
		"stage2 > steps": true, "stage2 > steps/device/boot": true, "stage2/flash > steps/wifi": true, "stage2/flash > stage2": false, "stage2 > schema": false,
		"steps/wifi > steps/backup": true, "steps/wifi > steps": false, "steps/wifi > stage2": true, "steps/wifi > stage2/flash": false,
		"steps/wifi > steps/status": true, "steps/status > steps/reboot": false, "steps/device/boot > steps/wifi": true,
		"steps/device/boot > steps": true, "steps/device/boot > stage2/flash": false, "steps > steps/device/boot": true, "steps > steps/wifi": true,
		"cmd/balena-migrate > steps/wifi": false, "cmd/balena-migrate > os/exec": true, "stage2/flash > os/exec": true, "steps/wifi > os/exec": true,
		"steps/wifi > encoding/json": true, "steps/wifi > testing": true, "steps/wifi > steps/host/hosttest": true, "steps/status > cmd/balena-migrate": true,
	}
	for edge, bad := range cases {
		from, to, _ := strings.Cut(edge, " > ")
		g := graph{}
		for _, p := range ours {
			g[p] = nil
		}
		g[from] = []string{to}
		if got := g.breaches(); (len(got) > 0) != bad {
			t.Errorf("%s: %v, want a breach: %v", edge, got, bad)
		}
	}
	if got := rooms(); len(got) != 7 || slices.ContainsFunc(got, func(r string) bool { return path.Dir(r) != "steps" }) {
		t.Errorf("rooms %v, want seven below steps", got)
	}
}
