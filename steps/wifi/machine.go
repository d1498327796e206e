package wifi

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io/fs"
	"math"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/balena-community/balena-migrate/steps/host"
)

// The kinds of interfaces that carry no connection file of their own.
const (
	bridgeKind = "bridge"
	bondKind   = "bond"
	tunnelKind = "tunnel"
	otherKind  = "other"
)

// iface is a network interface as the kernel has it.
type iface struct {
	name string
	kind string
	// mac is the permanent address, "" when it is made up at each boot or was set by somebody.
	mac   string
	index string
	addrs []netip.Addr
}

// machine is what the kernel says of the network now.
type machine struct {
	// live is false for a root that isn't running, of which nothing of this is known.
	live   bool
	ifaces []iface
	// uses is the interface of the default route, "" when there is none.
	uses string
}

// look reads /sys/class/net and /proc/net.
func look(r host.Reader) (machine, error) {
	var m machine
	routes, err := r.ReadFile("/proc/net/route")
	if err != nil {
		return m, absent(err)
	}
	m.live = true
	local, err := optional(r, "/proc/net/fib_trie")
	if err != nil {
		return m, err
	}
	six, err := optional(r, "/proc/net/if_inet6")
	if err != nil {
		return m, err
	}
	if err := m.interfaces(r); err != nil {
		return m, err
	}
	table := parseRoutes(routes)
	m.uses = table.uses
	for i := range m.ifaces {
		m.ifaces[i].addrs = append(table.addresses(m.ifaces[i].name, parseTrie(local)), parseInet6(six, m.ifaces[i].name)...)
	}
	if m.uses == "" {
		six, err := optional(r, "/proc/net/ipv6_route")
		if err != nil {
			return m, err
		}
		m.uses = parseRoutes6(six)
	}
	return m, nil
}

func absent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// optional reads a file that need not be there.
func optional(r host.Reader, name string) ([]byte, error) {
	data, err := r.ReadFile(name)
	return data, absent(err)
}

// interfaces lists /sys/class/net.
func (m *machine) interfaces(r host.Reader) error {
	const dir = "/sys/class/net"
	entries, err := r.ReadDir(dir)
	if err != nil {
		return absent(err)
	}
	for _, e := range entries {
		at := path.Join(dir, e.Name())
		if info, err := r.Stat(at); err != nil || !info.IsDir() || e.Name() == "lo" {
			continue // bonding_masters is a file
		}
		i := iface{name: e.Name(), kind: sysKind(r, at), index: sysText(r, at, "ifindex")}
		if sysText(r, at, "addr_assign_type") == "0" { // NET_ADDR_PERM
			i.mac = strings.ToLower(sysText(r, at, "address"))
		}
		m.ifaces = append(m.ifaces, i)
	}
	return nil
}

// sysText is an attribute, "" where there is none: not every interface has every one.
func sysText(r host.Reader, dir, name string) string {
	data, err := r.ReadFile(path.Join(dir, name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

// sysKind tells what an interface is (Documentation/ABI/testing/sysfs-class-net).
func sysKind(r host.Reader, dir string) string {
	there := func(name string) bool {
		_, err := r.Stat(path.Join(dir, name))
		return err == nil
	}
	const ether, ppp = "1", "512" // ARPHRD_ETHER, ARPHRD_PPP
	device := ""
	for line := range strings.Lines(sysText(r, dir, "uevent") + "\n") {
		if t, ok := strings.CutPrefix(strings.TrimSpace(line), "DEVTYPE="); ok {
			device = t
		}
	}
	switch kind := sysText(r, dir, "type"); {
	case there("wireless"), there("phy80211"), device == "wlan":
		return wifiKind
	case there("bridge"):
		return bridgeKind
	case there("bonding"):
		return bondKind
	case device == "vlan":
		return vlanKind
	case device == "wwan", kind == ppp:
		return gsmKind
	case there("tun_flags"), device == "wireguard":
		return tunnelKind
	case kind == ether && there("device"):
		return ethernetKind
	}
	return otherKind
}

// find returns an interface by name.
func (m machine) find(name string) (iface, bool) {
	for _, i := range m.ifaces {
		if i.name == name {
			return i, true
		}
	}
	return iface{name: name, kind: kindByName(name)}, false
}

// count says how many interfaces of a kind there are.
func (m machine) count(kind string) int {
	n := 0
	for _, i := range m.ifaces {
		if i.kind == kind {
			n++
		}
	}
	return n
}

// kindByName is for a root that isn't running: systemd's and the kernel's own names.
func kindByName(name string) string {
	for prefix, kind := range map[string]string{
		"wl": wifiKind, "ww": gsmKind, "ppp": gsmKind, "br": bridgeKind, "bond": bondKind, "tun": tunnelKind, "wg": tunnelKind,
	} {
		if strings.HasPrefix(name, prefix) {
			return kind
		}
	}
	return ethernetKind
}

// has says whether one of the addresses is the interface's.
func (i iface) has(list []netip.Prefix) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return slices.Contains(i.addrs, p.Addr()) })
}

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
