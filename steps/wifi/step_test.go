package wifi

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps/host/hosttest"
	"github.com/balena-community/balena-migrate/steps/steptest"
)

const (
	outDir  = "/var/lib/balena-migrate/system-connections"
	wpaConf = "/etc/wpa_supplicant/wpa_supplicant.conf"
	nmHome  = nmDir + "/home.nmconnection"
)

func wpa(ssid, more string) string { return "network={\nssid=\"" + ssid + "\"\n" + more + "\n}\n" }

func key(secret string) string { return "psk=\"" + secret + "\"" }

func nm(ssid, secret string) string {
	return "[connection]\nid=" + ssid + "\nuuid=1-2-3\ntype=wifi\n\n[wifi]\nssid=" + ssid + "\n\n[wifi-security]\nkey-mgmt=wpa-psk\npsk=" + secret + "\n"
}

func converge(t *testing.T, h *hosttest.Host, in *schema.Migration) *schema.Result {
	t.Helper()
	res, err := steptest.RunOn(h).Converge(context.Background(), Step{}, in)
	if err != nil {
		t.Fatal(err)
	}
	steptest.Valid(t, res, "canary")
	return res
}

// document is the default document, changed.
func document(change func(*schema.Config)) *schema.Migration {
	in := schema.NewMigration()
	if change != nil {
		change(&in.Config)
	}
	return in
}

// connections is "file ssid security source" for each that goes along.
func connections(res *schema.Result) []string {
	out := []string{}
	if res.Facts.Network == nil {
		return out
	}
	for _, c := range res.Facts.Network.Connections {
		out = append(out, c.File+" "+c.SSID+" "+c.Security+" "+c.Source)
	}
	return out
}

