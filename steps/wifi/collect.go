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

// maxFile is the largest file taken for a connection or a list of them, in bytes.
const maxFile = 1 << 20

// The values of network.wifi (S17, P17).
const (
	all    = "all"
	listed = "listed"
	none   = "none"
)

// found is everything the sources hold. Networks are in the order in which they are preferred.
type found struct {
	own      []own
	networks []network // Wi-Fi
	others   []network // everything else
	refused  []refusal
	warnings []string
	// listed are the SSIDs asked for, nil when every network is.
	listed []string
	// configured is what the sources say of each interface that they say something of.
	configured map[string]link
	// parents are the interfaces of NetworkManager's connections by uuid.
	parents map[string]string
	// ethernets is how many Ethernet interfaces the sources name, for a root that isn't running.
	ethernets int
	// joinable are all the Wi-Fi networks that the old system joins, whether or not they go along.
	joinable []network
	system   system
}

// wants says whether an SSID is listed, as it is or as it is shown.
func (f found) wants(ssid string) bool {
	return slices.Contains(f.listed, ssid) || slices.Contains(f.listed, display(ssid))
}

// collect reads every source. What is wrong with the caller's own files blocks.
func collect(v steps.View, m machine, p *steps.Plan) (found, error) {
	f := found{configured: map[string]link{}, parents: map[string]string{}}
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
	} else if err := f.noteConfigJSON(v.Files, v.Config.Balena.ConfigJSON); err != nil {
		return f, err
	}
	if err := f.list(v.Files, c, p); err != nil {
		return f, err
	}
	given := len(f.networks)
	all, err := sources(v.Device, f.parents)
	if err != nil {
		return f, err
	}
	var links []link
	for _, h := range all {
		f.sort(h)
		links = append(links, h.links...)
	}
	f.assign(links, m)
	ethernets := map[string]bool{}
	for _, n := range f.others {
		if n.kind == ethernetKind {
			ethernets[n.iface] = true
		}
	}
	f.ethernets = len(ethernets)
	f.joinable = slices.Clone(f.networks[given:])
	f.filter(c, given)
	for k := range f.others {
		if reason := f.fit(&f.others[k], m); reason != "" {
			f.refused = append(f.refused, refusal{source: f.others[k].source, iface: f.others[k].iface, reason: reason})
			f.others[k].kind = otherKind
		}
	}
	f.others = slices.DeleteFunc(f.others, func(n network) bool { return n.kind == otherKind })
	if f.system, err = readSystem(v.Device); err != nil {
		return f, err
	}
	return f, f.takeCerts(v.Device)
}

// sort takes in what a source holds: its Wi-Fi by priority.
func (f *found) sort(h harvest) {
	slices.SortStableFunc(h.networks, func(a, b network) int { return cmp.Compare(b.priority, a.priority) })
	for _, n := range h.networks {
		if n.kindName() == wifiKind {
			f.networks = append(f.networks, n)
		} else {
			f.others = append(f.others, n)
		}
	}
	f.refused, f.warnings = append(f.refused, h.refused...), append(f.warnings, h.warnings...)
}

// filter leaves the Wi-Fi networks of the old system that are asked for (S17, S78); what the caller gave stays.
func (f *found) filter(c schema.NetworkConfig, given int) {
	kept := slices.Clone(f.networks[:given])
	for _, n := range f.networks[given:] {
		if c.Wifi == all || c.Wifi == listed && f.wants(n.ssid) {
			kept = append(kept, n)
		}
	}
	f.networks = kept
}

// takeCerts reads the certificates of every connection that names some.
func (f *found) takeCerts(r host.Reader) error {
	for _, list := range []*[]network{&f.networks, &f.others} {
		var kept []network
		for _, n := range *list {
			reason, err := n.takeCerts(r)
			if err != nil {
				return err
			}
			if reason != "" {
				f.refused = append(f.refused, refusal{ssid: n.ssid, source: n.source, iface: n.iface, reason: reason, uuid: n.uuid})
				continue
			}
			kept = append(kept, n)
		}
		*list = kept
	}
	return nil
}

// takeCerts puts the certificates into the connection.
func (n *network) takeCerts(r host.Reader) (reason string, err error) {
	base := path.Dir(n.source)
	if n.file == nil {
		if n.eap == nil {
			return "", nil
		}
		e := *n.eap
		n.eap = &e
		return n.eap.take(r, base)
	}
	for _, key := range nmCertKeys {
		name := nmCert(n.file, key)
		if name == "" {
			continue
		}
		if !path.IsAbs(name) {
			name = path.Join(base, name)
		}
		data, problem, err := read(r, name)
		if err != nil {
			return "", err
		}
		if problem != "" {
			return fmt.Sprintf("needs %s (%s), which %s", name, key, problem), nil
		}
		n.file = n.file.with("802-1x", key, blob(data))
	}
	return "", nil
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
