package wifi

import (
	"fmt"
	"slices"
	"strings"
)

// assign brings the links of all sources together with the interfaces that there are, and makes connections of those
// whose configuration is not what balenaOS does on its own. The kernel is the judge between sources that contradict each
// other: old configuration files lie about on many devices.
func (f *found) assign(links []link, m machine) {
	addressed := map[string]*addressing{} // by interface, of Wi-Fi
	for _, i := range devices(links, m) {
		l, ok := f.pick(i, links, m)
		if !ok {
			continue
		}
		f.configured[i.name] = l
		if l.reason != "" {
			f.refused = append(f.refused, refusal{source: l.source, iface: i.name, reason: l.reason})
			continue
		}
		n := network{kind: i.kind, source: l.source, iface: i.name, ip: &l.ip, eap: l.eap, vlan: l.vlan}
		switch {
		case i.kind == wifiKind:
			addressed[i.name] = n.ip
		case l.vlan.id > 0:
			n.kind = vlanKind
			f.others = append(f.others, n)
		case i.kind == ethernetKind && (l.eap != nil || !l.ip.plain()):
			if n.mac = l.mac; l.eap != nil {
				n.security = dot1x
			}
			f.others = append(f.others, n)
		}
	}
	f.joinWired()
	for k := range f.networks {
		f.networks[k].ip = f.addressesFor(f.networks[k], links, addressed, m)
	}
}

// joinWired puts what wpa_supplicant knows of an Ethernet interface, how it shows who it is, and what somebody else knows
// of it, its addresses, into one connection.
func (f *found) joinWired() {
	for k := range f.others {
		n := &f.others[k]
		if n.kind != ethernetKind || n.file != nil || n.ip != nil {
			continue
		}
		if l, ok := f.configured[n.iface]; ok {
			n.ip = &l.ip
		}
		for j := range f.others {
			if o := &f.others[j]; j != k && o.kind == ethernetKind && o.iface == n.iface && o.eap == nil && o.file == nil {
				o.kind = otherKind // left out
			}
		}
	}
	f.others = slices.DeleteFunc(f.others, func(n network) bool { return n.kind == otherKind })
}

// devices are the kernel's interfaces, or, where no kernel runs, those that the sources name.
func devices(links []link, m machine) []iface {
	if m.live {
		return m.ifaces
	}
	var out []iface
	for _, l := range links {
		names := l.names
		if len(names) == 0 {
			names = []string{""}
		}
		for _, name := range names {
			known := slices.ContainsFunc(out, func(i iface) bool { return i.name == name && i.mac == l.mac })
			if l.ssid == "" && !known && !strings.ContainsAny(name, "*?[\x00!") {
				out = append(out, iface{name: name, kind: kindByName(name), mac: l.mac})
			}
		}
	}
	return out
}

// pick chooses what is said of an interface. Of several the first counts, in the order of the sources, but never one
// with addresses that the running interface does not have.
func (f *found) pick(i iface, links []link, m machine) (link, bool) {
	var left *link
	running := m.live && len(i.addrs) > 0
	for _, l := range links {
		switch {
		case l.ssid != "" || !l.matches(i.name, i.mac):
		case running && l.isStatic() && !i.has(l.ip.static()):
			if left == nil {
				left = &l
			}
		case l.fallback && !running:
		default:
			return l, true
		}
	}
	if left != nil {
		f.warnings = append(f.warnings, fmt.Sprintf("%s does not go along: it gives %s the address %s, which is not the one in use",
			left.source, i.name, left.ip.static()[0]))
	}
	return link{}, false
}

// addressesFor finds the addresses of a Wi-Fi network: its own, those for its SSID, those of its interface.
func (f *found) addressesFor(n network, links []link, addressed map[string]*addressing, m machine) *addressing {
	if n.ip != nil || n.file != nil {
		return n.ip
	}
	for k := range links {
		if links[k].ssid != "" && links[k].ssid == n.ssid {
			return &links[k].ip
		}
	}
	if n.iface != "" {
		return addressed[n.iface]
	}
	if ip := addressed[m.uses]; ip != nil {
		return ip
	}
	for _, name := range sortedNames(addressed) {
		return addressed[name]
	}
	return nil
}

// fit settles by what a wired connection finds its interface in the new system, where names may be other ones: by
// nothing if there is only one Ethernet, by the permanent address if there are several, by the name if there is nothing
// else.
func (f *found) fit(n *network, m machine) (reason string) {
	switch n.kind {
	case ethernetKind:
		f.fitEthernet(n, m)
	case vlanKind:
		return f.fitVLAN(n, m)
	}
	return ""
}

func (f *found) fitEthernet(n *network, m machine) {
	i, _ := m.find(n.iface)
	several := m.count(ethernetKind) > 1
	if !m.live {
		several = n.mac == "" && n.iface != "" && f.ethernets > 1
	}
	switch {
	case n.mac != "" || !several || n.iface == "":
	case i.mac != "":
		n.mac = i.mac
	default:
		n.bind = n.iface
		f.warnings = append(f.warnings, n.source+" goes along for the interface "+n.iface+" by name: the new system may call it something else")
	}
	if n.file == nil {
		return
	}
	n.file = n.file.without("connection", "interface-name").without("match", "interface-name")
	if n.bind != "" {
		n.file = n.file.with("connection", "interface-name", n.bind)
	}
	if n.mac != "" {
		n.file = n.file.withSection("ethernet").with("ethernet", "mac-address", strings.ToUpper(n.mac))
	}
}

// fitVLAN names the interface below a VLAN.
func (f *found) fitVLAN(n *network, m machine) (reason string) {
	if n.file != nil && n.mac != "" {
		return ""
	}
	if parent := f.parents[n.vlan.parent]; parent != "" {
		n.vlan.parent = parent // NetworkManager may name a connection by its uuid
	}
	const uuidLength = 36
	if n.file != nil && len(n.vlan.parent) == uuidLength {
		return "lies on a connection that is not there (parent)"
	}
	i, _ := m.find(n.vlan.parent)
	if m.live && i.kind != ethernetKind {
		return "lies on " + n.vlan.parent + ", which is no Ethernet"
	}
	if n.file == nil && !isInterfaceName(n.iface) {
		return "has a name that no interface can have"
	}
	n.bind = n.iface
	if i.mac != "" {
		n.mac = i.mac
	} else {
		f.warnings = append(f.warnings, n.source+" goes along on the interface "+n.vlan.parent+" by name: the new system may call it something else")
	}
	if n.file == nil {
		return ""
	}
	if n.mac != "" {
		n.file = n.file.without("vlan", "parent").withSection("ethernet").with("ethernet", "mac-address", strings.ToUpper(n.mac))
	} else {
		n.file = n.file.with("vlan", "parent", n.vlan.parent)
	}
	return ""
}

// isInterfaceName is the kernel's dev_valid_name: 1 to 15 bytes, no blanks, slashes or colons, and no dots alone.
func isInterfaceName(name string) bool {
	const most = 15 // IFNAMSIZ - 1
	return name != "" && len(name) <= most && name != "." && name != ".." && !strings.ContainsAny(name, "/: \t\n\v\f\r") && utf8Text(name)
}
