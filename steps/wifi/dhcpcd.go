package wifi

import (
	"fmt"
	"strings"
)

// dhcpcdBlock is the part of dhcpcd.conf(5) that follows interface, ssid or profile.
type dhcpcdBlock struct {
	link

	profile string
	uses    string // the profile for when DHCP does not answer
	nothing bool   // not configured at all
	static  bool
}

// parseDhcpcd reads dhcpcd.conf(5), with which Raspberry Pi OS up to version 11 sets its addresses. The part before the
// first block is for every interface and is not read for addresses, which it can't sensibly hold.
func parseDhcpcd(data []byte, source string) harvest {
	var h harvest
	blocks := dhcpcdBlocks(data, source, &h)
	profiles := map[string]dhcpcdBlock{}
	for _, b := range blocks {
		if b.profile != "" {
			profiles[b.profile] = b
		}
	}
	for _, b := range blocks {
		if b.profile != "" || b.nothing {
			continue
		}
		b.ip.finish(!b.static, false)
		h.links = append(h.links, b.link)
		if p, ok := profiles[b.uses]; ok && p.static {
			p.names, p.ssid, p.fallback = b.names, b.ssid, true
			p.ip.finish(false, false)
			h.links = append(h.links, p.link)
		}
	}
	return h
}

func dhcpcdBlocks(data []byte, source string, h *harvest) []dhcpcdBlock {
	var out []dhcpcdBlock
	in := &dhcpcdBlock{}
	for i, line := range strings.Split(string(data), "\n") {
		fields := words(line)
		if len(fields) == 0 {
			continue
		}
		at := fmt.Sprintf("%s:%d", source, i+1)
		rest := strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), fields[0]))
		next := dhcpcdBlock{link: link{source: at}}
		switch fields[0] {
		case "interface":
			next.names = fields[1:]
		case "ssid":
			next.ssid = strings.Trim(rest, `"`)
		case "profile":
			next.profile = rest
		default:
			in.setting(fields, at, h)
			continue
		}
		out = append(out, next)
		in = &out[len(out)-1]
	}
	return out
}

// setting reads one line of a block.
func (b *dhcpcdBlock) setting(fields []string, at string, h *harvest) {
	switch fields[0] {
	case "static":
		name, value, ok := strings.Cut(strings.Join(fields[1:], " "), "=")
		if !ok || !b.staticOption(strings.TrimSpace(name), strings.Fields(value)) {
			h.warnings = append(h.warnings, at+" is not understood: it does not go along")
		}
	case "inform", "inform4":
		if len(fields) > 1 {
			b.static = b.ip.addAddress(fields[1], "24") || b.static
		}
	case "fallback":
		if len(fields) > 1 {
			b.uses = fields[1]
		}
	case "noipv4":
		b.nothing = true
	}
}

// staticOption reads static name=value; dhcpcd-run-hooks(8) has more names, which say nothing of the network.
func (b *dhcpcdBlock) staticOption(name string, values []string) bool {
	ok := true
	for _, v := range values {
		switch name {
		case "ip_address":
			b.static = true
			ok = b.ip.addAddress(v, "24") && ok
		case "ip6_address":
			ok = b.ip.addAddress(v, "64") && ok
		case "routers", "ip6_gateway":
			ok = b.ip.addGateway(v) && ok
		case "domain_name_servers":
			ok = b.ip.addDNS(v) && ok
		case "domain_search", "domain_name":
			b.ip.search = append(b.ip.search, searchDomains([]string{v})...)
		}
	}
	if name == "static_routes" || name == "classless_static_routes" {
		const pair = 2
		for i := 0; i+1 < len(values); i += pair {
			ok = b.ip.addRoute(values[i], values[i+1], 0) && ok
		}
	}
	return ok
}
