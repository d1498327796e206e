package wifi

import (
	"strings"
	"testing"
)

const (
	tail  = "\n[ipv4]\nmethod=auto\n\n[ipv6]\naddr-gen-mode=stable-privacy\nmethod=auto\n"
	head  = "[connection]\nid=resin-wifi-01\ntype=wifi\n\n[wifi]\nmode=infrastructure\nssid="
	hex64 = "ca4a12ca4a12ca4a12ca4a12ca4a12ca4a12ca4a12ca4a12ca4a12ca4a12CA4A"
)

// rendered is the connection file of a WPA network with a passphrase, both as they are written there (F2).
func rendered(ssid, key string) string {
	return head + ssid + "\n\n[wifi-security]\nauth-alg=open\nkey-mgmt=wpa-psk\npsk=" + key + "\n" + tail
}

// TestWPA is S79 without its bugs: what wpa_supplicant.conf says, as the connection file F2.
func TestWPA(t *testing.T) {
	tests := []struct{ name, block, want string }{
		{"quoted", `ssid="home"` + "\n" + `psk="secret phrase"`, rendered("home", "secret phrase")},
		{"raw key", "ssid=\"home\"\npsk=" + hex64, rendered("home", hex64)},
		{"hex SSID", "ssid=6c61622d6f6666696365\npsk=\"12345678\"", rendered("lab-office", "12345678")},
		{"hex SSID, no UTF-8", "ssid=ff00c3\npsk=\"12345678\"", rendered("255;0;195;", "12345678")},
		{"printf SSID", `ssid=P"a\x41\"\\\101\tb"` + "\npsk=\"12345678\"", rendered("97;65;34;92;65;9;98;", "12345678")},
		{"printf SSID as text", `ssid=P"\xc3\xa4 \"x\" \\"` + "\npsk=\"12345678\"", rendered(`ä "x" \\`, "12345678")},
		{"SSID with quotes", `ssid="say "hi""` + "\npsk=\"12345678\"", rendered(`say "hi"`, "12345678")},
		{"SSID with blanks around", `ssid="  x "` + "\npsk=\"12345678\"", rendered(`\s\sx\s`, "12345678")},
		{"SSID like a list", `ssid="1;2;"` + "\npsk=\"12345678\"", rendered(`1\\;2\\;`, "12345678")},
		{"SSID of digits", `ssid="123"` + "\npsk=\"12345678\"", rendered("123", "12345678")},
		{"backslashes stay", `ssid="a\b"` + "\n" + `psk=" pa\ss;wd#1 "`, rendered(`a\\b`, `\spa\\ss;wd#1\s`)},
		{"comment after the quote", "ssid=\"a#b\" # \n psk=\"12345678\"\t# mine", rendered("a#b", "12345678")},
		{"last one counts", "ssid=\"a\"\nssid=\"b\"\npsk=\"12345678\"", rendered("b", "12345678")},
		{"carriage returns", "ssid=\"a\"\r\npsk=\"12345678\"\r", rendered("a", "12345678")},
		{"several ways", "ssid=\"a\"\nkey_mgmt=WPA-EAP WPA-PSK SAE\npsk=\"12345678\"", rendered("a", "12345678")},
		{"key no keyfile can hold", "ssid=\"a\"\npsk=\"\xff2345678\"", rendered("a", rawKey("\xff2345678", "a"))},
		{"open", "ssid=\"guests\"\nkey_mgmt=NONE", head + "guests\n" + tail},
		{"enhanced open", "ssid=\"guests\"\nkey_mgmt=OWE", head + "guests\n\n[wifi-security]\nkey-mgmt=owe\n" + tail},
		{"WPA3", "ssid=\"a\"\nkey_mgmt=SAE\npsk=\"12345678\"", head + "a\n\n[wifi-security]\nkey-mgmt=sae\npsk=12345678\n" + tail},
		{"WPA3 password", "ssid=\"a\"\nkey_mgmt=SAE FT-SAE\nsae_password=\"x\"", head + "a\n\n[wifi-security]\nkey-mgmt=sae\npsk=x\n" + tail},
		{"WPA3 password only", "ssid=\"a\"\nkey_mgmt=WPA-PSK SAE\nsae_password=\"x\"", head + "a\n\n[wifi-security]\nkey-mgmt=sae\npsk=x\n" + tail},
		{
			"hidden, with priority", "ssid=\"a\"\nscan_ssid=1\npriority=5\nkey_mgmt=NONE",
			"[connection]\nid=resin-wifi-01\ntype=wifi\nautoconnect-priority=5\n\n[wifi]\nhidden=true\nmode=infrastructure\nssid=a\n" + tail,
		},
		{
			"priority out of range", "ssid=\"a\"\npriority=4000\nkey_mgmt=NONE\ndisabled=0\nmode=0",
			"[connection]\nid=resin-wifi-01\ntype=wifi\nautoconnect-priority=999\n\n[wifi]\nmode=infrastructure\nssid=a\n" + tail,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			networks, refused := parseWPA([]byte("ctrl_interface=/run\ncountry=DE\nnetwork={\n"+tt.block+"\n}\n"), "w.conf")
			if len(networks) != 1 || len(refused) != 0 {
				t.Fatalf("got %d networks, refused %v", len(networks), refused)
			}
			if got := string(render(networks[0], "resin-wifi-01")); got != tt.want {
				t.Errorf("got:\n%s\nwant:\n%s", got, tt.want)
			}
			if networks[0].source != "w.conf:3" {
				t.Errorf("source %q, want w.conf:3", networks[0].source)
			}
		})
	}
}

