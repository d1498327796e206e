package wifi

import (
	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/host"
)

// own is a connection file the caller gave.
type own struct {
	network

	file *keyfile
}

// addOwn takes a connection file of the caller's as it is (S81).
func (f *found) addOwn(r host.Reader, name string, p *steps.Plan) error {
	const check, want, remedy = "network.files", "a connection file of NetworkManager", "correct it, or take it out of network.files"
	data, problem, err := read(r, name)
	if err != nil {
		return err
	}
	if problem != "" {
		p.Block(check, name+", which "+problem, want, remedy)
		return nil
	}
	k, err := parseKeyfile(data, name)
	if err != nil {
		p.Block(check, err.Error(), want, remedy)
		return nil
	}
	if k.get("connection", "type") == "" {
		p.Block(check, name+", which has no type in a section [connection]", want, remedy)
		return nil
	}
	n, reason := network{source: name, kind: k.get("connection", "type"), iface: k.get("connection", "interface-name")}, ""
	if isWifi(k) {
		n, reason = nmAccess(k, name)
	} else if k.has("802-1x") {
		reason = nmEAP(k)
	}
	if reason == "" {
		n.file = k
		if reason, err = n.takeCerts(r); err != nil {
			return err
		}
	}
	if reason != "" {
		p.Block(check, name+", which "+reason, want, remedy)
		return nil
	}
	if n.kind == "802-3-ethernet" {
		n.kind = ethernetKind
	}
	f.own = append(f.own, own{n, n.file})
	return nil
}

// addConfigJSON takes the network of config.json (S77).
func (f *found) addConfigJSON(r host.Reader, name string, p *steps.Plan) error {
	const check, remedy = "network.from_config_json", "correct config.json, or set network.from_config_json to false"
	if name == "" {
		p.Block(check, "no balena.config_json", "the path of config.json", "set balena.config_json")
		return nil
	}
	data, problem, err := read(r, name)
	if err != nil {
		return err
	}
	if problem != "" {
		p.Block(check, name+", which "+problem, "wifiSsid and wifiKey in it", remedy)
		return nil
	}
	n, got := parseConfigJSON(data, name)
	if got != "" {
		p.Block(check, got+" in "+name, "wifiSsid and wifiKey, which is empty for an open network", remedy)
		return nil
	}
	f.networks = append(f.networks, n)
	return nil
}

// noteConfigJSON warns of a network in config.json that nobody will read (E5).
func (f *found) noteConfigJSON(r host.Reader, name string) error {
	if name == "" {
		return nil
	}
	data, problem, err := read(r, name)
	if err == nil && problem == "" {
		if n, _ := parseConfigJSON(data, name); n.ssid != "" {
			f.warnings = append(f.warnings, name+" has a Wi-Fi network, which balenaOS does not read there: set network.from_config_json to take it along")
		}
	}
	return err
}
