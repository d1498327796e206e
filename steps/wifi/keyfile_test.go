package wifi

import (
	"strings"
	"testing"
)

const nmSecurity = "\n[wifi-security]\nkey-mgmt=wpa-psk\npsk=12345678\n"

// TestNM reads connection files of NetworkManager (S80, P32).
func TestNM(t *testing.T) {
	const first = "[connection]\ntype=wifi\n"
	tests := []struct {
		name, text string
		want       network
	}{
		{"plain", first + "[wifi]\nssid=home\n" + nmSecurity, network{ssid: "home", security: psk, key: "12345678"}},
		{
			"old section names", "[connection]\ntype=802-11-wireless\n[802-11-wireless]\nssid=home\n[802-11-wireless-security]\nkey-mgmt=wpa-psk\npsk=12345678",
			network{ssid: "home", security: psk, key: "12345678"},
		},
		{"byte list", first + "[wifi]\nssid=104;111;255;\n", network{ssid: "ho\xff", security: open}},
		{"byte list with blanks", first + "[wifi]\nssid= 104 ; 111;\n", network{ssid: "ho", security: open}},
		{"digits are text", first + "[wifi]\nssid=104\n", network{ssid: "104", security: open}},
		{"unfinished list is text", first + "[wifi]\nssid=104;111\n", network{ssid: "104;111", security: open}},
		{"no byte", first + "[wifi]\nssid=256;\n", network{ssid: "256;", security: open}},
		{"semicolons escaped", first + "[wifi]\nssid=1\\\\;2\\\\;\n", network{ssid: "1;2;", security: open}},
		{"escapes", first + "[wifi]\nssid=\\sa\\\\b\\t\n", network{ssid: " a\\b\t", security: open}},
		{"blanks around the equals sign", first + "[wifi]\r\n  ssid \t=  home \r\n", network{ssid: "home ", security: open}},
		{"section in two parts, last one counts", first + "[wifi]\nssid=a\n[ipv4]\nmethod=auto\n[wifi]\nssid=b\n", network{ssid: "b", security: open}},
		{"hidden, priority", first + "autoconnect-priority=7\n[wifi]\nssid=a\nhidden=true\n", network{ssid: "a", security: open, hidden: true, priority: 7}},
		{"WPA3", first + "[wifi]\nssid=a\n[wifi-security]\nkey-mgmt=sae\npsk=x\n", network{ssid: "a", security: sae, key: "x"}},
		{"enhanced open", first + "[wifi]\nssid=a\n[wifi-security]\nkey-mgmt=owe\n", network{ssid: "a", security: owe}},
		{"raw key", first + "[wifi]\nssid=a\n[wifi-security]\nkey-mgmt=wpa-psk\npsk=" + hex64, network{ssid: "a", security: psk, key: hex64}},
		{"key in the file all the same", first + "[wifi]\nssid=a\n" + nmSecurity + "psk-flags=1\n", network{ssid: "a", security: psk, key: "12345678"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			networks, refused := parseNM([]byte(tt.text), "f")
			if len(networks) != 1 || len(refused) != 0 {
				t.Fatalf("got %d networks, refused %v", len(networks), refused)
			}
			if !same(networks[0], tt.want) {
				t.Errorf("got %+v, want %+v", networks[0], tt.want)
			}
			if again := readBack(t, networks[0]); !same(again, tt.want) {
				t.Errorf("read back %+v, want %+v", again, tt.want)
			}
		})
	}
}

