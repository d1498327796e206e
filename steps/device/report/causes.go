package report

import (
	"regexp"
	"slices"
	"strings"

	"github.com/balena-community/balena-migrate/schema"
)

// particulars are what differs from device to device in a message that is the same otherwise: numbers, digests, uuids.
// A number that is part of a word, such as ext4 or sda1, is not one of them.
var particulars = regexp.MustCompile(`\b[0-9a-f]{8}-[0-9a-f-]{27}\b|\b[0-9a-f]{12,64}\b|\b\d+(?:[.:]\d+)*\b`)

// causeLength is the most that a cause is told by, in bytes: beyond it messages only repeat their particulars.
const causeLength = 160

// causes groups the devices that need a person by what they share: the check that blocks them, or the step and the
// message, without what is particular to a device. A device with several blockers belongs to several causes.
func causes(devices []schema.DeviceReport) []schema.Cause {
	groups, order := map[string]*schema.Cause{}, []*schema.Cause{}
	for i := range devices {
		for _, c := range causesOf(&devices[i]) {
			key := string(c.Fate) + "\x00" + c.Step + "\x00" + particulars.ReplaceAllString(c.Cause, "N")
			g := groups[key]
			if g == nil {
				g = &c
				groups[key], order = g, append(order, g)
			}
			if !slices.Contains(g.Hosts, devices[i].Host) {
				g.Hosts = append(g.Hosts, devices[i].Host)
			}
		}
	}
	slices.SortStableFunc(order, func(a, b *schema.Cause) int { return len(b.Hosts) - len(a.Hosts) })
	out := make([]schema.Cause, len(order))
	for i, c := range order {
		out[i] = *c
	}
	return out
}

// causesOf are a device's own, without hosts.
func causesOf(d *schema.DeviceReport) []schema.Cause {
	if !d.Fate.Trouble() {
		return nil
	}
	step := trouble(d.Last())
	if step == nil {
		return []schema.Cause{{Fate: d.Fate, Cause: clip(d.Reason)}}
	}
	if d.Fate != schema.FateBlocked || len(step.Blocked) == 0 {
		c := schema.Cause{Fate: d.Fate, Step: step.Name, Cause: clip(d.Reason)}
		if step.Error != nil {
			c.Remedy = step.Error.Hint
		}
		return []schema.Cause{c}
	}
	out := make([]schema.Cause, len(step.Blocked))
	for i, b := range step.Blocked {
		out[i] = schema.Cause{Fate: d.Fate, Step: step.Name, Cause: clip(b.Check + ": found " + b.Got + ", expected " + b.Want), Remedy: b.Remedy}
	}
	return out
}

// trouble is the step that an attempt ended at, nil when none went wrong.
func trouble(a *schema.Attempt) *schema.StepReport {
	for i := len(a.Steps) - 1; i >= 0; i-- {
		switch a.Steps[i].Status {
		case schema.BlockedBy, schema.Failed, schema.StepUnreachable, schema.StepInterrupted:
			return &a.Steps[i]
		}
	}
	return nil
}

// clip bounds a text at a word.
func clip(s string) string {
	if len(s) <= causeLength {
		return s
	}
	s = strings.ToValidUTF8(s[:causeLength], "")
	if i := strings.LastIndexByte(s, ' '); i > 0 {
		s = s[:i]
	}
	return s + " …"
}

// seconds is the time that an attempt spent in its steps.
func seconds(a *schema.Attempt) float64 {
	sum := 0.0
	for _, s := range a.Steps {
		sum += s.Seconds
	}
	return sum
}
