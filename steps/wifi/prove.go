package wifi

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/host"
)

// The remedies for a device that would not come back.
const (
	giveFile     = "give a connection file for it in network.files"
	orDoWithout  = giveFile + ", or, if the new system reaches the network in another way, set network.require=false"
	orHasDHCP    = giveFile + ", or, if there is DHCP on it, set network.require=false"
	byDefault    = "Ethernet with DHCP, as balenaOS does on its own"
	wantsCovered = "a connection for the link now in use, or the device may never be reached again"
)

// proof is whether the new system will have the link that the device is reached by now.
type proof struct {
	covered bool
	by      string // which connection, or why none is needed
	got     string // what is missing
	remedy  string
	unsure  bool // nothing speaks against it, nothing proves it
}

// prove checks that the link in use is carried; seed and takeover only counted files (S82). It marks the connections that
// carry it.
func (f *found) prove(r host.Reader, m machine, entries []entry, c schema.NetworkConfig) (proof, error) {
	i, _ := m.find(m.uses)
	switch i.kind {
	case wifiKind:
		return f.proveWifi(r, i, entries, c)
	case ethernetKind:
		return f.proveEthernet(r, i, entries)
	case vlanKind:
		return f.proveOther(i, entries, func(n network) bool { return n.iface == i.name }), nil
	case gsmKind:
		return f.proveOther(i, entries, func(network) bool { return true }), nil
	case tunnelKind:
		return proof{got: i.name + ", a tunnel", remedy: orDoWithout}, nil
	}
	return f.proveOther(i, entries, func(network) bool { return false }), nil
}

// proveWifi: the network in use goes along, or, where nobody says which it is, all do that the old system joins.
func (f *found) proveWifi(r host.Reader, i iface, entries []entry, c schema.NetworkConfig) (proof, error) {
	uuid := nmActive(r, i)
	ssid, err := f.joined(r, i, uuid)
	if err != nil {
		return proof{}, err
	}
	if ssid != "" {
		for k := range entries {
			if e := &entries[k]; e.kindName() == wifiKind && e.ssid == ssid {
				e.covers = true
				return proof{covered: true, by: e.name}, nil
			}
		}
		return proof{got: "Wi-Fi network " + quote(ssid) + " on " + i.name + ", which " + f.reasonFor(ssid), remedy: orDoWithout}, nil
	}
	return f.proveAll(i, entries, c), nil
}

// proveAll is for a Wi-Fi of which it is not known to what network it is joined.
func (f *found) proveAll(i iface, entries []entry, c schema.NetworkConfig) proof {
	goes := map[string]bool{}
	for k := range entries {
		if entries[k].kindName() == wifiKind {
			goes[entries[k].ssid] = true
		}
	}
	if len(goes) == 0 {
		return proof{got: "Wi-Fi on " + i.name + ", of which no network goes along", remedy: orDoWithout}
	}
	var missing []string
	for _, n := range f.joinable {
		if (n.iface == "" || n.iface == i.name) && !goes[n.ssid] {
			missing = append(missing, quote(n.ssid)+" (not asked for)")
		}
	}
	for _, x := range f.refused {
		if (x.iface == "" || x.iface == i.name) && !x.off && x.ssid != "" && !goes[x.ssid] {
			missing = append(missing, quote(x.ssid)+" ("+x.reason+")")
		}
	}
	if len(missing) > 0 {
		return proof{
			got:    "Wi-Fi on " + i.name + ", joined to one of several networks, of which these do not go along: " + strings.Join(missing, ", "),
			remedy: orDoWithout, unsure: c.Wifi == listed,
		}
	}
	by := ""
	for k := range entries {
		if e := &entries[k]; e.kindName() == wifiKind && (len(f.joinable) == 0 || e.iface == "" || e.iface == i.name) {
			e.covers, by = true, e.name
		}
	}
	return proof{covered: true, by: by}
}

// reasonFor says why a network that is in use does not go along.
func (f *found) reasonFor(ssid string) string {
	for _, x := range f.refused {
		if x.ssid == ssid {
			return x.reason + " (" + x.source + ")"
		}
	}
	return "is not among those that are asked for (network.wifi)"
}

// proveEthernet: a connection with the addresses in use, or DHCP.
func (f *found) proveEthernet(r host.Reader, i iface, entries []entry) (proof, error) {
	uuid := nmActive(r, i)
	for k := range entries {
		if e := &entries[k]; e.onEthernet(i) && (e.given || e.servesNow(i, uuid)) {
			e.covers = true
			return proof{covered: true, by: e.name}, nil
		}
	}
	for _, x := range f.refused {
		if !x.off && (uuid != "" && x.uuid == uuid || x.iface == i.name) {
			return proof{got: "Ethernet " + i.name + ", which " + x.reason + " (" + x.source + ")", remedy: orDoWithout}, nil
		}
	}
	how, err := f.asksDHCP(r, i, uuid)
	if err != nil || how != "" {
		return proof{covered: how != "", by: byDefault}, err
	}
	return proof{got: "Ethernet " + i.name + describe(i.addrs) + ", of which no known file says how it is configured", remedy: orHasDHCP}, nil
}

// onEthernet says whether a connection may come up on the interface.
func (e entry) onEthernet(i iface) bool {
	return e.kind == ethernetKind && (e.iface == "" || e.iface == i.name) && (e.mac == "" || i.mac == "" || strings.EqualFold(e.mac, i.mac))
}

// servesNow says whether a connection is the one that is up.
func (e entry) servesNow(i iface, uuid string) bool {
	if uuid != "" && e.uuid != "" {
		return e.uuid == uuid
	}
	if e.ip == nil || e.ip.dynamic() {
		return true
	}
	return len(i.addrs) == 0 || i.has(e.ip.static())
}

// proveOther is for what only a connection of the same kind can carry.
func (f *found) proveOther(i iface, entries []entry, is func(network) bool) proof {
	for k := range entries {
		if e := &entries[k]; e.kind == i.kind && (e.given || is(e.network)) {
			e.covers = true
			return proof{covered: true, by: e.name}
		}
	}
	reason := "no connection goes along"
	for _, x := range f.refused {
		if x.iface == i.name || x.iface == "" && i.kind == gsmKind {
			reason = "it " + x.reason + " (" + x.source + ")"
		}
	}
	return proof{got: fmt.Sprintf("%s, a link of the kind %s: %s", i.name, i.kind, reason), remedy: orDoWithout}
}

func describe(addrs []netip.Addr) string {
	if len(addrs) == 0 {
		return ""
	}
	return " with the address " + addrs[0].String()
}

// displaced drops Ethernet connections that would come up in the place of the link in use.
func (f *found) displaced(r host.Reader, m machine, entries []entry) []entry {
	i, _ := m.find(m.uses)
	if i.kind != ethernetKind {
		return entries
	}
	uuid := nmActive(r, i)
	return slices.DeleteFunc(entries, func(e entry) bool {
		drop := !e.given && e.onEthernet(i) && !e.servesNow(i, uuid)
		if drop {
			f.warnings = append(f.warnings, e.source+" does not go along: it would come up on "+i.name+" in place of what is in use there")
		}
		return drop
	})
}

// report puts the proof into the plan.
func (q proof) report(require bool, p *steps.Plan) {
	switch {
	case q.covered:
	case require && !q.unsure:
		p.Block("network.require", q.got, wantsCovered, q.remedy)
	default:
		p.Warn("it is not sure that the new system can be reached: now in use is " + q.got)
	}
}
