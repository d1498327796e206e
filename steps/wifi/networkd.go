package wifi

import (
	"path"
	"slices"
	"strconv"
	"strings"
)

// unitFile is a file in the syntax of systemd.syntax(7): sections in their order, as some may come several times.
type unitFile []unitSection

type unitSection struct {
	name   string
	values [][2]string
}

// parseUnit reads systemd's syntax: a backslash at the end of a line goes on in the next.
func parseUnit(data []byte) unitFile {
	var out unitFile
	text := strings.ReplaceAll(strings.ReplaceAll(string(data), "\r\n", "\n"), "\\\n", " ")
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		if line[0] == '[' {
			out = append(out, unitSection{name: strings.Trim(line, "[]")})
			continue
		}
		if key, value, ok := strings.Cut(line, "="); ok && len(out) > 0 {
			s := &out[len(out)-1]
			s.values = append(s.values, [2]string{strings.TrimSpace(key), strings.TrimSpace(value)})
		}
	}
	return out
}

// all returns the values of a key in every section of a name; an empty value forgets those before it.
func (u unitFile) all(section, key string) []string {
	var out []string
	for _, s := range u {
		if s.name == section {
			out = append(out, s.all(key)...)
		}
	}
	return out
}

func (s unitSection) all(key string) []string {
	var out []string
	for _, v := range s.values {
		switch {
		case v[0] != key:
		case v[1] == "":
			out = nil
		default:
			out = append(out, v[1])
		}
	}
	return out
}

// last returns the value that counts.
func (s unitSection) last(key string) string {
	if all := s.all(key); len(all) > 0 {
		return all[len(all)-1]
	}
	return ""
}

func (u unitFile) last(section, key string) string {
	if all := u.all(section, key); len(all) > 0 {
		return all[len(all)-1]
	}
	return ""
}

// parseNetworkd reads the files of systemd-networkd together, given by name: systemd.network(5) and systemd.netdev(5).
// Drop-ins are under the name file.d/drop-in. The first file that matches an interface is its configuration, so the
// order of names is kept.
func parseNetworkd(files map[string][]byte, dir string) harvest {
	var h harvest
	units, names := map[string]unitFile{}, []string{}
	for name, data := range files {
		if strings.HasSuffix(path.Dir(name), ".d") { // read with its file below
			continue
		}
		units[name] = parseUnit(data)
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		for _, drop := range dropIns(files, name) {
			units[name] = append(units[name], parseUnit(files[drop])...)
		}
	}
	vlans := networkdVLANs(units, names)
	parents := map[string]string{}
	for _, name := range names {
		if path.Ext(name) == ".network" {
			h.links = append(h.links, networkdLink(units[name], path.Join(dir, name), vlans, parents))
		}
	}
	for i := range h.links {
		l := &h.links[i]
		if len(l.names) == 1 && vlans[l.names[0]] > 0 {
			l.vlan = vlan{vlans[l.names[0]], parents[l.names[0]]}
		}
	}
	return h
}

func dropIns(files map[string][]byte, name string) []string {
	var out []string
	for drop := range files {
		if path.Dir(drop) == name+".d" && path.Ext(drop) == ".conf" {
			out = append(out, drop)
		}
	}
	slices.Sort(out)
	return out
}

// networkdVLANs are the VLANs that .netdev files define, with their ids.
func networkdVLANs(units map[string]unitFile, names []string) map[string]int {
	out := map[string]int{}
	for _, name := range names {
		u := units[name]
		if path.Ext(name) == ".netdev" && u.last("NetDev", "Kind") == "vlan" {
			if id, err := strconv.Atoi(u.last("VLAN", "Id")); err == nil && id > 0 && id <= maxVLAN {
				out[u.last("NetDev", "Name")] = id
			}
		}
	}
	return out
}

// networkdLink reads a .network file. parents is told on which interface a VLAN lies.
func networkdLink(u unitFile, source string, vlans map[string]int, parents map[string]string) link {
	l := link{names: fields(u.all("Match", "Name")), mac: u.last("Match", "MACAddress"), source: source}
	if l.mac == "" {
		l.mac = u.last("Match", "PermanentMACAddress")
	}
	for _, v := range fields(u.all("Network", "VLAN")) {
		if vlans[v] > 0 && len(l.names) > 0 {
			parents[v] = l.names[0]
		}
	}
	for _, key := range []string{"Bridge", "Bond"} {
		if u.last("Network", key) != "" {
			l.reason = "is a part of another interface (" + key + "=)"
		}
	}
	ssids := u.all("Match", "SSID")
	if len(ssids) > 0 {
		l.ssid = ssids[0]
	}
	if len(l.names) == 0 && l.mac == "" {
		l.names = networkdTypes(fields(u.all("Match", "Type")))
	}
	networkdAddressing(u, &l)
	return l
}

// networkdTypes are the names that systemd gives the interfaces of a type.
func networkdTypes(types []string) []string {
	var out []string
	for _, t := range types {
		switch t {
		case "ether":
			out = append(out, "en*", "eth*")
		case "wlan":
			out = append(out, "wl*")
		}
	}
	if len(out) == 0 {
		out = append(out, "\x00") // matches by what we don't read: none
	}
	return out
}

func networkdAddressing(u unitFile, l *link) {
	a := &l.ip
	for _, text := range append(u.all("Network", "Address"), u.all("Address", "Address")...) {
		if !a.addAddress(text, "") {
			l.reason = "has an address that is not understood (Address=)"
		}
	}
	for _, text := range u.all("Network", "Gateway") {
		a.addGateway(text)
	}
	for _, s := range u {
		if s.name != "Route" {
			continue
		}
		to, metric := s.last("Destination"), 0
		if to == "" {
			to = "default"
		}
		metric, _ = strconv.Atoi(s.last("Metric"))
		a.addRoute(to, strings.TrimPrefix(s.last("Gateway"), "_dhcp4"), metric)
	}
	for _, text := range fields(u.all("Network", "DNS")) {
		a.addDNS(text)
	}
	a.search = searchDomains(fields(u.all("Network", "Domains")))
	dhcp := strings.ToLower(u.last("Network", "DHCP"))
	both := dhcp == "yes" || dhcp == "true" || dhcp == "1" || dhcp == "on" || dhcp == "both"
	a.finish(both || dhcp == "ipv4" || dhcp == "v4", both || dhcp == "ipv6" || dhcp == "v6")
}

func fields(lines []string) []string {
	var out []string
	for _, l := range lines {
		out = append(out, strings.Fields(l)...)
	}
	return out
}
