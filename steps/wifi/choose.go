package wifi

import (
	"cmp"
	"slices"
	"strings"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps"
)

const ownRemedy = "make a connection file for it and name that in network.files, or take it out of the list"

// choose picks the networks that go along, one for each SSID (P32), in the order they are numbered in: by priority,
// then by SSID. Refused networks are warned of, and block where they were asked for by name.
func choose(f found, c schema.NetworkConfig, p *steps.Plan) []network {
	chosen := merge(f, p)
	have := map[string]bool{}
	for _, o := range f.own {
		have[o.ssid] = true
	}
	for _, n := range chosen {
		have[n.ssid] = true
	}
	for _, r := range f.refused {
		switch {
		case r.ssid == "":
			p.Warn(r.String())
		case have[r.ssid]:
		case c.Wifi == all:
			p.Warn(r.String())
		case f.wants(r.ssid):
			have[r.ssid] = true
			p.Block("network.ssids", quote(r.ssid)+", which "+r.reason+" ("+r.source+")", "a network that can go along", ownRemedy)
		}
	}
	missing(f.listed, have, p)
	slices.SortFunc(chosen, func(a, b network) int {
		return cmp.Or(cmp.Compare(b.priority, a.priority), strings.Compare(a.ssid, b.ssid))
	})
	return chosen
}

// missing blocks for the listed SSIDs of which nothing was said yet.
func missing(listed []string, have map[string]bool, p *steps.Plan) {
	known := map[string]bool{}
	for ssid := range have {
		known[ssid], known[display(ssid)] = true, true
	}
	for _, entry := range slices.Compact(slices.Sorted(slices.Values(listed))) {
		if !known[entry] {
			p.Block("network.ssids", "no network "+quote(entry)+" on the device", "every listed network", ownRemedy)
		}
	}
}

// merge leaves one network for each SSID: the first, as they come in the order of preference. A file written anew has
// its network looked for by name if any source says that it is hidden. A network that is dropped for another with a
// different key is warned of.
func merge(f found, p *steps.Plan) []network {
	var out []network
	at := map[string]int{}
	ours := map[string]network{}
	for _, o := range f.own {
		if _, ok := ours[o.ssid]; !ok {
			ours[o.ssid] = o.network
		}
	}
	for _, n := range f.networks {
		kept, ok := ours[n.ssid]
		if !ok {
			j, known := at[n.ssid]
			if !known {
				at[n.ssid] = len(out)
				out = append(out, n)
				continue
			}
			out[j].hidden = out[j].hidden || n.hidden
			kept = out[j]
		}
		if !sameKey(kept, n) {
			p.Warn("Wi-Fi network " + quote(n.ssid) + " of " + n.source + " does not go along: " + kept.source + " has it with another key or security")
		}
	}
	return out
}
