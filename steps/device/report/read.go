// Package report turns the results directory of a fleet into what people and programs read: a table, JSON, CSV, JUnit
// and a web page.
//
// The playbook keeps one device-report/1 per device in that directory (the collection's plugin_utils/journal.py). They
// are read as they are; nothing is asked of a device, and a file that is damaged is named and left out.
package report

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps/host"
)

// ErrEmpty is returned for a directory without a single report: most likely it is the wrong one.
var ErrEmpty = errors.New("no device report")

// Read reads all reports of a directory. now is the time of the report.
func Read(files host.Reader, dir string, now time.Time) (*schema.FleetReport, error) {
	entries, err := files.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	fleet := &schema.FleetReport{
		Schema: schema.FleetReportName, Made: now.UTC().Format(time.RFC3339), Devices: []schema.DeviceReport{},
		Causes: []schema.Cause{}, Damaged: []schema.DamagedFile{},
	}
	for _, e := range entries {
		// The playbook's unfinished files begin with a dot; what it set aside as damaged does not end in .json.
		if name := e.Name(); strings.HasSuffix(name, ".json") && !strings.HasPrefix(name, ".") {
			add(fleet, files, dir, name)
		}
	}
	if len(fleet.Devices)+len(fleet.Damaged) == 0 {
		return nil, fmt.Errorf("%w in %s: found %d files, expected the .json files that the playbook keeps there", ErrEmpty, dir, len(entries))
	}
	slices.SortFunc(fleet.Devices, func(a, b schema.DeviceReport) int { return natural(a.Host, b.Host) })
	for _, d := range fleet.Devices {
		count(&fleet.Counts, d.Fate)
	}
	fleet.Causes = causes(fleet.Devices)
	return fleet, nil
}

// add reads one file.
func add(fleet *schema.FleetReport, files host.Reader, dir, name string) {
	d, err := device(files, path.Join(dir, name))
	if err == nil && slices.ContainsFunc(fleet.Devices, func(o schema.DeviceReport) bool { return o.Host == d.Host }) {
		err = fmt.Errorf("found another report of %s, expected one per device", d.Host)
	}
	if err != nil {
		fleet.Damaged = append(fleet.Damaged, schema.DamagedFile{File: name, Reason: strings.TrimPrefix(strings.Join(strings.Fields(err.Error()), " "), name+": ")})
		return
	}
	fleet.Devices = append(fleet.Devices, *d)
}

func device(files host.Reader, name string) (*schema.DeviceReport, error) {
	f, err := files.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := schema.ReadAll(f, path.Base(name))
	if err != nil {
		return nil, err
	}
	d := &schema.DeviceReport{}
	if err := schema.Decode(data, path.Base(name), "device-report", d); err != nil {
		return nil, err
	}
	return d, nil
}

// count adds a device to the counts.
func count(c *schema.FateCounts, f schema.Fate) {
	*counter(c, f)++
}

// Count is the number of devices of a fate.
func Count(c *schema.FateCounts, f schema.Fate) int { return *counter(c, f) }

func counter(c *schema.FateCounts, f schema.Fate) *int {
	return map[schema.Fate]*int{
		schema.FateReady: &c.Ready, schema.FateBlocked: &c.Blocked, schema.FateFailed: &c.Failed, schema.FateMigrated: &c.Migrated,
		schema.FateOnline: &c.Online, schema.FateBack: &c.Back, schema.FateLost: &c.Lost, schema.FatePending: &c.Pending,
	}[f]
}

// natural compares names as people do: numbers in them by value, so that kiosk-9 comes before kiosk-10.
func natural(a, b string) int {
	x, y := a, b
	for x != "" && y != "" {
		dx, dy := digits(x), digits(y)
		if dx > 0 && dy > 0 {
			nx, ny := strings.TrimLeft(x[:dx], "0"), strings.TrimLeft(y[:dy], "0")
			if c := len(nx) - len(ny); c != 0 {
				return c
			}
			if c := strings.Compare(nx, ny); c != 0 {
				return c
			}
			x, y = x[dx:], y[dy:]
			continue
		}
		if x[0] != y[0] {
			return int(x[0]) - int(y[0])
		}
		x, y = x[1:], y[1:]
	}
	if c := len(x) - len(y); c != 0 {
		return c
	}
	return strings.Compare(a, b)
}

// digits is how many digits s begins with.
func digits(s string) int {
	n := 0
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	return n
}
