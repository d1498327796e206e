package initramfs

import (
	"strings"
	"testing"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps/device/configjson"
	"github.com/balena-community/balena-migrate/steps/host/hosttest"
	"github.com/balena-community/balena-migrate/steps/steptest"
)

func configured() *schema.Migration {
	in := schema.NewMigration()
	in.Config.Balena.ConfigJSON, in.Facts.Network = "/in/config.json", &schema.NetworkFacts{}
	return in
}

// TestConfigFor is P14, E2 and E5: what of the old system is in the new one's config.json.
func TestConfigFor(t *testing.T) {
	const canary, own = "canary-api-key", `{"apiKey":"canary-api-key","wifiSsid":"w","wifiKey":"k"}`
	system := &schema.SystemFacts{NTPServers: []string{"ntp.example"}, DNSServers: []string{"192.0.2.53"}}
	for _, c := range []struct {
		name, hostname string
		change         func(*schema.Migration)
		hostnameIs     string
		ntpIs, dnsIs   string
		wifi           bool
	}{
		{"name, time and name servers", "pump-7\n", func(in *schema.Migration) { in.Facts.Network.System = system }, "pump-7", "ntp.example", "192.0.2.53", true},
		{"name not wanted", "pump-7\n", func(in *schema.Migration) { in.Config.Network.KeepHostname = false }, "", "", "", true},
		{"name that is none", "localhost\n", func(*schema.Migration) {}, "", "", "", true},
		{"Wi-Fi moved to a connection file", "", func(in *schema.Migration) { in.Config.Network.FromConfigJSON = true }, "", "", "", false},
	} {
		h, in := hosttest.New(t, nil), configured()
		h.Put("/in/config.json", own)
		h.Put("/etc/hostname", c.hostname)
		c.change(in)
		data, err := configFor(steptest.RunOn(h).View(in))
		if err != nil {
			t.Fatal(err)
		}
		f, err := configjson.Parse(data)
		if err != nil {
			t.Fatal(err)
		}
		ssid, key := f.Wifi()
		if f.Text("hostname") != c.hostnameIs || f.Text("ntpServers") != c.ntpIs || f.Text("dnsServers") != c.dnsIs || (ssid+key != "") != c.wifi || f.Text("apiKey") != canary {
			t.Errorf("%s: got %s", c.name, data)
		}
	}
}

// TestConfigForUntouched: where there is nothing to add, the operator's bytes go along.
func TestConfigForUntouched(t *testing.T) {
	h, in := hosttest.New(t, nil), configured()
	const canary = "canary-api-key"
	const own = "{ \"hostname\": \"mine\" }\n"
	h.Put("/in/config.json", own)
	if data, err := configFor(steptest.RunOn(h).View(in)); err != nil || string(data) != own {
		t.Errorf("got %q (%v), want the operator's file", data, err)
	}
	h.Put("/in/config.json", "{"+canary)
	if _, err := configFor(steptest.RunOn(h).View(in)); err == nil || strings.Contains(err.Error(), canary) {
		t.Errorf("no JSON: %v, want an error without its content", err)
	}
}
