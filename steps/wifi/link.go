package wifi

import (
	"path"
	"slices"
	"strings"
)

// link is what a source says of an interface of the old system.
type link struct {
	names []string // patterns of glob(7); none: any name
	mac   string
	ssid  string // only while it is joined to this network
	ip    addressing
	vlan  vlan // id 0: none
	eap   *eap // 802.1X by cable
	// fallback is for when DHCP does not answer, of which NetworkManager knows nothing.
	fallback bool
	// reason is why it can't go along.
	reason string
	source string
}

// harvest is what a source holds.
type harvest struct {
	networks []network
	links    []link
	refused  []refusal
	warnings []string
	// wpaConf are files for wpa_supplicant that the source names, with their interfaces.
	wpaConf map[string]string
}

// add appends another harvest.
func (h *harvest) add(more harvest) {
	h.networks, h.links = append(h.networks, more.networks...), append(h.links, more.links...)
	h.refused, h.warnings = append(h.refused, more.refused...), append(h.warnings, more.warnings...)
}

// refuse notes an interface or network that can't go along.
func (h *harvest) refuse(source, iface, ssid, reason string) {
	h.refused = append(h.refused, refusal{ssid: ssid, source: source, iface: iface, reason: reason})
}

// matches says whether the source means this interface.
func (l link) matches(name, mac string) bool {
	if l.mac != "" && !strings.EqualFold(l.mac, mac) {
		return false
	}
	if len(l.names) == 0 {
		return true
	}
	return matchesAny(l.names, name)
}

func matchesAny(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		ok, err := path.Match(p, name)
		return ok && err == nil
	})
}

// isStatic says whether the interface has addresses of its own.
func (l link) isStatic() bool { return len(l.ip.static()) > 0 && !l.ip.dynamic() }

// words splits a line at blanks, comments left out.
func words(line string) []string {
	line = strings.TrimSpace(line)
	if strings.HasPrefix(line, "#") || strings.HasPrefix(line, ";") {
		return nil
	}
	return strings.Fields(line)
}
