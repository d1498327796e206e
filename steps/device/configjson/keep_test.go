package configjson

import (
	"maps"
	"testing"

	"github.com/goccy/go-json"
)

// TestKeep is P14, E2 and E5.
func TestKeep(t *testing.T) {
	all := Kept{Hostname: "pump-7", NTPServers: []string{"ntp.example", "192.0.2.1"}, DNSServers: []string{"192.0.2.53"}, WifiMoved: true}
	for _, c := range []struct {
		name string
		have map[string]any
		kept Kept
		want map[string]any // against the file before; nil: not there
	}{
		{"nothing", nil, Kept{}, map[string]any{}},
		{"all", nil, all, map[string]any{"hostname": "pump-7", "ntpServers": "ntp.example 192.0.2.1", "dnsServers": "192.0.2.53", "wifiSsid": nil, "wifiKey": nil}},
		{
			"the operator's own stays", map[string]any{"hostname": "mine", "ntpServers": "", "dnsServers": "null"}, all,
			map[string]any{"wifiSsid": nil, "wifiKey": nil},
		},
		{"an empty host name is none", map[string]any{"hostname": ""}, Kept{Hostname: "pump-7"}, map[string]any{"hostname": "pump-7"}},
		{"no name", nil, Kept{Hostname: "localhost"}, map[string]any{}},
		{"no host name", nil, Kept{Hostname: "pump 7"}, map[string]any{}},
		{"hyphen at the end", nil, Kept{Hostname: "pump-"}, map[string]any{}},
		{"with a domain", nil, Kept{Hostname: "pump.plant.example"}, map[string]any{"hostname": "pump.plant.example"}},
		{"Wi-Fi not moved", nil, Kept{WifiMoved: false}, map[string]any{}},
	} {
		before := good()
		maps.Copy(before, c.have)
		data, changed, err := parse(t, before).Keep(c.kept)
		if err != nil || changed != (len(c.want) > 0) || changed != (data != nil) {
			t.Errorf("%s: changed %v, %d bytes, %v", c.name, changed, len(data), err)
		}
		if !changed {
			continue
		}
		for name, value := range c.want {
			if before[name] = value; value == nil {
				delete(before, name)
			}
		}
		want, _ := json.Marshal(before)
		var wantTree, gotTree any
		if json.Unmarshal(want, &wantTree) != nil || json.Unmarshal(data, &gotTree) != nil {
			t.Fatalf("%s: no JSON: %s", c.name, data)
		}
		w, _ := json.Marshal(wantTree)
		g, _ := json.Marshal(gotTree)
		if string(w) != string(g) {
			t.Errorf("%s: got %s, want %s", c.name, g, w)
		}
	}
}

// TestKeepNumbers: what the file has stays as it is written, large numbers too.
func TestKeepNumbers(t *testing.T) {
	f, err := Parse([]byte(`{"applicationId":12345678901234567890,"vpnPort":"443","os":{"x":1.50}}`))
	if err != nil {
		t.Fatal(err)
	}
	data, _, err := f.Keep(Kept{Hostname: "h"})
	want := "{\n  \"applicationId\": 12345678901234567890,\n  \"hostname\": \"h\",\n  \"os\": {\n    \"x\": 1.50\n  },\n  \"vpnPort\": \"443\"\n}"
	if err != nil || string(data) != want {
		t.Errorf("got %s (%v), want %s", data, err, want)
	}
}
