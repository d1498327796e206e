package wifi

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// The methods of [ipv4] and [ipv6] (nm-settings-keyfile(5)) that are written; an empty one is auto.
const (
	auto     = "auto"
	manual   = "manual"
	disabled = "disabled"
)

// route is a route that the operator set.
type route struct {
	to     netip.Prefix
	via    netip.Addr
	metric int
}

// family is the configuration of one IP version.
type family struct {
	method    string
	addresses []netip.Prefix
	gateway   netip.Addr
	dns       []netip.Addr
	routes    []route
}

// addressing is how an interface comes by its addresses. Its zero value is DHCP and router advertisements.
type addressing struct {
	v4, v6 family
	search []string
}

// of is the family that an address belongs to.
func (a *addressing) of(addr netip.Addr) *family {
	if addr.Unmap().Is4() {
		return &a.v4
	}
	return &a.v6
}

// addAddress reads 192.0.2.1/24, or 192.0.2.1 with the mask or the number of bits given beside it.
func (a *addressing) addAddress(text, mask string) bool {
	p, ok := prefix(text, mask)
	if ok {
		f := a.of(p.Addr())
		f.addresses = append(f.addresses, p)
	}
	return ok
}

// prefix reads an address with its length, which may stand beside it as a mask or as a number of bits.
func prefix(text, mask string) (netip.Prefix, bool) {
	if p, err := netip.ParsePrefix(text); err == nil {
		return p, p.Addr().Zone() == ""
	}
	addr, err := netip.ParseAddr(text)
	if err != nil || addr.Zone() != "" {
		return netip.Prefix{}, false
	}
	bits := addr.BitLen()
	if mask != "" {
		if bits = maskBits(mask); bits < 0 {
			return netip.Prefix{}, false
		}
	}
	p := netip.PrefixFrom(addr, bits)
	return p, p.IsValid()
}

// maskBits counts the bits of 255.255.255.0, or of 24; -1 when it is neither.
func maskBits(mask string) int {
	if n, used := decimal(mask); used == len(mask) && used > 0 {
		return n
	}
	addr, err := netip.ParseAddr(mask)
	if err != nil || !addr.Is4() {
		return -1
	}
	b := addr.As4()
	value := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	n := 0
	for ; value&(1<<31) != 0; value <<= 1 {
		n++
	}
	if value != 0 {
		return -1
	}
	return n
}

// decimal reads at most three digits and says how many they were.
func decimal(text string) (n, used int) {
	const most = 3
	for used < len(text) && used < most && text[used] >= '0' && text[used] <= '9' {
		n, used = n*10+int(text[used]-'0'), used+1
	}
	return n, used
}

func (a *addressing) addGateway(text string) bool {
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return false
	}
	a.of(addr).gateway = addr.WithZone("")
	return true
}

func (a *addressing) addDNS(text string) bool {
	// systemd allows a port, an interface and a name after the address; a keyfile has no place for them.
	text, _, _ = strings.Cut(text, "#")
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return false
	}
	if f := a.of(addr); !slices.Contains(f.dns, addr) {
		f.dns = append(f.dns, addr)
	}
	return true
}

// addRoute takes a route; one to everywhere is the gateway.
func (a *addressing) addRoute(to, via string, metric int) bool {
	gateway, err := netip.ParseAddr(via)
	if via != "" && err != nil {
		return false
	}
	if to == "default" || to == "0.0.0.0/0" || to == "::/0" {
		return via != "" && a.addGateway(via)
	}
	p, ok := prefix(to, "")
	if !ok || via != "" && gateway.Is4() != p.Addr().Is4() {
		return false
	}
	f := a.of(p.Addr())
	f.routes = append(f.routes, route{p, gateway, metric})
	return true
}

// finish settles the methods once everything is known: whether DHCP was asked for, and whether anything else was.
func (a *addressing) finish(dhcp4, dhcp6 bool) {
	switch {
	case dhcp4:
		a.v4.method = auto
	case len(a.v4.addresses) > 0:
		a.v4.method = manual
	default:
		a.v4.method = disabled
	}
	// Router advertisements are heard unless a gateway was set by hand.
	a.v6.method = auto
	if !dhcp6 && len(a.v6.addresses) > 0 && a.v6.gateway.IsValid() {
		a.v6.method = manual
	}
}

// static are the addresses that the interface has without asking anybody.
func (a *addressing) static() []netip.Prefix {
	return slices.Concat(a.v4.addresses, a.v6.addresses)
}

// dynamic says whether an IPv4 address is asked for by DHCP.
func (a *addressing) dynamic() bool { return a.v4.method == auto || a.v4.method == "" }

// plain says whether balenaOS does the same on its own.
func (a *addressing) plain() bool {
	return a.dynamic() && len(a.static()) == 0 && len(a.v4.dns)+len(a.v6.dns)+len(a.v4.routes)+len(a.v6.routes)+len(a.search) == 0
}

// render writes both sections.
func (a *addressing) render(b *strings.Builder) {
	b.WriteString("\n[ipv4]\n")
	a.v4.render(b, a.search)
	b.WriteString("\n[ipv6]\naddr-gen-mode=stable-privacy\n")
	a.v6.render(b, a.search)
}

func (f *family) render(b *strings.Builder, search []string) {
	for i, p := range f.addresses {
		fmt.Fprintf(b, "address%d=%s\n", i+1, p)
	}
	if len(f.dns) > 0 {
		b.WriteString("dns=")
		for _, d := range f.dns {
			fmt.Fprintf(b, "%s;", d.WithZone(""))
		}
		b.WriteByte('\n')
	}
	method := f.method
	if method == "" {
		method = auto
	}
	if len(search) > 0 && method != disabled {
		fmt.Fprintf(b, "dns-search=%s;\n", escape(strings.Join(search, ";")))
	}
	// NetworkManager takes no gateway without an address.
	if f.gateway.IsValid() && len(f.addresses) > 0 {
		fmt.Fprintf(b, "gateway=%s\n", f.gateway)
	}
	fmt.Fprintf(b, "method=%s\n", method)
	for i, r := range f.routes {
		fmt.Fprintf(b, "route%d=%s", i+1, r.to.Masked())
		if r.via.IsValid() || r.metric > 0 {
			via := r.via
			if !via.IsValid() {
				via = unspecified(r.to.Addr())
			}
			fmt.Fprintf(b, ",%s", via)
		}
		if r.metric > 0 {
			fmt.Fprintf(b, ",%d", r.metric)
		}
		b.WriteByte('\n')
	}
}

func unspecified(like netip.Addr) netip.Addr {
	if like.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// searchDomains keeps what is a domain name; systemd marks routing domains with ~, which a keyfile knows too.
func searchDomains(words []string) []string {
	var out []string
	for _, w := range words {
		if w != "" && !strings.ContainsAny(w, ";\\ \t") && utf8Text(w) {
			out = append(out, w)
		}
	}
	return out
}

func utf8Text(text string) bool { return display(text) == text }
