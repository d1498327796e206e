package wifi

import (
	"errors"
	"io/fs"
	"net/netip"
	"path"
	"slices"
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
