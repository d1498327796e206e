package wifi

import (
	"maps"
	"slices"

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
			if d.ID < 1 || d.ID > maxVLAN || d.Link == "" {
				l.reason = "has no VLAN id from 1 to 4094, or no link"
			}
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

func sortedNames[T any](m map[string]T) []string { return slices.Sorted(maps.Keys(m)) }