func expect(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%s:\n%s\nwant:\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func expectBlocked(t *testing.T, res *schema.Result, check, got string) {
	t.Helper()
	if len(res.Blocked) != 1 || res.Blocked[0].Check != check || !strings.Contains(res.Blocked[0].Got, got) {
		t.Errorf("blocked: %+v, want %s with %q", res.Blocked, check, got)
	}
	if res.Facts.Network != nil {
		t.Error("a blocked step has facts")
	}
}

func expectWarned(t *testing.T, res *schema.Result, texts ...string) {
	t.Helper()
	if len(res.Warnings) != len(texts) {
		t.Fatalf("warnings %q, want %d", res.Warnings, len(texts))
	}
	for i, text := range texts {
		if !strings.Contains(res.Warnings[i], text) {
			t.Errorf("warning %q, want %q in it", res.Warnings[i], text)
		}
	}
}

func TestLaws(t *testing.T) {
	h := hosttest.New(t, map[string]string{
		wpaConf: wpa("wpa-net", key("canary-wpa-key")) + wpa("guests", "key_mgmt=NONE") + wpa("off", "disabled=1\n"+key("canary-off-key")),
		"/etc/wpa_supplicant/wpa_supplicant-wlan1.conf": "network={\nssid=ff01\nscan_ssid=1\npriority=3\npsk=" + strings.Repeat("ca", 32) + "\n}\n",
		"/etc/wpa_supplicant/functions.sh":              "network={\n",
		nmHome:                                          nm("nm-net", "canary-nm-key"),
		nmDir + "/wired.nmconnection":                   "[connection]\ntype=ethernet\n",
		"/boot/config.json":                             `{"wifiSsid":"json-net","wifiKey":"canary-json-key","WIFISSID":"no"}`,
		"/home/pi/van.nmconnection":                     nm("van", "canary-van-key"),
		outDir + "/resin-wifi-09":                       "canary: from an earlier run",
		outDir + "/.resin-wifi-01.balena-new":           "canary: from a killed run",
	})
	in := document(func(c *schema.Config) {
		c.Balena.ConfigJSON, c.Network.FromConfigJSON = "/boot/config.json", true
		c.Network.Files = []string{"/home/pi/van.nmconnection"}
	})
	res := steptest.Laws(t, Step{}, steptest.RunOn(h), in, "canary", strings.Repeat("ca", 32))
	expect(t, "connections", connections(res),
		"resin-wifi-01 van wpa-psk /home/pi/van.nmconnection",
		"resin-wifi-02 0xff01 wpa-psk /etc/wpa_supplicant/wpa_supplicant-wlan1.conf:1",
		"resin-wifi-03 guests none "+wpaConf+":5",
		"resin-wifi-04 json-net wpa-psk /boot/config.json",
		"resin-wifi-05 nm-net wpa-psk "+nmHome,
		"resin-wifi-06 wpa-net wpa-psk "+wpaConf+":1",
	)
	expectWarned(t, res, `"off"`)
	entries, err := os.ReadDir(filepath.Join(h.Root(), outDir))
	if err != nil || len(entries) != 6 {
		t.Errorf("%d files lie there, want 6 (%v)", len(entries), err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode() != fileMode {
			t.Errorf("%s: mode %v, want 0600 (%v)", e.Name(), info.Mode(), err)
		}
	}
	if data, _ := h.ReadFile(outDir + "/resin-wifi-01"); string(data) != nm("van", "canary-van-key") {
		t.Errorf("the caller's file was changed:\n%s", data)
	}
	json, _ := h.ReadFile(outDir + "/resin-wifi-04")
	if want := strings.Replace(strings.ReplaceAll(rendered("json-net", "canary-json-key"), "-01", "-04"), "[wifi]\n", "[wifi]\nhidden=true\n", 1); string(json) != want {
		t.Errorf("got:\n%s\nwant:\n%s", json, want)
	}
}

func TestNewDirectoryIsPrivate(t *testing.T) {
	h := hosttest.New(t, map[string]string{nmHome: nm("home", "canary-key")})
	res := converge(t, h, document(nil))
	info, err := h.Stat(outDir)
	if err != nil || info.Mode().Perm() != dirMode || res.Facts.Network.Dir != outDir {
		t.Errorf("directory %v (%v), facts %v", info, err, res.Facts.Network)
	}
}

// TestMerge is S76 and P32: every source is read, one network goes along for each SSID.
func TestMerge(t *testing.T) {
	derived := rawKey("canary-a-key", "a")
	h := hosttest.New(t, map[string]string{
		nmDir + "/a":  nm("a", "canary-a-key"),
		nmDir + "/b":  nm("b", "canary-b-key"),
		nmDir + "/b2": strings.Replace(nm("b", "canary-better"), "type=wifi", "type=wifi\nautoconnect-priority=2", 1),
		nmDir + "/c":  strings.Replace(nm("c", ""), "psk=", "psk-flags=1", 1),
		wpaConf: wpa("a", "psk="+derived) + wpa("c", key("canary-c-key")) + wpa("d", "priority=1\n"+key("canary-d-old")) +
			wpa("d", "priority=2\nscan_ssid=1\n"+key("canary-d-new")),
	})
	res := converge(t, h, document(nil))
	expect(t, "connections", connections(res),
		"resin-wifi-01 b wpa-psk "+nmDir+"/b2",
		"resin-wifi-02 d wpa-psk "+wpaConf+":14",
		"resin-wifi-03 a wpa-psk "+nmDir+"/a",
		"resin-wifi-04 c wpa-psk "+wpaConf+":5",
	)
	expectWarned(t, res, `"b" of `+nmDir+"/b ", `"d" of `+wpaConf+":9")
}

// TestListed is S78 and F3.
func TestListed(t *testing.T) {
	files := map[string]string{
		wpaConf: wpa("home", "key_mgmt=NONE") + wpa("home two", "key_mgmt=NONE") + wpa("work", "eap=TLS\nidentity=\"canary\"") +
			wpa("0xff", "key_mgmt=NONE") + "network={\nssid=ff02\nkey_mgmt=NONE\n}\n",
		nmHome:       nm("nm-net", "canary-nm-key"),
		"/tmp/ssids": "nm-net\r\n\nhome\n",
		"/tmp/own":   nm("van", "canary-van-key"),
	}
	listed := func(change func(*schema.NetworkConfig)) *schema.Migration {
		return document(func(c *schema.Config) {
			c.Network.Wifi = "listed"
			change(&c.Network)
		})
	}
	t.Run("by name and by file", func(t *testing.T) {
		res := converge(t, hosttest.New(t, files), listed(func(c *schema.NetworkConfig) {
			c.SSIDs, c.SSIDFile, c.FirstIndex = []string{"0xff02"}, "/tmp/ssids", 7
		}))
		expect(t, "connections", connections(res),
			"resin-wifi-07 home none "+wpaConf+":1", "resin-wifi-08 nm-net wpa-psk "+nmHome, "resin-wifi-09 0xff02 none "+wpaConf+":18")
		expectWarned(t, res)
	})
	t.Run("given by the caller", func(t *testing.T) {
		res := converge(t, hosttest.New(t, files), listed(func(c *schema.NetworkConfig) {
			c.SSIDs, c.Files = []string{"van"}, []string{"/tmp/own"}
		}))
		expect(t, "connections", connections(res), "resin-wifi-01 van wpa-psk /tmp/own")
	})
	t.Run("not there", func(t *testing.T) {
		res := converge(t, hosttest.New(t, files), listed(func(c *schema.NetworkConfig) { c.SSIDs = []string{"home", "hom", "hom"} }))
		expectBlocked(t, res, "network.ssids", `no network "hom" on`)
	})
	t.Run("refused", func(t *testing.T) {
		res := converge(t, hosttest.New(t, files), listed(func(c *schema.NetworkConfig) { c.SSIDs = []string{"home", "work"} }))
		expectBlocked(t, res, "network.ssids", `"work", which has no private key`)
	})
	t.Run("empty list", func(t *testing.T) {
		res := converge(t, hosttest.New(t, files), listed(func(*schema.NetworkConfig) {}))
		expectBlocked(t, res, "network.ssids", "empty list")
	})
	t.Run("list missing", func(t *testing.T) {
		res := converge(t, hosttest.New(t, files), listed(func(c *schema.NetworkConfig) { c.SSIDFile = "/tmp/none" }))
		expectBlocked(t, res, "network.ssid_file", "/tmp/none, which does not exist")
	})
	t.Run("list without listed", func(t *testing.T) {
		res := converge(t, hosttest.New(t, files), document(func(c *schema.Config) { c.Network.SSIDs = []string{"home"} }))
		expectWarned(t, res, "not looked at", `"work"`)
	})
}

func TestNone(t *testing.T) {
	h := hosttest.New(t, map[string]string{wpaConf: wpa("home", "key_mgmt=NONE"), "/tmp/own": "[connection]\ntype=ethernet\n"})
	res := converge(t, h, document(func(c *schema.Config) {
		c.Network.Wifi, c.Network.Files = "none", []string{"/tmp/own"}
	}))
	expect(t, "connections", connections(res), "resin-wifi-01   /tmp/own")
}

// TestNoNetwork is S82.
func TestNoNetwork(t *testing.T) {
	res := converge(t, hosttest.New(t, nil), document(nil))
	expectBlocked(t, res, "network.require", "no connection")
	if !strings.Contains(res.Blocked[0].Remedy, "network.require=false") {
		t.Errorf("remedy %q", res.Blocked[0].Remedy)
	}
	h := hosttest.New(t, map[string]string{outDir + "/resin-wifi-01": "old"})
	res = converge(t, h, document(func(c *schema.Config) { c.Network.Require = false }))
	expectWarned(t, res, "Ethernet with DHCP only")
	if res.Facts.Network == nil || len(res.Facts.Network.Connections) != 0 || len(res.Changes) != 1 {
		t.Errorf("facts %v, changes %v", res.Facts.Network, res.Changes)
	}
}

// TestOwnFiles is S81 without silence, and P33: no two connections share an id or a uuid.
func TestOwnFiles(t *testing.T) {
	files := map[string]string{
		"/own/one": nm("one", "canary-one-key"), "/own/two": strings.Replace(nm("two", "canary-two-key"), "id=two", "id=one", 1),
		"/own/taken": "[connection]\nid=resin-wifi-03\ntype=gsm\n", "/own/agent": strings.Replace(nm("x", ""), "psk=", "psk-flags=1", 1),
		"/own/junk": "canary\n", "/own/typeless": "[connection]\nid=x\n", "/own/eap": "[connection]\ntype=wifi\n[wifi]\nssid=e\n[wifi-security]\nkey-mgmt=wpa-eap\n[802-1x]\neap=peap;\nidentity=u\npassword=canary-e\nca-cert=ca.crt\n", "/own/ca.crt": "canary-certificate",
		"/own/sub/file": "", wpaConf: wpa("one", key("canary-other")),
	}
	run := func(t *testing.T, names ...string) (*hosttest.Host, *schema.Result) {
		h := hosttest.New(t, files)
		return h, converge(t, h, document(func(c *schema.Config) { c.Network.Files = names }))
	}
	h, res := run(t, "/own/one", "/own/two", "/own/taken", "/own/eap")
	expect(t, "connections", connections(res), "resin-wifi-01 one wpa-psk /own/one", "resin-wifi-02 two wpa-psk /own/two",
		"resin-wifi-03   /own/taken", "resin-wifi-04 e wpa-eap /own/eap")
	expectWarned(t, res, `"one" of `+wpaConf)
	two, _ := h.ReadFile(outDir + "/resin-wifi-02")
	if want := strings.NewReplacer("\nid=two", "\nid=resin-wifi-02", "uuid=1-2-3\n", "").Replace(nm("two", "canary-two-key")); string(two) != want {
		t.Errorf("got:\n%s\nwant:\n%s", two, want)
	}
	for name, want := range map[string]string{
		"/own/none": "does not exist", "/own/sub": "regular file", "/own/junk": "/own/junk:1: line", "/own/typeless": "no type", "/own/agent": "keyring",
	} {
		_, res := run(t, name)
		expectBlocked(t, res, "network.files", want)
	}
}

func TestConfigJSON(t *testing.T) {
	tests := []struct{ name, json, security, blocked string }{
		{"passphrase", `{"wifiSsid":"a","wifiKey":"canary-key"}`, "wpa-psk", ""},
		{"open", `{"wifiSsid":"a","wifiKey":""}`, "none", ""},
		{"no key", `{"wifiSsid":"a"}`, "", "no wifiKey"},
		{"no SSID", `{"wifiKey":"canary-key"}`, "", "no wifiSsid"},
		{"other case", `{"wifissid":"a","wifiKey":"canary-key"}`, "", "no wifiSsid"},
		{"wrong type", `{"wifiSsid":"a","wifiKey":12345678}`, "", "no wifiKey"},
		{"short key", `{"wifiSsid":"a","wifiKey":"canary"}`, "", "neither 8 to 63"},
		{"long SSID", `{"wifiSsid":"` + strings.Repeat("a", 33) + `","wifiKey":"canary-key"}`, "", "more than 32"},
		{"no JSON", `canary`, "", "no JSON object"},
		{"null", `null`, "", "no JSON object"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := hosttest.New(t, map[string]string{"/c.json": tt.json})
			res := converge(t, h, document(func(c *schema.Config) {
				c.Balena.ConfigJSON, c.Network.FromConfigJSON = "/c.json", true
			}))
			if tt.blocked != "" {
				expectBlocked(t, res, "network.from_config_json", tt.blocked)
				return
			}
			expect(t, "connections", connections(res), "resin-wifi-01 a "+tt.security+" /c.json")
		})
	}
	for _, name := range []string{"", "/missing.json"} {
		res := converge(t, hosttest.New(t, nil), document(func(c *schema.Config) {
			c.Balena.ConfigJSON, c.Network.FromConfigJSON = name, true
		}))
		expectBlocked(t, res, "network.from_config_json", name)
	}
}

// TestMended: whatever was done to the directory in the meantime, a rerun puts right, and it writes through no link.
func TestMended(t *testing.T) {
	h := hosttest.New(t, map[string]string{
		wpaConf: wpa("a", "key_mgmt=NONE") + wpa("b", "key_mgmt=NONE") + wpa("c", "key_mgmt=NONE"), "/etc/passwd": "root",
	})
	first := converge(t, h, document(nil))
	at := func(name string) string { return filepath.Join(h.Root(), outDir, name) }
	for _, err := range []error{os.Remove(at("resin-wifi-01")), os.Chmod(at("resin-wifi-02"), 0o644), os.WriteFile(at("resin-wifi-03"), nil, 0o600)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	h.Link(outDir+"/resin-wifi-01", "/etc/passwd")
	again := converge(t, h, document(nil))
	expect(t, "connections", connections(again), connections(first)...)
	if len(again.Changes) != 4 {
		t.Errorf("changes %v, want a link removed and three files written", again.Changes)
	}
	if data, _ := h.ReadFile("/etc/passwd"); string(data) != "root" {
		t.Errorf("/etc/passwd is now %q", data)
	}
}

// TestUnreadableIsNoAbsence: a source that can't be read must not look like a device without networks.
func TestUnreadableIsNoAbsence(t *testing.T) {
	h := hosttest.New(t, map[string]string{nmDir: "not a directory"})
	res, err := steptest.RunOn(h).Converge(context.Background(), Step{}, document(nil))
	if err == nil || res.Status != schema.Failed || !strings.Contains(res.Msg, nmDir) {
		t.Errorf("status %s, %q (%v)", res.Status, res.Msg, err)
	}
}

func TestOddSources(t *testing.T) {
	h := hosttest.New(t, map[string]string{
		nmHome: nm("home", "canary-key"), nmDir + "/big": strings.Repeat("#", maxFile+1), nmDir + "/junk": "canary\n", nmDir + "/dir/x": "",
	})
	h.Link(nmDir+"/gone", "/nowhere")
	res := converge(t, h, document(nil))
	expect(t, "connections", connections(res), "resin-wifi-01 home wpa-psk "+nmHome)
	expectWarned(t, res, "larger than 1 MiB", "does not exist", "can't be read (line 1: ")
}
