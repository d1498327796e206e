package report

import (
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/balena-community/balena-migrate/schema"
)

// CSV writes a line per device, comma separated (RFC 4180), for spreadsheets and scripts.
func CSV(w io.Writer, fleet *schema.FleetReport) error {
	out := csv.NewWriter(w)
	lines := [][]string{{
		"host", "address", "groups", "fate", "reason", "since", "device_id", "os", "os_version", "arch", "device_type", "disk_bytes",
		"memory_bytes", "image_version", "attempts", "last_step", "seconds", "remedy",
	}}
	for i := range fleet.Devices {
		d := &fleet.Devices[i]
		f := d.Facts
		lines = append(lines, []string{
			d.Host, d.Address, strings.Join(d.Groups, " "), string(d.Fate), d.Reason, d.Since, d.DeviceID, f.OSID, f.OSVersion, f.Arch,
			f.DeviceType, size(f.DiskSize), size(f.Memory), f.ImageVersion, strconv.Itoa(len(d.Attempts) + d.Dropped), lastStep(d),
			fmt.Sprintf("%.3f", seconds(d.Last())), remedy(d),
		})
	}
	return writeLines(out, lines)
}

// MigDB writes migdb-stats' columns (F10), separated by ";": id, state, migration attempts, connection attempts, created,
// last, migration offset, duration, balena id, fail message, comment. The state is where migdb would have the unit (S141,
// S151, S153); the comment is its class of failure (S154). Offset and duration are in seconds: from the first run to the
// last, and in the steps of the last.
func MigDB(w io.Writer, fleet *schema.FleetReport) error {
	out := csv.NewWriter(w)
	out.Comma = ';'
	lines := [][]string{{
		"id", "state", "migration attempts", "connection attempts", "created", "last", "migration offset", "duration", "balena id",
		"fail message", "comment",
	}}
	for i := range fleet.Devices {
		d := &fleet.Devices[i]
		message := ""
		if d.Fate.Trouble() {
			message = d.Reason
		}
		lines = append(lines, []string{
			d.Host, state(d.Fate), strconv.Itoa(attempts(d)), strconv.Itoa(len(d.Attempts) + d.Dropped), d.Attempts[0].Started,
			d.Last().Ended, fmt.Sprintf("%.0f", offset(d)), fmt.Sprintf("%.0f", seconds(d.Last())), d.DeviceID, message, class(d),
		})
	}
	return writeLines(out, lines)
}

func writeLines(out *csv.Writer, lines [][]string) error {
	for _, line := range lines {
		for i, text := range line {
			line[i] = plain(text)
		}
	}
	return out.WriteAll(lines)
}

// plain keeps a spreadsheet from taking what a device said for a formula.
func plain(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}

// size is empty where it is not known.
func size(n int64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

func lastStep(d *schema.DeviceReport) string {
	if s := d.Last().Steps; len(s) > 0 {
		return s[len(s)-1].Name
	}
	return ""
}

// remedy is what helps with the device's first cause.
func remedy(d *schema.DeviceReport) string {
	for _, c := range causesOf(d) {
		if c.Remedy != "" {
			return c.Remedy
		}
	}
	return ""
}

// state is migdb's word.
func state(f schema.Fate) string {
	switch f {
	case schema.FateReady, schema.FatePending:
		return "INIT"
	case schema.FateMigrated:
		return "MIGRATED"
	case schema.FateOnline:
		return "DONE"
	}
	return "FAIL"
}

// attempts are the runs that were more than a look. Older ones that were not kept count as such.
func attempts(d *schema.DeviceReport) int {
	n := d.Dropped
	for _, a := range d.Attempts {
		if !a.Check {
			n++
		}
	}
	return n
}

// offset is the time from the first run to the last, in seconds; 0 where a time is not one.
func offset(d *schema.DeviceReport) float64 {
	first, err1 := time.Parse(time.RFC3339, d.Attempts[0].Started)
	last, err2 := time.Parse(time.RFC3339, d.Last().Started)
	if err1 != nil || err2 != nil {
		return 0
	}
	return last.Sub(first).Seconds()
}

// class is migdb's class of failure (S154).
func class(d *schema.DeviceReport) string {
	if d.Fate == schema.FateOnline {
		return "DONE"
	}
	step := trouble(d.Last())
	if !d.Fate.Trouble() || step == nil {
		return ""
	}
	text := strings.ToLower(d.Reason)
	for _, b := range step.Blocked {
		text += " " + strings.ToLower(b.Check+" "+b.Got)
	}
	switch {
	case step.Status == schema.StepUnreachable:
		return "NO_CONN"
	case d.Fate == schema.FateLost:
		return "LOST"
	case strings.Contains(text, "no space left"), strings.Contains(text, "space "):
		return "NO_SPACE"
	case strings.Contains(text, "read-only"):
		return "READ_ONLY"
	case step.Name == "backup":
		return "BCKUP"
	case strings.Contains(text, "timeout"), strings.Contains(text, "timed out"), strings.Contains(text, "no answer within"):
		return "TIMEOUT"
	}
	return "OTHER"
}