func TestWPARefuses(t *testing.T) {
	const canary = "canary-7531"
	tests := []struct{ name, block, ssid, reason string }{
		{"disabled", "ssid=\"a\"\npsk=\"" + canary + "\"\ndisabled=1", "a", "is disabled"},
		{"WEP", "ssid=\"a\"\nkey_mgmt=NONE\nwep_key0=\"" + canary + "\"", "a", "WEP"},
		{"EAP", "ssid=\"a\"\nkey_mgmt=WPA-EAP\neap=PEAP\npassword=\"" + canary + "\"", "a", "no identity"},
		{"EAP by default", "ssid=\"a\"\neap=TLS\nidentity=\"u\"\nprivate_key_passwd=\"" + canary + "\"", "a", "no private key"},
		{"EAP with a hash", "ssid=\"a\"\neap=PEAP\nidentity=\"u\"\npassword=hash:" + canary, "a", "form that can't be carried"},
		{"EAP with an engine", "ssid=\"a\"\neap=TLS\nidentity=\"u\"\nengine_id=\"" + canary + "\"", "a", "engine_id"},
		{"EAP by SIM card", "ssid=\"a\"\neap=SIM\nidentity=\"u\"", "a", "EAP-sim"},
		{"EAP without a method", "ssid=\"a\"\nkey_mgmt=WPA-EAP", "a", "which EAP method"},
		{"EAP with a blob that is not there", "ssid=\"a\"\neap=PEAP\nidentity=\"u\"\npassword=\"" + canary + "\"\nca_cert=\"blob://x\"", "a", "not in the file"},
		{"dynamic WEP", "ssid=\"a\"\nkey_mgmt=IEEE8021X", "a", "802.1X"},
		{"another way", "ssid=\"a\"\nkey_mgmt=WPS", "a", "key_mgmt=WPS"},
		{"no key", "ssid=\"a\"", "a", "has no key"},
		{"key elsewhere", "ssid=\"a\"\npsk=ext:" + canary, "a", "external"},
		{"key too short", "ssid=\"a\"\npsk=\"canary-\"", "a", "neither 8 to 63"},
		{"key too long", "ssid=\"a\"\npsk=\"" + strings.Repeat("canary-7", 8) + "\"", "a", "neither 8 to 63"},
		{"key not quoted", "ssid=\"a\"\npsk=" + canary, "a", "neither 8 to 63"},
		{"WPA3 with a derived key", "ssid=\"a\"\nkey_mgmt=SAE\npsk=" + hex64, "a", "needs the passphrase"},
		{"WPA3 password not UTF-8", "ssid=\"a\"\nkey_mgmt=SAE\nsae_password=ff", "a", "no UTF-8"},
		{"access point", "ssid=\"a\"\nmode=2\npsk=\"" + canary + "\"", "a", "mode=2"},
		{"any network", "key_mgmt=NONE", "", "no SSID"},
		{"SSID neither", "ssid=home\npsk=\"" + canary + "\"", "", "neither quoted, nor hex"},
		{"SSID too long", "ssid=\"" + strings.Repeat("x", 33) + "\"\npsk=\"" + canary + "\"", "", "at most 32"},
		{"SSID quote open", "ssid=\"a\npsk=\"" + canary + "\"", "", "neither quoted"},
		{"no equals sign", "ssid=\"a\"\n" + canary, "a", "line 4"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			networks, refused := parseWPA([]byte("# mine\nnetwork={\n"+tt.block+"\n}\n"), "w.conf")
			if len(networks) != 0 || len(refused) != 1 {
				t.Fatalf("got %d networks, refused %v", len(networks), refused)
			}
			r := refused[0]
			if r.ssid != tt.ssid || !strings.Contains(r.reason, tt.reason) || r.source != "w.conf:2" {
				t.Errorf("got %+v, want SSID %q and reason %q", r, tt.ssid, tt.reason)
			}
			if strings.Contains(r.String(), "canary") {
				t.Errorf("the secret is in %q", r)
			}
		})
	}
}