func TestNMRefuses(t *testing.T) {
	const first = "[connection]\ntype=wifi\n[wifi]\nssid=a\n"
	tests := []struct{ name, text, ssid, reason string }{
		{"key with an agent", first + "[wifi-security]\nkey-mgmt=wpa-psk\npsk-flags=1\n", "a", "keyring"},
		{"no key", first + "[wifi-security]\nkey-mgmt=wpa-psk\n", "a", "no key"},
		{"short key", first + "[wifi-security]\nkey-mgmt=wpa-psk\npsk=canary\n", "a", "neither 8 to 63"},
		{"key NetworkManager can't read", first + "[wifi-security]\nkey-mgmt=wpa-psk\npsk=canary\\;7531\n", "a", "neither 8 to 63"},
		{"key not UTF-8", first + "[wifi-security]\nkey-mgmt=wpa-psk\npsk=canary-\xff-7531\n", "a", "neither 8 to 63"},
		{"WEP", first + "[wifi-security]\nkey-mgmt=none\nwep-key0=canary\n", "a", "WEP"},
		{"EAP without a method", first + "[wifi-security]\nkey-mgmt=wpa-eap\n[802-1x]\npassword=canary\n", "a", "which EAP method"},
		{"EAP with an agent", first + "[wifi-security]\nkey-mgmt=wpa-eap\n[802-1x]\neap=peap;\nidentity=canary\npassword-flags=1\n", "a", "keyring"},
		{"EAP with a smart card", first + "[wifi-security]\nkey-mgmt=wpa-eap\n[802-1x]\neap=tls;\nprivate-key=pkcs11:canary\n", "a", "no file"},
		{"EAP with a PAC file", first + "[wifi-security]\nkey-mgmt=wpa-eap\n[802-1x]\neap=fast;\npac-file=/x\n", "a", "pac-file"},
		{"LEAP", first + "[wifi-security]\nkey-mgmt=ieee8021x\nleap-password=canary\n", "a", "802.1X"},
		{"unknown", first + "[wifi-security]\nkey-mgmt=quantum\n", "a", "quantum"},
		{"no key-mgmt", first + "[wifi-security]\npsk=canary\n", "a", "without key-mgmt"},
		{"access point", first + "mode=ap\n", "a", "mode=ap"},
		{"by hand only", first + "[connection]\nautoconnect=false\n", "a", "autoconnect=false"},
		{"part of a bridge", first + "[connection]\ncontroller=br0\n", "a", "controller"},
		{"no SSID", "[connection]\ntype=wifi\n[wifi]\n", "", "no SSID"},
		{"long SSID", "[connection]\ntype=wifi\n[wifi]\nssid=" + strings.Repeat("x", 33), "", "no SSID"},
		{"junk line", first + "[wifi-security]\ncanary\n", "", "line 6: line that is neither"},
		{"open bracket", first + "[wifi-security\npsk=canary\n", "", "line 5: section header"},
		{"no section", "psk=canary\n", "", "line 1: key before"},
		{"binary", "[connection]\n\x00canary\n", "", "line 2: binary"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			networks, refused := parseNM([]byte(tt.text), "f")
			if len(networks) != 0 || len(refused) != 1 {
				t.Fatalf("got %+v, refused %v", networks, refused)
			}
			if r := refused[0]; r.ssid != tt.ssid || !strings.Contains(r.reason, tt.reason) || strings.Contains(r.String(), "canary") {
				t.Errorf("got %q (SSID %q), want SSID %q and reason %q without a secret", r, r.ssid, tt.ssid, tt.reason)
			}
		})
	}
	if networks, refused := parseNM([]byte("[connection]\ntype=ethernet\n"), "f"); len(networks)+len(refused) != 0 {
		t.Errorf("Ethernet: got %v, refused %v", networks, refused)
	}
}

// TestNMFileIsKeptWhole: all of a file stays but what belongs to the old system.
func TestNMFileIsKeptWhole(t *testing.T) {
	const before = `# written by hand
[connection]
uuid=5f0ad3c2-6f8e-4f6b-9f0e-1ab0c0ffee01
id=Office [2nd floor]
type = wifi
interface-name=wlan0
permissions=user:pi:;
timestamp=1700000000
secondaries=5f0ad3c2-6f8e-4f6b-9f0e-1ab0c0ffee02;

[802-11-wireless]
ssid=1;2;255;
mac-address=00:11:22:33:44:55

[802-11-wireless-security]
key-mgmt=wpa-psk
psk=\spass\\word

[match]
interface-name=wlan*;
driver=brcmfmac;

[ipv4]
address1=192.168.1.5/24,192.168.1.1
dns=9.9.9.9;
method=manual
`
	const after = `# written by hand
[connection]
id=resin-wifi-03
type = wifi

[802-11-wireless]
ssid=1;2;255;
mac-address=00:11:22:33:44:55

[802-11-wireless-security]
key-mgmt=wpa-psk
psk=\spass\\word

[match]
driver=brcmfmac;

[ipv4]
address1=192.168.1.5/24,192.168.1.1
dns=9.9.9.9;
method=manual
`
	networks, refused := parseNM([]byte(before), "f")
	if len(networks) != 1 {
		t.Fatalf("refused %v", refused)
	}
	if got := string(render(networks[0], "resin-wifi-03")); got != after {
		t.Errorf("got:\n%s\nwant:\n%s", got, after)
	}
}

func TestIgnoredFiles(t *testing.T) {
	for name, want := range map[string]bool{
		".hidden": true, "home~": true, "home.A1b2C3": true, "ca.pem": true, "ca.DER": true, "resin-sample.ignore": true,
		"home": false, "home.nmconnection": false, "my.wifi": false, "resin-wifi-01": false, "home.A1b2C-": false,
	} {
		if got := ignored(name); got != want {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
}

func FuzzKeyfile(f *testing.F) {
	f.Add([]byte("[connection]\nid=x\ntype=wifi\n[wifi]\nssid=1;2;\n" + nmSecurity))
	f.Add([]byte("# c\n\n[connection]\r\ntype = wifi\r\n[802-11-wireless]\nssid= \\sa\\\\;\nhidden=1\n[802-11-wireless-security]\nkey-mgmt=sae\npsk=x\n"))
	f.Add([]byte("[a]\nb=c\n[a]\nb\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		k, err := parseKeyfile(data, "fuzz")
		if err != nil {
			return
		}
		if again, err := parseKeyfile(k.bytes(), "fuzz"); err != nil || string(again.bytes()) != string(k.bytes()) {
			t.Errorf("%q does not come back: %v", k.bytes(), err)
		}
		networks, _ := parseNM(data, "fuzz")
		for _, n := range networks {
			if again := readBack(t, n); !same(n, again) {
				t.Errorf("got %+v, want %+v", again, n)
			}
			n.file = nil
			if again := readBack(t, n); !hasControl(n.key) && !same(n, again) {
				t.Errorf("written anew: got %+v, want %+v", again, n)
			}
		}
	})
}
