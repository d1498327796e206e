package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/balena-community/balena-migrate/schema"
)

// The table fits a terminal of this width. More devices that are well than tableWell are only counted.
const (
	tableWidth = 80
	tableWell  = 50
	hostWidth  = 28
	tableNames = 3 // hosts named per cause
)

// colours are the SGR codes (ECMA-48, 8.3.117) of the fates.
var colours = map[schema.Fate]string{ //nolint:gochecknoglobals // a table
	schema.FateLost: "35", schema.FateFailed: "31", schema.FateBack: "31", schema.FateBlocked: "33", schema.FatePending: "36",
	schema.FateReady: "34", schema.FateMigrated: "32", schema.FateOnline: "32",
}

// Table writes the report for a terminal, those that need a person first, with colours where colour says so.
func Table(w io.Writer, fleet *schema.FleetReport, colour bool) error {
	t := table{colour: colour}
	t.head(fleet)
	t.devices(fleet)
	t.causes(fleet)
	for _, d := range fleet.Damaged {
		t.wrapped("damaged: ", "         ", d.File+": "+d.Reason)
	}
	_, err := io.WriteString(w, t.String())
	return err
}

type table struct {
	strings.Builder
	colour bool
}

// paint gives a text the colour of a fate.
func (t *table) paint(f schema.Fate, text string) string {
	if !t.colour {
		return text
	}
	return "\x1b[" + colours[f] + "m" + text + "\x1b[0m"
}

func (t *table) head(fleet *schema.FleetReport) {
	title := fmt.Sprintf("%d %s:", len(fleet.Devices), plural(len(fleet.Devices), "device"))
	t.WriteString(title)
	used, sep := len(title), ""
	for _, f := range schema.Fates() {
		n := Count(&fleet.Counts, f)
		if n == 0 {
			continue
		}
		word := fmt.Sprintf("%d %s", n, f)
		t.WriteString(sep)
		if used+len(sep)+len(word)+2 > tableWidth {
			t.WriteString("\n ")
			used = 1
		}
		t.WriteString(" " + t.paint(f, word))
		used, sep = used+len(sep)+len(word)+1, ","
	}
	t.WriteString("\n\n")
}

func (t *table) devices(fleet *schema.FleetReport) {
	width := 4
	for _, d := range fleet.Devices {
		width = min(max(width, utf8.RuneCountInString(d.Host)), hostWidth)
	}
	fmt.Fprintf(t, "%-*s  %-8s  %7s  %s\n", width, "host", "state", "time", "why")
	for _, f := range schema.Fates() {
		if n := Count(&fleet.Counts, f); !f.Trouble() && n > tableWell {
			fmt.Fprintf(t, "%-*s  %s\n", width, fmt.Sprintf("(%d)", n), t.paint(f, string(f)))
			continue
		}
		for i := range fleet.Devices {
			if fleet.Devices[i].Fate == f {
				t.device(&fleet.Devices[i], width)
			}
		}
	}
}

func (t *table) device(d *schema.DeviceReport, width int) {
	host := Clean(d.Host)
	if utf8.RuneCountInString(host) > width {
		host = string([]rune(host)[:width-1]) + "…"
	}
	pad := strings.Repeat(" ", width-utf8.RuneCountInString(host))
	first := fmt.Sprintf("%s%s  %s  %7s  ", host, pad, t.paint(d.Fate, fmt.Sprintf("%-8s", d.Fate)), Duration(seconds(d.Last())))
	t.lines(first, width+21, width+21, d.Reason)
}

func (t *table) causes(fleet *schema.FleetReport) {
	for i, c := range fleet.Causes {
		if i == 0 {
			t.WriteString("\nCauses\n")
		}
		names := strings.Join(c.Hosts[:min(tableNames, len(c.Hosts))], ", ")
		if more := len(c.Hosts) - tableNames; more > 0 {
			names += fmt.Sprintf(" and %d more", more)
		}
		step := ""
		if c.Step != "" {
			step = " in " + c.Step
		}
		t.lines(fmt.Sprintf("%4d  ", len(c.Hosts)), 6, 6, fmt.Sprintf("%s%s: %s", c.Fate, step, c.Cause))
		if c.Remedy != "" {
			t.wrapped("      remedy: ", "              ", c.Remedy)
		}
		t.wrapped("      on ", "         ", names)
	}
	if len(fleet.Damaged) > 0 {
		t.WriteString("\n")
	}
}

func (t *table) wrapped(first, rest, text string) {
	t.lines(first, utf8.RuneCountInString(first), len(rest), text)
}

// lines writes a text in lines that fit, after first, which takes used columns; the others are indented.
func (t *table) lines(first string, used, indent int, text string) {
	line, length := first, used
	for _, word := range strings.Fields(Clean(text)) {
		for length > indent && length+utf8.RuneCountInString(word) > tableWidth || utf8.RuneCountInString(word) > tableWidth-indent {
			if room := tableWidth - length; utf8.RuneCountInString(word) > tableWidth-indent && room > 0 {
				line += string([]rune(word)[:room])
				word = string([]rune(word)[room:])
			}
			t.WriteString(strings.TrimRight(line, " ") + "\n")
			line, length = strings.Repeat(" ", indent), indent
		}
		line, length = line+word+" ", length+utf8.RuneCountInString(word)+1
	}
	t.WriteString(strings.TrimRight(line, " ") + "\n")
}

// Clean removes what would move a terminal's cursor: what a device says is not ours.
func Clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)
}

// Duration shows seconds as people say them.
func Duration(s float64) string {
	switch {
	case s < 0.05:
		return "0 s"
	case s < 10:
		return fmt.Sprintf("%.1f s", s)
	case s < 60:
		return fmt.Sprintf("%.0f s", s)
	case s < 3600:
		return fmt.Sprintf("%d:%02d", int(s)/60, int(s)%60)
	}
	return fmt.Sprintf("%d:%02d h", int(s)/3600, int(s)%3600/60)
}

func plural(n int, noun string) string {
	if n == 1 {
		return noun
	}
	return noun + "s"
}

// Verdict is the exit code that the fleet deserves: 0 when every device is where it should be, 3 when a person has to look
// at one or at a damaged file, 4 when nothing is wrong but the work is not through.
func Verdict(fleet *schema.FleetReport) int {
	switch {
	case len(fleet.Damaged) > 0, slices.ContainsFunc(fleet.Devices, func(d schema.DeviceReport) bool { return d.Fate.Trouble() }):
		return 3
	case fleet.Counts.Pending > 0:
		return 4
	}
	return 0
}
