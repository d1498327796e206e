package configjson

import (
	"maps"
	"strings"

	"github.com/goccy/go-json"
)

// Kept is what the old system has that goes on in the new one by config.json (P14, E2).
type Kept struct {
	// Hostname is a name as hostname(7) has it; one that it does not allow is not kept.
	Hostname string
	// NTPServers and DNSServers are names and addresses; config.json separates them by blanks.
	NTPServers []string
	DNSServers []string
	// WifiMoved says that a connection file holds wifiSsid and wifiKey now. The new system does not read them (E5), and
	// config.json lies on a partition that everybody can read who holds the device's storage in hand.
	WifiMoved bool
}

// Keep returns the file as the new system gets it. A member that the file has, even as null or "null" (E2: no fallback to
// 8.8.8.8), is the operator's and stays; only an empty host name is none. Where nothing changes, changed is false and the
// operator's bytes are as good as any.
func (f *File) Keep(k Kept) (data []byte, changed bool, err error) {
	out := maps.Clone(f.members)
	if f.Text("hostname") == "" && isHostname(k.Hostname) {
		out["hostname"], changed = k.Hostname, true
	}
	for name, list := range map[string][]string{"ntpServers": k.NTPServers, "dnsServers": k.DNSServers} {
		if _, own := out[name]; !own && len(list) > 0 {
			out[name], changed = strings.Join(list, " "), true
		}
	}
	if k.WifiMoved {
		for _, name := range []string{"wifiSsid", "wifiKey"} {
			if _, ok := out[name]; ok {
				delete(out, name)
				changed = true
			}
		}
	}
	if !changed {
		return nil, false, nil
	}
	data, err = json.MarshalIndent(out, "", "  ")
	return data, true, err
}

// isHostname holds to hostname(7): labels of letters, digits and hyphens, none of them at the ends, 253 in all. The name
// every system has that was given none is no name.
func isHostname(name string) bool {
	const letters, label, most = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-", 63, 253
	if name == "localhost" || len(name) > most {
		return false
	}
	for _, part := range strings.Split(name, ".") {
		if part == "" || len(part) > label || strings.Trim(part, letters) != "" || part[0] == '-' || part[len(part)-1] == '-' {
			return false
		}
	}
	return true
}

// With is the file with members set; it holds keys as the file itself does.
func (f *File) With(set map[string]any) ([]byte, error) {
	members := maps.Clone(f.members)
	maps.Copy(members, set)
	return json.MarshalIndent(members, "", "  ")
}
