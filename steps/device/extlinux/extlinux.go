// Package extlinux reads and writes extlinux.conf as U-Boot's command sysboot does (U-Boot, boot/pxe_utils.c and
// doc/README.distro): keywords at the beginning of lines, regardless of case, the rest of the line is the value.
//
// SYSLINUX knows more keywords. What U-Boot does not know, or what would start something that can't be told from the file,
// is an error: a wrong guess would be found out on a device that nobody can reach.
package extlinux

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Menu is what a file says.
type Menu struct {
	Labels []Label
	// Default is the name of the label to be started, as written; U-Boot compares every byte.
	Default string
	// Timeout is how long a menu is shown, in tenths of a second; 0 is for ever.
	Timeout int
	// Prompt says that there is a menu at all.
	Prompt bool
}

// Label is an entry. Paths are as written: absolute ones begin at the root of the file system that holds the file.
type Label struct {
	Name, Kernel, Initrd, Append string
	// Others are its further lines as they stand, such as those that choose a device tree.
	Others []string
}

// Parse reads a file.
func Parse(text string) (Menu, error) {
	m := Menu{}
	label := -1 // the one that is being read
	for n, line := range strings.Split(text, "\n") {
		key, value := split(line)
		var err error
		switch {
		case key == "":
		case key == "label":
			m.Labels = append(m.Labels, Label{Name: value})
			label = len(m.Labels) - 1
		case label >= 0 && ofLabel(key):
			err = m.labelLine(&m.Labels[label], line, key, value)
		default:
			label = -1
			err = m.topLine(key, value)
		}
		if err != nil {
			return Menu{}, fmt.Errorf("line %d: %w", n+1, err)
		}
	}
	return m, nil
}

// split returns the keyword in lower case and the rest of the line, whose end U-Boot does not trim.
func split(line string) (key, value string) {
	line = strings.TrimLeft(line, " \t")
	if strings.HasPrefix(line, "#") {
		return "", ""
	}
	end := strings.IndexAny(line, " \t\r\v\f")
	if end < 0 {
		return strings.ToLower(line), ""
	}
	value = strings.TrimLeft(line[end:], " \t")
	if strings.HasPrefix(value, "#") { // a value can't begin with a comment
		value = ""
	}
	return strings.ToLower(line[:end]), value
}

// labelKeys are those that belong to an entry. Any other ends it.
var labelKeys = []string{ //nolint:gochecknoglobals // a table
	"menu", "kernel", "linux", "append", "initrd", "fdt", "devicetree", "fdtdir", "devicetreedir", "fdtoverlays", "devicetree-overlay",
	"localboot", "ipappend", "kaslrseed", "say",
}

func ofLabel(key string) bool { return slices.Contains(labelKeys, key) }

// labelLine reads a line of an entry.
func (m *Menu) labelLine(l *Label, line, key, value string) error {
	switch key {
	case "menu":
		if word, _ := split(value); word == "default" && m.Default == "" {
			m.Default = l.Name
		}
		return nil
	case "localboot":
		return fmt.Errorf("label %s: localboot, expected a kernel", l.Name)
	case "kaslrseed":
		l.Others = append(l.Others, line)
		return nil
	}
	if value == "" {
		return fmt.Errorf("%s without a value", key)
	}
	switch key {
	case "kernel", "linux":
		l.Kernel = value
	case "append":
		l.Append = value
		if l.Initrd == "" {
			l.Initrd = initrdOf(value)
		}
	case "initrd":
		if l.Initrd == "" {
			l.Initrd = value
		}
	default:
		l.Others = append(l.Others, line)
	}
	return nil
}

// initrdOf is the initramfs that the kernel's arguments name, as for SYSLINUX.
func initrdOf(args string) string {
	_, after, _ := strings.Cut(args, "initrd=")
	name, _, _ := strings.Cut(after, " ")
	return name
}

// topLine reads a line outside entries.
func (m *Menu) topLine(key, value string) error {
	switch key {
	case "default", "ontimeout":
		if value == "" {
			return fmt.Errorf("%s without a value", key)
		}
		m.Default = value
	case "timeout":
		n, err := strconv.Atoi(strings.TrimSpace(value))
		if err != nil || n < 0 {
			return fmt.Errorf("timeout %q, expected tenths of a second", value)
		}
		m.Timeout = n
	case "menu":
		if word, _ := split(value); word == "include" {
			return errors.New("it includes another file")
		}
		m.Prompt = true
	case "prompt": // U-Boot has no use for it
	case "include":
		return errors.New("it includes another file")
	default:
		return fmt.Errorf("keyword %q, which U-Boot does not know", key)
	}
	return nil
}

// Chosen is the entry that U-Boot starts when nobody is there: the default, or where there is no such, the first.
func (m Menu) Chosen() (Label, error) {
	var found *Label
	for i := range m.Labels { // of several with one name, the last
		if m.Labels[i].Name == m.Default {
			found = &m.Labels[i]
		}
	}
	switch {
	case found == nil && len(m.Labels) == 0:
		return Label{}, errors.New("no label")
	case found == nil:
		found = &m.Labels[0]
	}
	if found.Kernel == "" {
		return Label{}, fmt.Errorf("label %s: no kernel", found.Name)
	}
	return *found, nil
}

// Waits says whether U-Boot shows a menu until somebody chooses.
func (m Menu) Waits() bool { return m.Prompt && m.Timeout == 0 }

// Block is an entry like l with another name, initramfs and arguments, and makes it the default: behind everything else
// it takes precedence. Should U-Boot not be able to load it, it goes on with the entries of the others.
func (l Label) Block(name, initrd, args string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "label %s\n\tlinux %s\n\tinitrd %s\n", name, l.Kernel, initrd)
	for _, line := range l.Others {
		b.WriteString("\t" + strings.TrimSpace(line) + "\n")
	}
	fmt.Fprintf(&b, "\tappend %s\ndefault %s\n", args, name)
	return b.String()
}
