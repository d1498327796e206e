package wifi

import (
	"unicode/utf8"

	"github.com/goccy/go-json"
)

// parseConfigJSON takes the network out of config.json, which balenaOS itself does not do (S16, S77, E5). The problem
// is in words and holds nothing of the file. Whether the network is hidden is not said there, so it is looked for by
// name, which finds it in both cases.
func parseConfigJSON(data []byte, source string) (n network, got string) {
	// A map, because decoding into a struct would take keys of any case.
	var all map[string]json.RawMessage
	if json.Unmarshal(data, &all) != nil || all == nil {
		return n, "no JSON object"
	}
	var ssid, key *string
	if decode(all["wifiSsid"], &ssid) != nil || ssid == nil || *ssid == "" {
		return n, "no wifiSsid"
	}
	if decode(all["wifiKey"], &key) != nil || key == nil {
		return n, "no wifiKey"
	}
	n = network{ssid: *ssid, security: psk, key: *key, hidden: true, source: source}
	switch {
	case len(n.ssid) > maxSSID:
		return n, "a wifiSsid of more than 32 bytes"
	case n.key == "":
		n.security = open
	case !utf8.ValidString(n.key) || !isPassphrase(n.key) && !isRawKey(n.key):
		return n, "a wifiKey that is neither 8 to 63 characters nor 64 hex digits"
	}
	return n, ""
}

func decode(data json.RawMessage, into any) error {
	if data == nil {
		return nil
	}
	return json.Unmarshal(data, into)
}
