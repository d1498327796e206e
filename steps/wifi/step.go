// Package wifi is the step collect-wifi: it finds the networks the old system can join, and lays down one
// NetworkManager connection file for each, for balenaOS to take from its boot partition (S76–S85, F2, E31). A proxy goes
// along as well.
package wifi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/disarm"
	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/host"
)

// Dir is the directory in the work dir that holds the connection files and nothing else.
const Dir = "system-connections"

// The files hold keys.
const (
	dirMode  = 0o700
	fileMode = 0o600
)

// Step is collect-wifi.
type Step struct{}

// Name implements steps.Step.
func (Step) Name() string { return "collect-wifi" }

// entry is a connection file as it should be.
type entry struct {
	network

	name string
	data []byte
	// given is a file of the caller's; covers one that carries the link in use.
	given, covers bool
}

// Plan implements steps.Step.
func (Step) Plan(ctx context.Context, v steps.View) (steps.Plan, error) {
	p := steps.Plan{Facts: v.Facts, Warnings: []string{}}
	p.Facts.Network = nil
	if err := ctx.Err(); err != nil {
		return p, err
	}
	m, err := look(v.Device)
	if err != nil {
		return p, err
	}
	f, err := collect(v, m, &p)
	if err != nil {
		return p, err
	}
	entries := f.displaced(v.Device, m, f.files(choose(f, v.Config.Network, &p), v.Config.Network.FirstIndex))
	link, err := f.judge(v, m, entries, &p)
	if err != nil {
		return p, err
	}
	for _, w := range f.warnings {
		p.Warn(w)
	}
	if err := leftBehind(v, &p); err != nil || len(p.Blocked) > 0 {
		return p, err
	}
	dir := path.Join(v.WorkDir, Dir)
	if err := compare(v.Files, dir, entries, &p); err != nil {
		return p, err
	}
	proxy, err := planProxy(v, &p)
	if err != nil {
		return p, err
	}
	if len(p.Changes) == 0 {
		p.Facts.Network = facts(dir, entries)
		p.Facts.Network.Link, p.Facts.Network.Proxy = link, proxy
		p.Facts.Network.System = f.system.facts()
	}
	return p, nil
}

// judge says whether the device will be reached again. Of a root that isn't running the link in use is not known.
func (f *found) judge(v steps.View, m machine, entries []entry, p *steps.Plan) (*schema.LinkFacts, error) {
	c := v.Config.Network
	if m.uses == "" {
		if len(entries) == 0 && len(p.Blocked) == 0 {
			noNetwork(c.Require, p)
		} else if m.live {
			p.Warn("there is no default route now: which link the new system needs is not known")
		}
		return nil, nil
	}
	q, err := f.prove(v.Device, m, entries, c)
	if err != nil {
		return nil, err
	}
	if len(p.Blocked) == 0 {
		q.report(c.Require, p)
	}
	i, _ := m.find(m.uses)
	link := &schema.LinkFacts{Interface: i.name, Kind: i.kind, Addresses: []string{}, CoveredBy: q.by}
	for _, a := range i.addrs {
		link.Addresses = append(link.Addresses, a.String())
	}
	return link, nil
}

// noNetwork is S82.
func noNetwork(require bool, p *steps.Plan) {
	if !require {
		p.Warn("no network goes along: the new system reaches the network by Ethernet with DHCP only")
		return
	}
	p.Block("network.require", "no connection that can go along", "one at least, or the device may never be reached again",
		"name a connection file in network.files, or, if the device is on Ethernet with DHCP, set network.require=false")
}

// files gives every connection its number and its content: the caller's files in their order, then the networks, then
// what is no Wi-Fi, which counts by itself. Two connections never share a name, an id or a uuid, for then NetworkManager
// would load one of them only (P33).
func (f *found) files(networks []network, first int) []entry {
	var out []entry
	next, taken := map[string]int{}, map[string]bool{}
	add := func(n network, prefix string) {
		e := entry{network: n, name: fmt.Sprintf("%s-%02d", prefix, first+next[prefix])}
		next[prefix]++
		taken[e.name] = true
		out = append(out, e)
	}
	for _, o := range f.own {
		add(o.network, "resin-wifi")
	}
	for _, n := range networks {
		add(n, "resin-wifi")
	}
	for _, n := range f.others {
		add(n, "resin-"+n.kind)
	}
	for i := range out {
		if i >= len(f.own) {
			out[i].data = render(out[i].network, out[i].name)
			continue
		}
		out[i].given = true
		out[i].data = distinct(f.own[i].file, out[i].name, taken).bytes()
	}
	return out
}

// distinct gives a caller's file another id or uuid where its own is taken.
func distinct(k *keyfile, name string, taken map[string]bool) *keyfile {
	if uuid := k.get("connection", "uuid"); uuid != "" {
		if taken[uuid] {
			k = k.without("connection", "uuid")
		}
		taken[uuid] = true
	}
	if id := k.get("connection", "id"); id != "" {
		if taken[id] {
			k = k.with("connection", "id", name)
		}
		taken[id] = true
	}
	return k
}

// compare plans what makes the directory hold exactly the entries.
func compare(r host.Reader, dir string, entries []entry, p *steps.Plan) error {
	wanted := map[string]bool{}
	for _, e := range entries {
		wanted[e.name] = true
	}
	there, err := r.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err != nil && len(entries) > 0 {
		p.Add(steps.Mkdir{Place: steps.InFiles, Path: dir, Mode: dirMode})
	}
	for _, e := range there {
		if wanted[e.Name()] && e.Type().IsRegular() {
			continue
		}
		// A link under a wanted name would be written through, out of the directory.
		p.Add(steps.Remove{Place: steps.InFiles, Path: path.Join(dir, e.Name()), Secret: true})
	}
	for _, e := range entries {
		name := path.Join(dir, e.name)
		before, ok, err := lies(r, name, e.data)
		if err != nil {
			return err
		}
		if !ok {
			p.Add(steps.WriteFile{Place: steps.InFiles, Path: name, Data: e.data, Mode: fileMode, Before: before, Secret: true})
		}
	}
	return nil
}

// lies says whether a file is there with this content, for nobody else to read.
func lies(r host.Reader, name string, data []byte) (before []byte, ok bool, err error) {
	info, err := r.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	before, err = r.ReadFile(name)
	return before, bytes.Equal(before, data) && info.Mode().Perm() == fileMode, err
}

func facts(dir string, entries []entry) *schema.NetworkFacts {
	out := &schema.NetworkFacts{Dir: dir, Connections: []schema.Connection{}}
	for _, e := range entries {
		c := schema.Connection{
			File: e.name, Security: e.security, Source: e.source, SHA256: disarm.Sum(e.data),
			Kind: e.kindName(), Interface: e.iface, Method: e.method(), Covers: e.covers,
		}
		if e.ssid != "" {
			c.SSID = display(e.ssid)
		}
		out.Connections = append(out.Connections, c)
	}
	return out
}

// method is how the connection comes by its IPv4 addresses, in NetworkManager's words.
func (e entry) method() string {
	if e.ip == nil || e.ip.v4.method == "" {
		return auto
	}
	return e.ip.v4.method
}
