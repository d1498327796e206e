package watchdog

import (
	"path"
	"slices"
	"strings"

	"github.com/balena-community/balena-migrate/steps/host"
)

// driverDir is where the kernel's build puts drivers of watchdogs.
const driverDir = "/drivers/watchdog/"

// Modules lists the kernel modules that drive this machine's watchdogs, whether they are loaded or not: Debian leaves it to
// the administrator to load them. First those in use, with the modules of what they hang on, such as lpc_ich under
// iTCO_wdt; then those that depmod(8) knows for a device of the machine. Built in ones are in neither list.
func Modules(r host.Reader, release string) []string {
	var out []string
	add := func(names ...string) {
		for _, n := range names {
			if n = strings.ReplaceAll(n, "-", "_"); !slices.Contains(out, n) {
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
	known := aliases(r, "/lib/modules/"+release)
	for _, at := range devices(r, known) {
		alias := line(r, at+"/modalias")
		for _, k := range known {
			ok, err := path.Match(k.pattern, alias)
			if err == nil && ok {
				if dir, err := r.RealPath(at); err == nil {
					add(above(r, path.Dir(dir))...)
				}
				add(k.module)
			}
		}
	}
	return out
}

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

// aliases are those of watchdog drivers.
func aliases(r host.Reader, dir string) []alias {
	deps, err := r.ReadFile(dir + "/modules.dep")
	if err != nil {
		return nil
	}
	drivers := map[string]bool{}
	for l := range strings.Lines(string(deps)) {
		file, _, _ := strings.Cut(l, ":")
		if strings.Contains("/"+file, driverDir) {
			name, _, _ := strings.Cut(path.Base(file), ".ko")
			drivers[strings.ReplaceAll(name, "-", "_")] = true
		}
	}
	text, err := r.ReadFile(dir + "/modules.alias")
	if err != nil {
		return nil
	}
	var out []alias
	for l := range strings.Lines(string(text)) {
		f := strings.Fields(l)
		if len(f) == 3 && f[0] == "alias" && drivers[strings.ReplaceAll(f[2], "-", "_")] {
			out = append(out, alias{pattern: f[1], module: f[2]})
		}
	}
	return out
}

// devices lists the devices of the buses that such drivers are for, "pci" of "pci:v00008086d*". USB is left out: what is
// plugged in there comes and goes.
func devices(r host.Reader, known []alias) []string {
	var buses, out []string
	for _, k := range known {
		bus, _, _ := strings.Cut(k.pattern, ":")
		if bus == "of" {
			bus = "platform" // devices of the device tree
		}
		if bus != "usb" && !slices.Contains(buses, bus) {
			buses = append(buses, bus)
		}
	}
	for _, bus := range buses {
		dir := "/sys/bus/" + bus + "/devices"
		entries, _ := r.ReadDir(dir) // not every kernel knows every bus
		for _, e := range entries {
			out = append(out, dir+"/"+e.Name())
		}
	}
	return out
}
