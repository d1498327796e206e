package main

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-json"

	"github.com/balena-community/balena-migrate/schema"
)

// padding is what fills GRUB's environment block up to its 1024 bytes.
var padding = regexp.MustCompile(`#{64,}`)

// human writes documents for people.
type human struct{ w io.Writer }

// section is the member of the facts that a step writes.
var section = map[string]string{ //nolint:gochecknoglobals // a table
	"precheck": "host", "prepare-image": "image", "collect-wifi": "network", "backup": "backup",
	"build-initramfs": "initramfs", "arm-boot": "boot", "reboot": "reboot", "disarm": "boot",
}

func (h human) result(r *schema.Result) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", headline(r))
	for _, n := range r.Steps {
		fmt.Fprintf(&b, "  %-16s %s\n", n.Step, n.Status)
	}
	verb := "done"
	if r.Check {
		verb = "would"
	}
	for _, c := range r.Changes {
		fmt.Fprintf(&b, "  %s: %s %s\n", verb, c.Action, c.Target)
	}
	for _, x := range r.Blocked {
		fmt.Fprintf(&b, "  blocked: %s\n      found:    %s\n      expected: %s\n      remedy:   %s\n", x.Check, x.Got, x.Want, x.Remedy)
	}
	for _, w := range r.Warnings {
		fmt.Fprintf(&b, "  warning: %s\n", w)
	}
	for _, d := range r.Diff {
		b.WriteString(diff(d))
	}
	if r.Error != nil {
		fmt.Fprintf(&b, "  error: %s\n", r.Error.Message)
		if r.Error.Hint != "" {
			fmt.Fprintf(&b, "  try: %s\n", r.Error.Hint)
		}
	}
	if err := facts(&b, r); err != nil {
		return err
	}
	_, err := io.WriteString(h.w, b.String())
	return err
}

func headline(r *schema.Result) string {
	switch r.Status {
	case schema.BlockedBy:
		return fmt.Sprintf("%s: blocked, %d reasons; nothing was touched", r.Step, len(r.Blocked))
	case schema.Failed:
		return r.Step + ": failed"
	}
	return r.Msg
}

// facts shows the step's own section, a line a value.
func facts(b *strings.Builder, r *schema.Result) error {
	data, err := json.Marshal(r.Facts)
	if err != nil {
		return err
	}
	var tree map[string]any
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if err := dec.Decode(&tree); err != nil {
		return err
	}
	flatten(b, "", tree[section[r.Step]])
	return nil
}

func flatten(b *strings.Builder, prefix string, v any) {
	switch v := v.(type) {
	case map[string]any:
		if check, ok := v["status"].(string); ok && v["name"] != nil && v["got"] != nil { // a check of precheck
			fmt.Fprintf(b, "  %-5s %-22v %v\n", check, v["name"], v["got"])
			return
		}
		members(b, prefix, v)
	case []any:
		if line, ok := scalars(v); ok {
			fmt.Fprintf(b, "  %-28s %s\n", prefix, line)
			return
		}
		for i, x := range v {
			flatten(b, fmt.Sprintf("%s.%d", prefix, i), x)
		}
	case nil:
	default:
		fmt.Fprintf(b, "  %-28s %v\n", prefix, v)
	}
}

func members(b *strings.Builder, prefix string, v map[string]any) {
	for _, n := range slices.Sorted(maps.Keys(v)) {
		flatten(b, strings.TrimPrefix(prefix+"."+n, "."), v[n])
	}
}

// scalars joins a list of plain values.
func scalars(list []any) (string, bool) {
	words := make([]string, len(list))
	for i, x := range list {
		switch x.(type) {
		case map[string]any, []any:
			return "", false
		}
		words[i] = fmt.Sprint(x)
	}
	return strings.Join(words, " "), true
}

// diff shows a file before and after: lines that are gone and lines that are new.
func diff(d schema.Diff) string {
	var b strings.Builder
	fmt.Fprintf(&b, "--- %s\n+++ %s\n", d.BeforeHeader, d.AfterHeader)
	before, after := strings.SplitAfter(d.Before, "\n"), strings.SplitAfter(d.After, "\n")
	for len(before) > 0 && len(after) > 0 && before[0] == after[0] {
		before, after = before[1:], after[1:]
	}
	for len(before) > 0 && len(after) > 0 && before[len(before)-1] == after[len(after)-1] {
		before, after = before[:len(before)-1], after[:len(after)-1]
	}
	write := func(sign string, lines []string) {
		for _, l := range lines {
			if l != "" {
				fmt.Fprintf(&b, "%s%s\n", sign, padding.ReplaceAllString(strings.TrimSuffix(l, "\n"), "#…"))
			}
		}
	}
	write("-", before)
	write("+", after)
	return b.String()
}

func (h human) status(s *schema.Status) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", s.Msg)
	if s.Armed {
		b.WriteString("  the next boot is the migration\n")
	}
	if s.Reboot != nil {
		fmt.Fprintf(&b, "  it reboots at %s\n", s.Reboot.Due)
	}
	if s.Outcome != nil {
		for _, p := range s.Outcome.Phases {
			fmt.Fprintf(&b, "  %-18s %6.1f s\n", p.Name, p.Seconds)
		}
	}
	if s.Log != "" {
		fmt.Fprintf(&b, "  log: %s\n", s.Log)
	}
	_, err := io.WriteString(h.w, b.String())
	return err
}
