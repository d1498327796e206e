package wifi

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/host"
)

const (
	wpaDir = "/etc/wpa_supplicant"
	nmDir  = "/etc/NetworkManager/system-connections"
	// maxFile is the largest file taken for a connection or a list of them, in bytes.
	maxFile = 1 << 20
)

// The values of network.wifi (S17, P17).
const (
	all    = "all"
	listed = "listed"
	none   = "none"
)

// own is a connection file the caller gave.
type own struct {
	network

	file *keyfile
}

// found is everything the sources hold. Networks are in the order in which they are preferred.
type found struct {
	own      []own
	networks []network
	refused  []refusal
	// listed are the SSIDs asked for, nil when every network is.
	listed []string
}

// wants says whether an SSID is listed, as it is or as it is shown.
func (f found) wants(ssid string) bool {
	return slices.Contains(f.listed, ssid) || slices.Contains(f.listed, display(ssid))
}

// collect reads every source. NetworkManager goes before wpa_supplicant, because its files hold more (P31), but both
// are read (S76). What is wrong with the caller's own files blocks.
func collect(v steps.View, p *steps.Plan) (found, error) {
	var f found
	c := v.Config.Network
	for _, name := range c.Files {
		if err := f.addOwn(v.Files, name, p); err != nil {
			return f, err
		}
	}
	if c.FromConfigJSON {
		if err := f.addConfigJSON(v.Files, v.Config.Balena.ConfigJSON, p); err != nil {
			return f, err
		}
	}
	if err := f.list(v.Files, c, p); err != nil || c.Wifi == none {
		return f, err
	}
	if err := f.addDir(v.Device, nmDir, nmFile); err != nil {
		return f, err
	}
	return f, f.addDir(v.Device, wpaDir, wpaFile)
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
	o := own{network{source: name}, k}
	if isWifi(k) {
		n, reason := nmAccess(k, name)
		if n.ssid == "" || reason != "" && (n.security == psk || n.security == sae || n.security == "") {
			p.Block(check, name+", which "+reason, want, remedy)
			return nil
		}
		o.network = n
	}
	f.own = append(f.own, o)
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

// list reads which SSIDs are asked for: network.ssids and, one a line, network.ssid_file (S78, F3).
func (f *found) list(r host.Reader, c schema.NetworkConfig, p *steps.Plan) error {
	if c.Wifi != listed {
		if len(c.SSIDs) > 0 || c.SSIDFile != "" {
			p.Warn("network.ssids and network.ssid_file are not looked at, because network.wifi is " + c.Wifi)
		}
		return nil
	}
	f.listed = append([]string{}, c.SSIDs...)
	if c.SSIDFile != "" {
		data, problem, err := read(r, c.SSIDFile)
		if err != nil {
			return err
		}
		if problem != "" {
			p.Block("network.ssid_file", c.SSIDFile+", which "+problem, "a file with one SSID per line", "correct network.ssid_file")
			return nil
		}
		for _, line := range strings.Split(string(data), "\n") {
			if line = strings.TrimSuffix(line, "\r"); line != "" {
				f.listed = append(f.listed, line)
			}
		}
	}
	if len(f.listed) == 0 {
		p.Block("network.ssids", "an empty list", "an SSID at least, as network.wifi is listed",
			"name SSIDs in network.ssids or network.ssid_file, or set network.wifi to all or none")
	}
	return nil
}

// parser reads one file of a directory; nil of both is a file that is none of its business.
type parser func(data []byte, source string) ([]network, []refusal)

// addDir reads the files of a directory of the device that a parser is for.
func (f *found) addDir(r host.Reader, dir string, choose func(name string) parser) error {
	entries, err := r.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("look for Wi-Fi networks: %w", err)
	}
	var took []network
	for _, e := range entries {
		parse := choose(e.Name())
		if parse == nil || e.IsDir() {
			continue
		}
		source := path.Join(dir, e.Name())
		data, problem, err := read(r, source)
		if err != nil {
			return err
		}
		if problem != "" {
			f.refused = append(f.refused, refusal{"", source, problem})
			continue
		}
		networks, refused := parse(data, source)
		took, f.refused = append(took, networks...), append(f.refused, refused...)
	}
	if f.listed != nil {
		took = slices.DeleteFunc(took, func(n network) bool { return !f.wants(n.ssid) })
	}
	slices.SortStableFunc(took, func(a, b network) int { return cmp.Compare(b.priority, a.priority) })
	f.networks = append(f.networks, took...)
	return nil
}

func wpaFile(name string) parser {
	if name == "wpa_supplicant.conf" || strings.HasPrefix(name, "wpa_supplicant-") && strings.HasSuffix(name, ".conf") {
		return parseWPA
	}
	return nil
}

func nmFile(name string) parser {
	if ignored(name) {
		return nil
	}
	return parseNM
}

// parseNM reads a connection file; connections that are not Wi-Fi are none of its business.
func parseNM(data []byte, source string) ([]network, []refusal) {
	k, err := parseKeyfile(data, source)
	if err != nil {
		reason := strings.TrimPrefix(err.Error(), source+":")
		return nil, []refusal{{"", source, "can't be read (line " + reason + ")"}}
	}
	if !isWifi(k) {
		return nil, nil
	}
	n, reason := nmNetwork(k, source)
	if reason != "" {
		return nil, []refusal{{n.ssid, source, reason}}
	}
	return []network{n}, nil
}

// read reads a small file. What is wrong with the file itself is a problem, in words that go on from "it" or "which".
func read(r host.Reader, name string) (data []byte, problem string, err error) {
	info, err := r.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, "does not exist", nil
	case err != nil:
		return nil, "", err
	case !info.Mode().IsRegular():
		return nil, "is not a regular file", nil
	case info.Size() > maxFile:
		return nil, "is larger than 1 MiB", nil
	}
	data, err = r.ReadFile(name)
	return data, "", err
}