func TestWPASeveralBlocks(t *testing.T) {
	const text = `ctrl_interface=DIR=/run/wpa_supplicant GROUP=netdev
update_config=1
cred={
	realm="example.com"
	password="network={"
}
network={
	ssid="one"
	key_mgmt=NONE
}
  #network={
blob-base64-x={
network={
}
network = {
	ssid="two"
	key_mgmt=NONE
} # end
}
network={
	ssid="three"
	key_mgmt=NONE
`
	networks, refused := parseWPA([]byte(text), "w.conf")
	if len(networks) != 2 || networks[0].ssid != "one" || networks[1].ssid != "two" {
		t.Errorf("got %+v", networks)
	}
	if len(refused) != 1 || refused[0].ssid != "three" || !strings.Contains(refused[0].reason, "brace") {
		t.Errorf("refused %v", refused)
	}
}

// TestRawKey is the test vector of IEEE 802.11, annex J.4.2.
func TestRawKey(t *testing.T) {
	const want = "f42c6fc52df0ebef9ebb4b90b38a5f902e83fe1b135a70e23aed762e9710a12e"
	if got := rawKey("password", "IEEE"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// same says whether a network is the same once it was written and read again.
func same(a, b network) bool {
	return a.ssid == b.ssid && a.security == b.security && a.key == b.key && a.hidden == b.hidden && clamp(a.priority) == clamp(b.priority)
}

// readBack parses a rendered file as NetworkManager would.
func readBack(t *testing.T, n network) network {
	t.Helper()
	data := render(n, "resin-wifi-07")
	k, err := parseKeyfile(data, "rendered")
	if err != nil {
		t.Fatalf("%v in %q", err, data)
	}
	again, reason := nmNetwork(k, n.source)
	if reason != "" || !isWifi(k) {
		t.Fatalf("rendered file of %q %s:\n%s", n.ssid, reason, data)
	}
	if id := k.get("connection", "id"); id != "resin-wifi-07" {
		t.Errorf("id is %q", id)
	}
	return again
}

func FuzzWPA(f *testing.F) {
	for _, block := range []string{
		`ssid="home"` + "\n" + `psk="secret phrase"`, "ssid=ff00\nkey_mgmt=NONE", `ssid=P"\x41\101\e\"" ` + "\nkey_mgmt=OWE",
		"ssid=\" ;1;\"\nkey_mgmt=SAE\nsae_password=\"\\ \"\nscan_ssid=1", "ssid=\"a\"\npriority=-7\npsk=" + hex64,
	} {
		f.Add([]byte("network={\n" + block + "\n}\n"))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		networks, _ := parseWPA(data, "fuzz")
		for _, n := range networks {
			if again := readBack(t, n); !same(n, again) {
				t.Errorf("got %+v, want %+v", again, n)
			}
		}
	})
}
