package wifi

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// The parts of netplan(5) that are read. Whatever a newer version adds is passed over.
type (
	netplanFile struct {
		Network netplanNetwork `yaml:"network"`
	}
	netplanNetwork struct {
		Ethernets map[string]*netplanDevice `yaml:"ethernets"`
		Wifis     map[string]*netplanDevice `yaml:"wifis"`
		VLANs     map[string]*netplanDevice `yaml:"vlans"`
		Modems    map[string]*netplanDevice `yaml:"modems"`
		Bridges   map[string]*netplanDevice `yaml:"bridges"`
		Bonds     map[string]*netplanDevice `yaml:"bonds"`
		Tunnels   map[string]*netplanDevice `yaml:"tunnels"`
	}
	netplanDevice struct {
		Match        netplanMatch                  `yaml:"match"`
		SetName      string                        `yaml:"set-name"`
		DHCP4        bool                          `yaml:"dhcp4"`
		DHCP6        bool                          `yaml:"dhcp6"`
		Addresses    []yaml.Node                   `yaml:"addresses"`
		Gateway4     string                        `yaml:"gateway4"`
		Gateway6     string                        `yaml:"gateway6"`
		Nameservers  netplanDNS                    `yaml:"nameservers"`
		Routes       []netplanRoute                `yaml:"routes"`
		Auth         *netplanAuth                  `yaml:"auth"`
		AccessPoints map[string]netplanAccessPoint `yaml:"access-points"`
		ID           int                           `yaml:"id"`
		Link         string                        `yaml:"link"`
		APN          string                        `yaml:"apn"`
		Username     string                        `yaml:"username"`
		Password     string                        `yaml:"password"`
		PIN          string                        `yaml:"pin"`
		Number       string                        `yaml:"number"`
	}
	netplanMatch struct {
		Name       string `yaml:"name"`
		MACAddress string `yaml:"macaddress"`
		Driver     any    `yaml:"driver"`
	}
	netplanDNS struct {
		Addresses []string `yaml:"addresses"`
		Search    []string `yaml:"search"`
	}
	netplanRoute struct {
		To     string `yaml:"to"`
		Via    string `yaml:"via"`
		Metric int    `yaml:"metric"`
	}
	netplanAccessPoint struct {
		Password string       `yaml:"password"`
		Hidden   bool         `yaml:"hidden"`
		Mode     string       `yaml:"mode"`
		Auth     *netplanAuth `yaml:"auth"`
	}
	netplanAuth struct {
		KeyManagement     string `yaml:"key-management"`
		Password          string `yaml:"password"`
		Method            string `yaml:"method"`
		Identity          string `yaml:"identity"`
		AnonymousIdentity string `yaml:"anonymous-identity"`
		CACertificate     string `yaml:"ca-certificate"`
		ClientCertificate string `yaml:"client-certificate"`
		ClientKey         string `yaml:"client-key"`
		ClientKeyPassword string `yaml:"client-key-password"`
		Phase2Auth        string `yaml:"phase2-auth"`
	}
)

// parseNetplan reads the files of netplan(5) together, given by name: later ones add to mappings and lists and replace
// the rest.
func parseNetplan(files map[string][]byte, dir string) harvest {
	var h harvest
	var all yaml.Node
	source := dir
	for _, name := range sortedNames(files) {
		var doc yaml.Node
		if yaml.Unmarshal(files[name], &doc) != nil {
			h.refuse(dir+"/"+name, "", "", "is not the YAML that netplan reads") // the parser's words may hold a key
			continue
		}
		if len(doc.Content) == 0 {
			continue
		}
		source = dir + "/" + name
		if all.Kind == 0 {
			all = *doc.Content[0]
		} else {
			mergeYAML(&all, doc.Content[0])
		}
	}
	if all.Kind == 0 {
		return h
	}
	var file netplanFile
	if all.Decode(&file) != nil {
		h.refuse(dir, "", "", "is not what netplan(5) describes")
		return h
	}
	if len(files) > 1 {
		source = dir
	}
	file.Network.harvest(&h, source)
	return h
}

// mergeYAML adds b to a.
func mergeYAML(a, b *yaml.Node) {
	switch {
	case a.Kind == yaml.MappingNode && b.Kind == yaml.MappingNode:
		for i := 0; i+1 < len(b.Content); i += 2 {
			key, value := b.Content[i], b.Content[i+1]
			if at := yamlKey(a, key.Value); at != nil {
				mergeYAML(at, value)
			} else {
				a.Content = append(a.Content, key, value)
			}
		}
	case a.Kind == yaml.SequenceNode && b.Kind == yaml.SequenceNode:
		a.Content = append(a.Content, b.Content...)
	default:
		*a = *b
	}
}

func yamlKey(mapping *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			return mapping.Content[i+1]
		}
	}
	return nil
}

func (n netplanNetwork) harvest(h *harvest, source string) {
	for _, id := range sortedNames(n.Ethernets) {
		h.links = append(h.links, n.Ethernets[id].link(id, source))
	}
	for _, id := range sortedNames(n.Wifis) {
		l := n.Wifis[id].link(id, source)
		n.Wifis[id].accessPoints(id, &l.ip, source, h)
		h.links = append(h.links, l)
	}
	for _, id := range sortedNames(n.VLANs) {
		l := n.VLANs[id].link(id, source)
		if d := n.VLANs[id]; d != nil {
			l.vlan = vlan{d.ID, n.interfaceOf(d.Link)}
		}
		h.links = append(h.links, l)
	}
	for _, id := range sortedNames(n.Modems) {
		n.Modems[id].modem(id, source, h)
	}
	for _, several := range []map[string]*netplanDevice{n.Bridges, n.Bonds} {
		for _, id := range sortedNames(several) {
			l := several[id].link(id, source)
			l.reason = "joins interfaces, whose names are other ones in the new system"
			h.links = append(h.links, l)
		}
	}
	for _, id := range sortedNames(n.Tunnels) {
		h.refuse(source, id, "", "is a tunnel, which can't be carried")
	}
}

// interfaceOf is the interface behind an id of ethernets; what it is matched by may say more.
func (n netplanNetwork) interfaceOf(id string) string {
	d := n.Ethernets[id]
	switch {
	case d == nil:
		return id
	case d.SetName != "":
		return d.SetName
	case d.Match.Name != "":
		return d.Match.Name
	}
	return id
}

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

func sortedNames[T any](m map[string]T) []string { return slices.Sorted(maps.Keys(m)) }
