package precheck

import (
	"errors"
	"slices"
	"strings"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps/device/boot"
	"github.com/balena-community/balena-migrate/steps/host"
)

// osFiles are where os-release(5) has it, in this order.
func osFiles() []string { return []string{"/etc/os-release", "/usr/lib/os-release"} }

func readOS(r host.Reader) (schema.OSFacts, error) {
	var all error
	for _, name := range osFiles() {
		data, err := r.ReadFile(name)
		if err == nil {
			return parseOS(string(data)), nil
		}
		all = errors.Join(all, err)
	}
	return schema.OSFacts{}, all
}

// parseOS reads os-release(5): assignments as a shell would read them, of which the last counts. ID and PRETTY_NAME have
// the defaults of the manual.
func parseOS(text string) schema.OSFacts {
	values := map[string]string{"ID": "linux", "PRETTY_NAME": "Linux"}
	for l := range strings.SplitSeq(text, "\n") {
		l = strings.TrimSpace(l)
		name, value, ok := strings.Cut(l, "=")
		if ok && !strings.HasPrefix(l, "#") {
			values[name] = unquote(value)
		}
	}
	return schema.OSFacts{ID: values["ID"], VersionID: values["VERSION_ID"], Name: values["PRETTY_NAME"]}
}

// unquote undoes a shell's quotes: in single ones nothing is special, elsewhere a backslash protects what follows.
func unquote(s string) string {
	var b strings.Builder
	var quote byte
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case c == quote:
			quote = 0
		case c == '\\' && quote != '\'' && i+1 < len(s) && (quote == 0 || strings.IndexByte("\\\"$`", s[i+1]) >= 0):
			i++
			b.WriteByte(s[i])
		default:
			b.WriteByte(c)
		}
	}
	return strings.ToValidUTF8(b.String(), "?")
}

// knownSystems are the releases whose boot configuration and kernels are known (P22), by ID and VERSION_ID, which point
// releases do not change (D1). Raspberry Pi OS calls itself raspbian in 32 bits and debian in 64.
func knownSystems() map[string][]string {
	return map[string][]string{
		"debian":   {"9", "10", "11", "12", "13"},
		"raspbian": {"8", "9", "10", "11", "12", "13"},
		"ubuntu":   {"14.04", "16.04", "18.04", "20.04", "22.04", "24.04", "26.04"},
	}
}

// askOS wants a known system; anything else goes by consent, which is to skip this check.
func (l *look) askOS() answer {
	const want = "Debian 9 to 13, Raspbian or Raspberry Pi OS 8 to 13, or Ubuntu 14.04 to 26.04 with long-term support"
	if l.osErr != nil {
		return block(l.osErr.Error(), want, "if this system is like one of them, put os into checks.skip and rehearse with stage2.flash false")
	}
	if !slices.Contains(knownSystems()[l.os.ID], l.os.VersionID) {
		return block(strings.TrimSpace(l.os.Name+" (ID "+l.os.ID+", VERSION_ID "+l.os.VersionID)+")", want,
			"if this system is like one of them, put os into checks.skip and rehearse with stage2.flash false")
	}
	return pass("%s", l.os.Name)
}

// askArch is the kernel's architecture, for which there must be a build of stage 2.
func (l *look) askArch() answer {
	const want = "x86_64, i686, aarch64, armv7l or armv6l"
	machine := l.Device.Machine()
	switch {
	case machine == "":
		return block("none (/proc/sys/kernel/arch)", want, "mount proc, or on another root give it the file")
	case l.board.Executable() == "":
		return block(machine, want, "there is no build of balena-migrate, and no balenaOS, for this architecture")
	}
	return pass("%s, needs balena-migrate-%s", machine, l.board.Executable())
}

// askSecureBoot is P21.
func (l *look) askSecureBoot() answer {
	state, against := boot.SecureBoot(l.Device)
	switch {
	case len(against) > 0:
		return blockAll(against)
	case state == "":
		return unknown("the firmware's variables are not readable; mount -t efivarfs efivarfs /sys/firmware/efi/efivars")
	}
	return pass("%s", state)
}
