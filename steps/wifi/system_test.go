package wifi

import (
	"encoding/base64"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps/host/hosttest"
	"github.com/balena-community/balena-migrate/steps/steptest"
)

// TestSystem is E2: servers that somebody set, and none that a distribution ships.
func TestSystem(t *testing.T) {
	for _, tt := range []struct {
		name     string
		files    map[string]string
		ntp, dns string
	}{
		{"nothing", nil, "", ""},
		{"as shipped", map[string]string{
			"/etc/systemd/timesyncd.conf": "[Time]\n#NTP=\n#FallbackNTP=0.debian.pool.ntp.org\n", "/etc/systemd/resolved.conf": "[Resolve]\n#DNS=\nFallbackDNS=1.1.1.1\n",
			"/etc/chrony/chrony.conf": "pool 2.debian.pool.ntp.org iburst\n", "/etc/ntp.conf": "server 127.127.1.0\npool ntp.ubuntu.com\n",
		}, "", ""},
		{"timesyncd and resolved", map[string]string{
			"/etc/systemd/timesyncd.conf":           "[Time]\nNTP=time.plant.example 192.0.2.1\n",
			"/etc/systemd/timesyncd.conf.d/10.conf": "[Time]\nNTP=\nNTP=drop.plant.example\n",
			"/etc/systemd/resolved.conf":            "[Resolve]\nDNS=192.0.2.53#dns.example 127.0.0.1 2001:db8::53 canary\n",
		}, "time.plant.example 192.0.2.1 drop.plant.example", "192.0.2.53 2001:db8::53"},
		{"chrony", map[string]string{"/etc/chrony/chrony.conf": "server a.example iburst\n# server b.example\npeer c.example\nserver a.example\nserver $(canary)\n"}, "a.example c.example", ""},
		{"ntpsec", map[string]string{"/etc/ntpsec/ntp.conf": "server a.example\n"}, "a.example", ""},
	} {
		got, err := readSystem(hosttest.New(t, tt.files))
		if err != nil || strings.Join(got.ntp, " ") != tt.ntp || strings.Join(got.dns, " ") != tt.dns {
			t.Errorf("%s: got %+v (%v), want %q and %q", tt.name, got, err, tt.ntp, tt.dns)
		}
	}
}

// TestLeftBehind: what has no place in the new system is named, without its secrets.
func TestLeftBehind(t *testing.T) {
	h := hosttest.New(t, map[string]string{
		nmHome:             nm("home", "canary-key"),
		"/etc/environment": "PATH=/bin\nexport HTTPS_PROXY=\"http://u:canary@proxy:3128\"\n",
		"/usr/local/share/ca-certificates/plant.crt": "canary",
	})
	expectWarned(t, converge(t, h, document(nil)), "plant.crt")
	h.Put("/c.json", `{"balenaRootCA":"canary"}`)
	expectWarned(t, converge(t, h, document(func(c *schema.Config) { c.Balena.ConfigJSON = "/c.json" })))
	h = hosttest.New(t, map[string]string{nmHome: nm("home", "canary-key"), "/etc/environment": "http_proxy=\nno_proxy=x\n", "/c.json": `{"wifiSsid":"a","wifiKey":"canary-k"}`})
	expectWarned(t, converge(t, h, document(func(c *schema.Config) { c.Balena.ConfigJSON = "/c.json" })), "network.from_config_json")
}

// everySource is a device that keeps a secret in each place where one can be.
func everySource() map[string]string {
	return map[string]string{
		wpaConf: wpa("wpa", key("canary-wpa-key")) + wpa("sae", "key_mgmt=SAE\nsae_password=\"canary-sae\"") +
			wpa("eap", "key_mgmt=WPA-EAP\neap=TLS\nidentity=\"canary-id\"\nclient_cert=\"/etc/c.pem\"\nprivate_key=\"/etc/k.pem\"\nprivate_key_passwd=\"canary-pass\"") +
			wpa("wep", "key_mgmt=NONE\nwep_key0=\"canary-wep\"") + wpa("hash", "key_mgmt=WPA-EAP\neap=PEAP\nidentity=\"i\"\npassword=hash:canary"),
		"/etc/c.pem": "canary certificate", "/etc/k.pem": "canary private key",
		nmHome:                     nm("nm", "canary-nm-key"),
		nmDir + "/eap":             "[connection]\nid=e\ntype=wifi\n[wifi]\nssid=nm-eap\n[wifi-security]\nkey-mgmt=wpa-eap\n[802-1x]\neap=peap;\nidentity=i\npassword=canary-p\nphase2-auth=mschapv2\nca-cert=/etc/c.pem\n",
		nmDir + "/gsm":             "[connection]\nid=g\ntype=gsm\n[gsm]\napn=a\npassword=canary-gsm\npin=canary\n",
		nmDir + "/broken":          "[connection]\ncanary\n",
		netplanDir + "/a.yaml":     "network:\n  wifis:\n    wlan0:\n      access-points: {np: {password: canary-np-key}, short: {password: canary}}\n  modems: {m: {apn: a, password: canary-m}}\n",
		netplanDir + "/b.yaml":     "network: [canary",
		interfaces:                 "auto wlan1\niface wlan1 inet dhcp\n  wpa-ssid if\n  wpa-psk canary-if-key\n  up echo canary\n",
		connmanDir + "/x.config":   "[service_x]\nType=wifi\nName=cm\nPassphrase=canary-cm-key\n[service_y]\nType=wifi\nName=cy\nPassphrase=canary\n",
		connmanDir + "/w/settings": "[wifi_aabbccddeeff_6364_managed_psk]\nFavorite=true\nPassphrase=canary-cd-key\n",
		dhcpcdConf:                 "interface eth0\nstatic ip_address=canary\n",
		"/etc/environment":         "https_proxy=http://u:canary@p:1\n",
		"/in/config.json":          `{"wifiSsid":"json","wifiKey":"canary-json-key","apiKey":"canary-api"}`,
		"/in/own":                  nm("own", "canary-own-key"),
	}
}

// TestSecrets: what the sources hold is in no result, difference or log, and in no file that others may read. Programs, to
// whose arguments everybody can look, the step runs none: the machine it runs on here has none.
func TestSecrets(t *testing.T) {
	files := everySource()
	h := hosttest.New(t, files)
	in := document(func(c *schema.Config) {
		c.Balena.ConfigJSON, c.Network.FromConfigJSON, c.Network.Files = "/in/config.json", true, []string{"/in/own"}
	})
	run := steptest.RunOn(h)
	var logged strings.Builder
	run.Log = func(act string, n schema.ChangeNote, _ time.Duration) { logged.WriteString(act + n.Action + n.Target) }
	secrets := []string{"canary", base64.StdEncoding.EncodeToString([]byte("canary private key"))}
	res := steptest.Laws(t, Step{}, run, in, secrets...)
	if len(res.Facts.Network.Connections) < 13 || strings.Contains(logged.String(), "canary") {
		t.Errorf("%d connections; log %q", len(res.Facts.Network.Connections), logged.String())
	}
	held := 0
	err := filepath.WalkDir(h.Root(), func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel := strings.TrimPrefix(name, h.Root())
		if _, ours := files[rel]; ours {
			return nil
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		secret := slices.ContainsFunc(secrets, func(s string) bool { return strings.Contains(string(data), s) })
		info, err := d.Info()
		if secret {
			held++
		}
		if secret && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s holds a secret and has mode %v", rel, info.Mode())
		}
		return err
	})
	if err != nil || held < 10 {
		t.Errorf("%d files hold a secret, want 10 at least (%v)", held, err)
	}
}
