package wifi

import (
	"fmt"
	"path"
	"strconv"
	"strings"
)

// stanza is an iface stanza of interfaces(5).
type stanza struct {
	name, family, method string
	options              map[string][]string
	source               string
}

// includer reads what source and source-directory name: the files of a pattern, by name.
type includer func(pattern string, dir bool) map[string][]byte

// ifupdown is what /etc/network/interfaces and the files it includes hold.
type ifupdown struct {
	stanzas []stanza
	auto    []string        // patterns
	seen    map[string]bool // files that were read: they may include each other
}

// read takes one file in.
func (u *ifupdown) read(data []byte, source string, include includer) {
	u.seen[source] = true
	var in *stanza
	text := strings.ReplaceAll(strings.ReplaceAll(string(data), "\r\n", "\n"), "\\\n", " ")
	for i, line := range strings.Split(text, "\n") {
		words := words(line)
		if len(words) == 0 {
			continue
		}
		switch key := words[0]; {
		case key == "iface":
			s := stanza{options: map[string][]string{}, source: fmt.Sprintf("%s:%d", source, i+1)}
			args := append(words[1:], "", "", "")
			s.name, s.family, s.method = args[0], args[1], args[2]
			u.stanzas = append(u.stanzas, s)
			in = &u.stanzas[len(u.stanzas)-1]
		case key == "auto" || strings.HasPrefix(key, "allow-"):
			u.auto, in = append(u.auto, words[1:]...), nil
		case key == "source" || key == "source-directory":
			in = nil
			u.include(words[1:], key == "source-directory", source, include)
		case key == "mapping" || strings.HasPrefix(key, "no-auto-down") || strings.HasPrefix(key, "no-scripts") || key == "rename" || key == "template":
			in = nil
		case in != nil:
			value := strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), key))
			in.options[key] = append(in.options[key], value)
		}
	}
}

func (u *ifupdown) include(patterns []string, dir bool, source string, include includer) {
	for _, p := range patterns {
		if !path.IsAbs(p) {
			p = path.Join(path.Dir(source), p)
		}
		files := include(p, dir)
		for _, name := range sortedNames(files) {
			if !u.seen[name] {
				u.read(files[name], name, include)
			}
		}
	}
}

// parseIfupdown reads interfaces(5).
func parseIfupdown(data []byte, source string, include includer) harvest {
	h := harvest{wpaConf: map[string]string{}}
	u := &ifupdown{seen: map[string]bool{}}
	u.read(data, source, include)
	links := map[string]int{}
	dhcp := map[string]bool{}
	for _, s := range u.stanzas {
		if s.name == "lo" || s.family != "inet" && s.family != "inet6" || !matchesAny(u.auto, s.name) && len(u.auto) > 0 {
			continue
		}
		s.wifi(&h)
		at, known := links[s.name]
		if !known {
			if s.method == manual && !s.has("vlan-raw-device") && s.parts() == "" {
				continue // whoever else configures it says how
			}
			at = len(h.links)
			links[s.name] = at
			h.links = append(h.links, link{names: []string{s.name}, source: s.source, reason: s.parts()})
		}
		l := &h.links[at]
		dhcp[s.name] = dhcp[s.name] || s.family == "inet" && s.method == "dhcp"
		s.configure(l, &h)
		l.ip.finish(dhcp[s.name], s.family == "inet6" && s.method != "static")
	}
	for i := range h.networks {
		if at, ok := links[h.networks[i].iface]; ok {
			h.networks[i].ip = &h.links[at].ip
		}
	}
	return h
}

func (s stanza) has(key string) bool { return len(s.options[key]) > 0 }

func (s stanza) get(key string) string {
	if all := s.options[key]; len(all) > 0 {
		return all[len(all)-1]
	}
	return ""
}

// parts says what of the interface can't be carried.
func (s stanza) parts() (reason string) {
	for _, key := range []string{"bridge_ports", "bridge-ports", "bond-slaves", "bond-mode", "slaves", "bond-master"} {
		if s.has(key) {
			return "joins interfaces, whose names are other ones in the new system (" + key + ")"
		}
	}
	switch s.method {
	case "static", "dhcp", "auto", manual, "loopback":
		return ""
	}
	return "is configured in a way that can't be carried (" + s.method + ")"
}

// configure reads the addresses of a stanza.
func (s stanza) configure(l *link, h *harvest) {
	if s.method == "static" {
		for _, text := range s.options["address"] {
			if !l.ip.addAddress(text, s.get("netmask")) {
				l.reason = "has an address that is not understood (address)"
			}
		}
		if g := s.get("gateway"); g != "" {
			l.ip.addGateway(g)
		}
	}
	for _, key := range []string{"dns-nameservers", "dns-nameserver"} {
		for _, text := range fields(s.options[key]) {
			l.ip.addDNS(text)
		}
	}
	for _, key := range []string{"dns-search", "dns-domain"} {
		l.ip.search = append(l.ip.search, searchDomains(fields(s.options[key]))...)
	}
	l.vlan = s.vlan()
	for _, key := range []string{"up", "post-up", "pre-up"} {
		for _, command := range s.options[key] {
			if !routeCommand(command, &l.ip) {
				h.warnings = append(h.warnings, s.source+" runs a command for "+s.name+" ("+key+"), which does not go along")
			}
		}
	}
}

