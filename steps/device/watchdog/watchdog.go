// Package watchdog finds the machine's hardware watchdog, which resets a machine that hangs, and says what can be had of
// it: by step reboot while the old system shuts down, and by stage 2.
//
// Sources: Documentation/watchdog/watchdog-api.rst and watchdog-parameters.rst, Documentation/ABI/testing/sysfs-class-watchdog.
package watchdog

import (
	"cmp"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps/host"
)

const class = "/sys/class/watchdog"

// softIdentity is what softdog says of itself: a timer of the kernel, which ends with it.
const softIdentity = "Software Watchdog"

// counters is how far a driver's hardware counts by itself, in seconds, for kernels that do not say (max_timeout). Where
// the hardware counts less than it is told to, the kernel feeds it in between, and stops to when it restarts.
var counters = map[string]int64{"i6300esb": 2046, "iTCO_wdt": 613, "sp5100_tco": 65535} //nolint:gochecknoglobals // a table

// Look describes the first hardware watchdog that the running system has, and the modules of those that stage 2 can have.
// It is nil where there is neither.
func Look(r host.Reader, release string) *schema.WatchdogFacts {
	f := &schema.WatchdogFacts{Modules: Modules(r, release)}
	entries, _ := r.ReadDir(class) // kernels before 4.5, and those without a watchdog, don't have it
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "watchdog") {
			continue
		}
		if at := class + "/" + e.Name(); line(r, at+"/identity") != softIdentity {
			describe(r, at, f)
			break
		}
	}
	if f.Device == "" && len(f.Modules) == 0 {
		return nil
	}
	f.RebootTimeout, f.Note = throughReboot(f)
	return f
}

func describe(r host.Reader, at string, f *schema.WatchdogFacts) {
	f.Device, f.Identity = "/dev/"+path.Base(at), line(r, at+"/identity")
	if driver, err := r.Readlink(at + "/device/driver"); err == nil {
		f.Driver = path.Base(driver)
	}
	f.Timeout = number(r, at+"/timeout")
	f.MaxTimeout = cmp.Or(number(r, at+"/max_timeout"), counters[f.Driver])
	f.NoWayOut = number(r, at+"/nowayout") == 1
	if line(r, at+"/state") == "active" {
		f.HeldBy = cmp.Or(holder(r, f.Device), "the firmware or the kernel")
	}
}

const (
	// wish is how long a shutdown, the firmware and a kernel's start may take together: init has 5 minutes of it until step
	// reboot's process goes past it.
	wish = 10 * time.Minute
	// least is what there is any use in: systemd alone gives a unit 90 s to stop.
	least = 3 * time.Minute
)

// throughReboot is how many seconds the watchdog is armed with before the reboot; 0 with the reason for leaving it alone.
func throughReboot(f *schema.WatchdogFacts) (int64, string) {
	switch {
	case f.Device == "":
		return 0, "the running system has not loaded its driver; stage 2 will"
	case f.HeldBy == systemd:
		return 0, "systemd has it, and arms it for the reboot itself (RebootWatchdogSec, 10 minutes by default)"
	case f.HeldBy != "":
		return 0, "it runs already, started by " + f.HeldBy
	case f.MaxTimeout == 0:
		return 0, "how far its hardware counts is not known: it could reset a migration that is well"
	case f.MaxTimeout < int64(least/time.Second):
		return 0, fmt.Sprintf("it counts to %d s, and a reboot may take longer", f.MaxTimeout)
	}
	return min(f.MaxTimeout, int64(wish/time.Second)), ""
}

// systemd is what holder calls PID 1 with that name.
const systemd = "systemd"

// holder names the process that has a device open, empty if none is found.
func holder(r host.Reader, device string) string {
	names := []string{device}
	if device == "/dev/watchdog0" {
		names = append(names, "/dev/watchdog") // the same device by its old name
	}
	processes, err := r.ReadDir("/proc")
	if err != nil {
		return ""
	}
	for _, p := range processes {
		if _, err := strconv.Atoi(p.Name()); err != nil {
			continue
		}
		fds, err := r.ReadDir("/proc/" + p.Name() + "/fd")
		if err != nil {
			continue // it has ended
		}
		for _, fd := range fds {
			to, err := r.Readlink("/proc/" + p.Name() + "/fd/" + fd.Name())
			if err == nil && (to == names[0] || to == names[len(names)-1]) {
				return cmp.Or(line(r, "/proc/"+p.Name()+"/comm"), "process "+p.Name())
			}
		}
	}
	return ""
}

func line(r host.Reader, name string) string {
	data, err := r.ReadFile(name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

// number is 0 for what is none.
func number(r host.Reader, name string) int64 {
	n, _ := strconv.ParseInt(line(r, name), 10, 64)
	return n
}
