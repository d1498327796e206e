package wifi

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

func (d *netplanDevice) link(id, source string) link {
	l := link{names: []string{id}, source: source + " (" + id + ")"}
	if d == nil {
		l.ip.finish(false, false)
		return l
	}
	if d.Match.Name != "" || d.Match.MACAddress != "" || d.Match.Driver != nil {
		l.names, l.mac = nil, d.Match.MACAddress
		if d.Match.Name != "" {
			l.names = []string{d.Match.Name}
		}
		if d.SetName != "" {
			l.names = []string{d.SetName}
		}
	}
	a := &l.ip
	for i := range d.Addresses {
		// Either a text, or a mapping whose only key it is.
		node := &d.Addresses[i]
		if node.Kind == yaml.MappingNode && len(node.Content) > 0 {
			node = node.Content[0]
		}
		if !a.addAddress(node.Value, "") {
			l.reason = "has an address that is not understood"
		}
	}
	for _, text := range []string{d.Gateway4, d.Gateway6} {
		a.addGateway(text)
	}
	for _, r := range d.Routes {
		if !a.addRoute(r.To, r.Via, r.Metric) {
			l.reason = "has a route that is not understood"
		}
	}
	for _, text := range d.Nameservers.Addresses {
		a.addDNS(text)
	}
	a.search = searchDomains(d.Nameservers.Search)
	a.finish(d.DHCP4, d.DHCP6)
	if d.Auth != nil {
		var reason string
		if l.eap, reason = d.Auth.enterprise(); reason != "" {
			l.reason = reason
		}
	}
	return l
}

func (d *netplanDevice) accessPoints(id string, ip *addressing, source string, h *harvest) {
	if d == nil {
		return
	}
	for _, ssid := range slices.Sorted(maps.Keys(d.AccessPoints)) {
		ap := d.AccessPoints[ssid]
		n := network{ssid: ssid, source: fmt.Sprintf("%s (%s)", source, id), hidden: ap.Hidden, iface: id, ip: ip}
		reason := ap.access(&n)
		switch {
		case ssid == "" || len(ssid) > maxSSID:
			h.refuse(n.source, id, "", "has no SSID of 1 to 32 bytes")
		case reason != "":
			h.refuse(n.source, id, ssid, reason)
		default:
			h.networks = append(h.networks, n)
		}
	}
}

func (ap netplanAccessPoint) access(n *network) (reason string) {
	if ap.Mode != "" && ap.Mode != "infrastructure" {
		return "is not a network to join (mode: " + ap.Mode + ")"
	}
	n.security, n.key = psk, ap.Password
	kind := ""
	if ap.Auth != nil {
		kind = ap.Auth.KeyManagement
		if ap.Auth.Password != "" {
			n.key = ap.Auth.Password
		}
	}
	switch kind {
	case "", "psk":
		if n.key == "" {
			n.security = open
			return ""
		}
	case "none":
		n.security, n.key = open, ""
		return ""
	case sae:
		n.security = sae
	case "eap", "eap-sha256", "802.1x":
		n.security, n.key = wpaEAP, ""
		n.eap, reason = ap.Auth.enterprise()
		return reason
	default:
		return "uses key-management: " + kind + ", which can't be carried"
	}
	if n.key == "" {
		return reasonNo
	}
	if !utf8Text(n.key) || n.security == psk && !isPassphrase(n.key) && !isRawKey(n.key) {
		return "has a key that is neither 8 to 63 characters nor 64 hex digits (password)"
	}
	return ""
}

func (a *netplanAuth) enterprise() (*eap, string) {
	e := newEAP()
	if reason := e.methods(strings.Fields(a.Method)); reason != "" {
		return nil, reason
	}
	e.set("identity", a.Identity)
	e.set("anonymous-identity", a.AnonymousIdentity)
	e.set("password", a.Password)
	e.set("private-key-password", a.ClientKeyPassword)
	e.cert("ca-cert", a.CACertificate)
	e.cert("client-cert", a.ClientCertificate)
	e.cert("private-key", a.ClientKey)
	if reason := e.phase2(a.Phase2Auth); reason != "" {
		return nil, reason
	}
	return e, e.complete()
}

// modem is a mobile connection.
func (d *netplanDevice) modem(id, source string, h *harvest) {
	if d == nil {
		return
	}
	n := network{kind: gsmKind, source: source + " (" + id + ")", iface: id, gsm: map[string]string{}}
	for key, value := range map[string]string{"apn": d.APN, "username": d.Username, "password": d.Password, "pin": d.PIN, "number": d.Number} {
		if value != "" {
			n.gsm[key] = value
		}
	}
	if d.APN == "" {
		n.gsm["auto-config"] = "true" // netplan's own default
	}
	h.networks = append(h.networks, n)
}
