package wifi

import (
	"encoding/binary"
	"encoding/hex"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// routeTable is /proc/net/route: the interface of the default route with the smallest metric, and the nets on wires.
type routeTable struct {
	uses string
	nets map[string][]netip.Prefix
}

// parseRoutes reads /proc/net/route, whose addresses are in the byte order of the machine. All of ours are little.
func parseRoutes(data []byte) routeTable {
	t := routeTable{nets: map[string][]netip.Prefix{}}
	best := int64(math.MaxInt64)
	const columns, up, gateway = 8, 1, 2
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if len(f) < columns {
			continue
		}
		to, ok1 := hex4(f[1])
		mask, ok2 := hex4(f[7])
		flags, err := strconv.ParseUint(f[3], 16, 32)
		metric, err2 := strconv.ParseInt(f[6], 10, 64)
		if !ok1 || !ok2 || err != nil || err2 != nil || flags&up == 0 {
			continue
		}
		bits := maskBits(mask.String())
		switch {
		case bits == 0 && to.IsUnspecified():
			if metric < best {
				t.uses, best = f[0], metric
			}
		case bits > 0 && flags&gateway == 0:
			t.nets[f[0]] = append(t.nets[f[0]], netip.PrefixFrom(to, bits))
		}
	}
	return t
}

func hex4(text string) (netip.Addr, bool) {
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != 4 {
		return netip.Addr{}, false
	}
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], binary.LittleEndian.Uint32(raw))
	return netip.AddrFrom4(b), true
}

// addresses are the local addresses that lie in a net of the interface.
func (t routeTable) addresses(name string, local []netip.Addr) []netip.Addr {
	var out []netip.Addr
	for _, a := range local {
		if slices.ContainsFunc(t.nets[name], func(p netip.Prefix) bool { return p.Contains(a) }) {
			out = append(out, a)
		}
	}
	return out
}

// parseTrie reads the local addresses of /proc/net/fib_trie: a leaf, and under it "/32 host LOCAL".
func parseTrie(data []byte) []netip.Addr {
	var out []netip.Addr
	var leaf netip.Addr
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if text, ok := strings.CutPrefix(line, "|-- "); ok {
			leaf, _ = netip.ParseAddr(text)
			continue
		}
		if line == "/32 host LOCAL" && leaf.IsValid() && !leaf.IsLoopback() && !slices.Contains(out, leaf) {
			out = append(out, leaf)
		}
	}
	return out
}

// parseInet6 reads the addresses of an interface in /proc/net/if_inet6, link-local ones left out.
func parseInet6(data []byte, name string) []netip.Addr {
	const columns = 6
	var out []netip.Addr
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if len(f) < columns || f[5] != name {
			continue
		}
		if a, ok := hex16(f[0]); ok && !a.IsLinkLocalUnicast() && !a.IsLoopback() {
			out = append(out, a)
		}
	}
	return out
}

func hex16(text string) (netip.Addr, bool) {
	raw, err := hex.DecodeString(text)
	if err != nil {
		return netip.Addr{}, false
	}
	return netip.AddrFromSlice(raw)
}

// parseRoutes6 finds the interface of the default route in /proc/net/ipv6_route. The kernel keeps a reject route to
// everywhere on lo, which is none.
func parseRoutes6(data []byte) string {
	const columns, up, reject = 10, 1, 0x200
	uses, best := "", uint64(math.MaxUint64)
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if len(f) < columns {
			continue
		}
		to, ok := hex16(f[0])
		metric, err := strconv.ParseUint(f[5], 16, 64)
		flags, err2 := strconv.ParseUint(f[8], 16, 64)
		if !ok || err != nil || err2 != nil || !to.IsUnspecified() || f[1] != "00" || flags&up == 0 || flags&reject != 0 || f[9] == "lo" {
			continue
		}
		if metric < best {
			uses, best = f[9], metric
		}
	}
	return uses
}