// routeCommand reads the usual "ip route add 10.0.0.0/8 via 192.0.2.1 dev eth0 || true" and the same of route(8).
func routeCommand(command string, a *addressing) bool {
	w := strings.Fields(strings.TrimSuffix(strings.TrimSpace(strings.TrimSuffix(command, "|| true")), "||"))
	if len(w) > 0 {
		w[0] = path.Base(w[0])
	}
	const short = 6
	switch line := strings.Join(w, " "); {
	case strings.HasPrefix(line, "ip route add ") && len(w) >= short && w[4] == "via":
		return a.addRoute(w[3], w[5], 0)
	case strings.HasPrefix(line, "route add -net ") && len(w) >= short && w[4] == "gw":
		return a.addRoute(w[3], w[5], 0)
	case strings.HasPrefix(line, "route add -net ") && len(w) > short+1 && w[4] == "netmask" && w[6] == "gw":
		p, ok := prefix(w[3], w[5])
		return ok && a.addRoute(p.String(), w[7], 0)
	}
	return false
}

// vlan is what the name says: eth0.5, vlan5, vlan0005, or any with vlan-raw-device and vlan-id.
func (s stanza) vlan() vlan {
	v := vlan{parent: s.get("vlan-raw-device")}
	if v.parent == "" {
		v.parent = s.get("vlan_raw_device")
	}
	if parent, id, ok := strings.Cut(s.name, "."); ok {
		n, err := strconv.Atoi(id)
		if err == nil && v.parent == "" {
			v.parent = parent
		}
		v.id = n
	}
	if id, ok := strings.CutPrefix(s.name, "vlan"); ok {
		v.id, _ = strconv.Atoi(id)
	}
	if id := s.get("vlan-id"); id != "" {
		v.id, _ = strconv.Atoi(id)
	}
	if v.parent == "" || v.id < 1 || v.id > maxVLAN {
		return vlan{}
	}
	return v
}

// wifi takes wpa-ssid and its like for the setting of wpa_supplicant.conf they stand for; Debian's scripts add the
// quotes where they are needed (/usr/share/doc/wpasupplicant/README.Debian).
func (s stanza) wifi(h *harvest) {
	if s.has("wireless-essid") && !s.has("wpa-ssid") {
		s.wireless(h)
		return
	}
	for _, key := range []string{"wpa-conf", "wpa-roam"} {
		if name := s.get(key); path.IsAbs(name) {
			h.wpaConf[name] = s.name
		}
	}
	if !s.has("wpa-ssid") {
		return
	}
	b := wpaBlock{source: s.source, values: map[string]string{}}
	for key := range s.options {
		if name, ok := strings.CutPrefix(key, "wpa-"); ok {
			b.values[strings.ReplaceAll(name, "-", "_")] = wpaQuoted(strings.ReplaceAll(name, "-", "_"), s.get(key))
		}
	}
	n, reason := b.network()
	n.iface = s.name
	if reason != "" {
		h.refuse(s.source, s.name, n.ssid, reason)
		return
	}
	h.networks = append(h.networks, n)
}

// wireless is the older way, of wireless-tools: open networks, and WEP.
func (s stanza) wireless(h *harvest) {
	n := network{ssid: strings.Trim(s.get("wireless-essid"), `"`), security: open, iface: s.name, source: s.source}
	switch {
	case n.ssid == "" || n.ssid == "any" || len(n.ssid) > maxSSID:
		h.refuse(s.source, s.name, "", "has no SSID of 1 to 32 bytes")
	case s.has("wireless-key") || s.has("wireless-key1"):
		h.refuse(s.source, s.name, n.ssid, reasonWEP)
	default:
		h.networks = append(h.networks, n)
	}
}

// wpaQuoted gives a value the quotes it has in wpa_supplicant.conf.
func wpaQuoted(name, value string) string {
	if strings.HasPrefix(value, `"`) && strings.HasSuffix(value, `"`) && len(value) > 1 {
		return value
	}
	switch name {
	case "psk":
		if isRawKey(value) {
			return value
		}
	case "password":
		if strings.HasPrefix(value, "hash:") {
			return value
		}
	case "ssid", "sae_password", "identity", "anonymous_identity", "private_key_passwd", "ca_cert", "client_cert", "private_key",
		"phase1", "phase2", "domain_suffix_match", "domain_match", "subject_match", "altsubject_match":
	default:
		return value
	}
	return `"` + value + `"`
}
