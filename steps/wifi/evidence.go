package wifi

import (
	"io/fs"
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/balena-community/balena-migrate/steps/host"
)

// joined finds out the SSID: NetworkManager leaves the uuid of the connection in /run, dhcpcd names its lease for it.
func (f *found) joined(r host.Reader, i iface, uuid string) (string, error) {
	if uuid != "" {
		for _, n := range f.joinable {
			if n.uuid == uuid {
				return n.ssid, nil
			}
		}
		for _, x := range f.refused {
			if x.uuid == uuid {
				return x.ssid, nil
			}
		}
	}
	ssids := map[string]bool{}
	for _, n := range f.joinable {
		if n.iface == "" || n.iface == i.name {
			ssids[n.ssid] = true
		}
	}
	for _, x := range f.refused {
		ssids[x.ssid] = true
	}
	return newestLease(r, i.name, ssids)
}

// newestLease looks for dhcpcd's leases, wlan0-home.lease, and takes the newest whose SSID is known.
func newestLease(r host.Reader, name string, ssids map[string]bool) (string, error) {
	newest, at := "", int64(0)
	for _, dir := range []string{"/var/lib/dhcpcd", "/var/lib/dhcpcd5"} {
		entries, err := r.ReadDir(dir)
		if err := absent(err); err != nil {
			return "", err
		}
		for _, e := range entries {
			text, ok := strings.CutPrefix(strings.TrimPrefix(e.Name(), "dhcpcd-"), name+"-")
			ssid, isLease := strings.CutSuffix(text, ".lease")
			info, err := e.Info()
			if ok && isLease && ssid != "" && ssids[ssid] && err == nil && info.ModTime().UnixNano() > at {
				newest, at = ssid, info.ModTime().UnixNano()
			}
		}
	}
	return newest, nil
}

// nmActive is the uuid of the connection that NetworkManager has on an interface (/run/NetworkManager/devices, a
// keyfile by ifindex), "" when it has none.
func nmActive(r host.Reader, i iface) string {
	data, err := r.ReadFile("/run/NetworkManager/devices/" + i.index)
	if err != nil {
		return ""
	}
	k, err := parseKeyfile(data, "")
	if err != nil {
		return ""
	}
	return k.get("device", "connection-uuid")
}

// asksDHCP looks for what shows that an interface has its addresses by DHCP, or by router advertisements alone.
func (f *found) asksDHCP(r host.Reader, i iface, uuid string) (string, error) {
	if l, ok := f.configured[i.name]; ok {
		if l.ip.dynamic() || len(l.ip.static()) == 0 && !slices.ContainsFunc(i.addrs, netip.Addr.Is4) {
			return l.source, nil
		}
		return "", nil
	}
	if uuid != "" {
		return "NetworkManager", nil // with a connection of its own making: every other one is known
	}
	for _, name := range leases(i) {
		if matches, err := exists(r, name); err != nil || matches {
			return name, err
		}
	}
	if len(i.addrs) > 0 && !slices.ContainsFunc(i.addrs, netip.Addr.Is4) {
		return "router advertisements", nil
	}
	return "", nil
}

// leases are the files that DHCP clients keep for an interface: ISC's, udhcpc's, dhcpcd's, systemd's and
// NetworkManager's. The last part may be a pattern.
func leases(i iface) []string {
	return []string{
		"/run/systemd/netif/leases/" + i.index, "/run/dhclient." + i.name + ".pid", "/run/dhclient-" + i.name + ".pid",
		"/run/udhcpc." + i.name + ".pid", "/run/dhcpcd-" + i.name + ".pid", "/run/dhcpcd/" + i.name + ".pid",
		"/var/lib/dhcp/dhclient." + i.name + ".leases", "/var/lib/dhcp/dhclient-*-" + i.name + ".lease",
		"/var/lib/dhcpcd/" + i.name + ".lease", "/var/lib/dhcpcd5/dhcpcd-" + i.name + ".lease",
		"/var/lib/NetworkManager/*-" + i.name + ".lease",
	}
}

func exists(r host.Reader, pattern string) (bool, error) {
	dir, last := path.Split(pattern)
	entries, err := r.ReadDir(path.Clean(dir))
	if err := absent(err); err != nil {
		return false, err
	}
	return slices.ContainsFunc(entries, func(e fs.DirEntry) bool {
		ok, err := path.Match(last, e.Name())
		return ok && err == nil
	}), nil
}
