package watchdog

import (
	"bytes"
	"path"
	"slices"
	"strings"

	"github.com/balena-community/balena-migrate/steps/host"
)

// driverDir is where the kernel's build puts drivers of watchdogs.
const driverDir = "/drivers/watchdog/"

// Modules lists the kernel modules that drive this machine's watchdogs, whether they are loaded or not: Debian leaves it to
// the administrator to load them. First those in use, with the modules of what they hang on, such as lpc_ich under
// iTCO_wdt; then those that depmod(8) knows for a device of the machine. What is built in is in neither list.
func Modules(r host.Reader, release string) []string {
	tree := readTree(r, "/lib/modules/"+release)
	var out []string
	add := func(names ...string) {
		for _, n := range names {
			if n = underscored(n); tree.has(n) && !slices.Contains(out, n) {
				out = append(out, n)
			}
		}
	}
	entries, _ := r.ReadDir(class) // see Look
	for _, e := range entries {
		at := class + "/" + e.Name()
		if dir, err := r.RealPath(at + "/device"); err == nil && line(r, at+"/identity") != softIdentity {
			add(above(r, dir)...)
		}
	}
	for _, at := range tree.devices(r) {
		name := line(r, at+"/modalias")
		for _, k := range tree.aliases {
			ok, err := path.Match(k.pattern, name)
			if err != nil || !ok {
				continue
			}
			if dir, err := r.RealPath(at); err == nil {
				add(above(r, path.Dir(dir))...)
			}
			add(k.module)
		}
	}
	return out
}

func underscored(name string) string { return strings.ReplaceAll(name, "-", "_") }

// above lists the modules that drive a device and what it hangs on, that nearest to the processor first.
func above(r host.Reader, dir string) []string {
	var out []string
	for ; strings.HasPrefix(dir, "/sys/devices/"); dir = path.Dir(dir) {
		if module, err := r.Readlink(dir + "/driver/module"); err == nil {
			out = append([]string{path.Base(module)}, out...)
		}
	}
	return out
}

// alias is a line of modules.alias: a driver and the pattern of the devices that it is for.
type alias struct{ pattern, module string }

// tree is what depmod(8) knows of a kernel's modules: modules.dep, and the aliases of watchdog drivers.
type tree struct {
	deps    []byte
	aliases []alias
}

// readTree is empty for a kernel without modules. The lists have tens of thousands of lines: none is copied that is not needed.
func readTree(r host.Reader, dir string) tree {
	deps, err := r.ReadFile(dir + "/modules.dep")
	if err != nil {
		return tree{}
	}
	t := tree{deps: deps}
	drivers := t.drivers()
	text, err := r.ReadFile(dir + "/modules.alias")
	if err != nil || len(drivers) == 0 {
		return t
	}
	for l := range bytes.Lines(text) {
		l = bytes.TrimSuffix(l, []byte("\n"))
		if !drivers[string(l[bytes.LastIndexByte(l, ' ')+1:])] {
			continue
		}
		if f := strings.Fields(string(l)); len(f) == 3 && f[0] == "alias" {
			t.aliases = append(t.aliases, alias{pattern: f[1], module: f[2]})
		}
	}
	return t
}

// drivers are those of watchdogs, by both spellings of their names.
func (t tree) drivers() map[string]bool {
	out := map[string]bool{}
	for rest := t.deps; ; {
		i := bytes.Index(rest, []byte(driverDir))
		if i < 0 {
			return out
		}
		rest = rest[i+len(driverDir):]
		if n := bytes.Index(rest, []byte(".ko")); n > 0 {
			out[string(rest[:n])], out[underscored(string(rest[:n]))] = true, true
		}
	}
}

// has says whether there is a file of a module; file names may have dashes in place of underscores.
func (t tree) has(name string) bool {
	return bytes.Contains(t.deps, []byte("/"+name+".ko")) || bytes.Contains(t.deps, []byte("/"+strings.ReplaceAll(name, "_", "-")+".ko"))
}

// devices lists the devices of the buses that such drivers are for, "pci" of "pci:v00008086d*". USB is left out: what is
// plugged in there comes and goes.
func (t tree) devices(r host.Reader) []string {
	var buses, out []string
	for _, k := range t.aliases {
		bus, _, _ := strings.Cut(k.pattern, ":")
		if bus == "of" {
			bus = "platform" // devices of the device tree
		}
		if bus == "usb" || slices.Contains(buses, bus) {
			continue
		}
		buses = append(buses, bus)
		dir := "/sys/bus/" + bus + "/devices"
		entries, _ := r.ReadDir(dir) // not every kernel knows every bus
		for _, e := range entries {
			out = append(out, dir+"/"+e.Name())
		}
	}
	return out
}
