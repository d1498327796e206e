package wifi

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// told is a harvest in words, a line for each thing.
func told(h harvest) string {
	var b strings.Builder
	for _, n := range h.networks {
		fmt.Fprintf(&b, "%s %s %s key=%s", n.kindName(), quote(n.ssid), n.security, n.key)
		if n.hidden {
			b.WriteString(" hidden")
		}
		fmt.Fprintf(&b, " on=%s%s%s%v\n", n.iface, tellEAP(n.eap), tellIP(n.ip), n.gsm)
	}
	for _, l := range h.links {
		fmt.Fprintf(&b, "link %q mac=%s ssid=%s", l.names, l.mac, l.ssid)
		if l.vlan.id > 0 {
			fmt.Fprintf(&b, " vlan=%d/%s", l.vlan.id, l.vlan.parent)
		}
		if l.fallback {
			b.WriteString(" fallback")
		}
		fmt.Fprintf(&b, "%s%s %s\n", tellEAP(l.eap), tellIP(&l.ip), l.reason)
	}
	for _, r := range h.refused {
		fmt.Fprintf(&b, "refused %q on=%s %s\n", r.ssid, r.iface, r.reason)
	}
	for _, w := range h.warnings {
		fmt.Fprintf(&b, "warned %s\n", w)
	}
	return strings.ReplaceAll(strings.ReplaceAll(b.String(), "map[]", ""), " \n", "\n")
}

func tellEAP(e *eap) string {
	if e == nil {
		return ""
	}
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(e.values)) {
		fmt.Fprintf(&b, " %s=%s", k, e.values[k])
	}
	for _, k := range slices.Sorted(maps.Keys(e.certs)) {
		fmt.Fprintf(&b, " %s:%s", k, e.certs[k])
	}
	return b.String()
}

func tellIP(a *addressing) string {
	if a == nil {
		return ""
	}
	var b strings.Builder
	for i, f := range []family{a.v4, a.v6} {
		fmt.Fprintf(&b, " v%d=%s", 4+2*i, f.method)
		for _, p := range f.addresses {
			fmt.Fprintf(&b, ",%s", p)
		}
		if f.gateway.IsValid() {
			fmt.Fprintf(&b, ">%s", f.gateway)
		}
		for _, d := range f.dns {
			fmt.Fprintf(&b, "?%s", d)
		}
		for _, r := range f.routes {
			fmt.Fprintf(&b, "+%s>%s#%d", r.to, r.via, r.metric)
		}
	}
	if len(a.search) > 0 {
		fmt.Fprintf(&b, " search=%s", strings.Join(a.search, ","))
	}
	return b.String()
}

type sourceTest struct{ name, text, want string }

func checkSource(t *testing.T, tests []sourceTest, parse func(string) harvest) {
	t.Helper()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := parse(tt.text)
			if got := told(h); got != tt.want {
				t.Errorf("got:\n%s\nwant:\n%s", got, tt.want)
			}
			for _, r := range h.refused {
				if strings.Contains(r.String(), "canary") {
					t.Errorf("the secret is in %q", r)
				}
			}
			wellFormed(t, h)
		})
	}
}

// wellFormed renders everything in a harvest and reads it again: nothing that a file held may break out of its value.
func wellFormed(t *testing.T, h harvest) {
	t.Helper()
	all := slices.Clone(h.networks)
	for _, l := range h.links {
		if l.reason == "" {
			all = append(all, network{kind: ethernetKind, ip: &l.ip, eap: l.eap, bind: "eth0"})
		}
	}
	for _, n := range all {
		data := render(n, "resin-x-01")
		k, err := parseKeyfile(data, "rendered")
		if err != nil {
			t.Fatalf("%v in %q", err, data)
		}
		if id := k.get("connection", "id"); id != "resin-x-01" || k.get("connection", "type") != n.kindName() {
			t.Errorf("id %q, type %q in %q", id, k.get("connection", "type"), data)
		}
		for key, value := range n.gsm {
			if got := k.get("gsm", key); got != value {
				t.Errorf("gsm.%s is %q, want %q", key, got, value)
			}
		}
		if n.eap != nil {
			for key, value := range n.eap.values {
				if got := k.get("802-1x", key); got != value {
					t.Errorf("802-1x.%s is %q, want %q", key, got, value)
				}
			}
		}
		if n.kindName() == wifiKind && n.eap == nil {
			if again := readBack(t, n); !same(n, again) {
				t.Errorf("read back %+v, want %+v", again, n)
			}
		}
	}
}

func TestDhcpcd(t *testing.T) {
	checkSource(t, []sourceTest{
		{"as it ships", "hostname\nclientid\npersistent\noption domain_name_servers, domain_name\n#interface eth0\n#static ip_address=1.2.3.4/24\nrequire dhcp_server_identifier\nslaac private\n", ""},
		{
			"static", "interface eth0\nstatic ip_address=192.168.0.10/24\nstatic routers=192.168.0.1\nstatic domain_name_servers=192.168.0.1 8.8.8.8\nstatic domain_search=a.example b.example\n",
			"link [\"eth0\"] mac= ssid= v4=manual,192.168.0.10/24>192.168.0.1?192.168.0.1?8.8.8.8 v6=auto search=a.example,b.example\n",
		},
		{"without a length, blanks", " interface  wlan0 \n\tstatic ip_address = 10.0.0.5\n", "link [\"wlan0\"] mac= ssid= v4=manual,10.0.0.5/24 v6=auto\n"},
		{"name servers alone", "interface eth0\nstatic domain_name_servers=1.1.1.1\n", "link [\"eth0\"] mac= ssid= v4=auto?1.1.1.1 v6=auto\n"},
		{"inform", "interface eth0\ninform 192.168.0.10/16\n", "link [\"eth0\"] mac= ssid= v4=manual,192.168.0.10/16 v6=auto\n"},
		{
			"routes, IPv6", "interface eth0\nstatic ip_address=10.0.0.2/8\nstatic ip6_address=fd00::2/64\nstatic static_routes=192.168.9.0/24 10.0.0.9\n",
			"link [\"eth0\"] mac= ssid= v4=manual,10.0.0.2/8+192.168.9.0/24>10.0.0.9#0 v6=auto,fd00::2/64\n",
		},
		{
			"fallback", "profile static_eth0\nstatic ip_address=192.168.1.23/24\nstatic routers=192.168.1.1\ninterface eth0\nfallback static_eth0\n",
			"link [\"eth0\"] mac= ssid= v4=auto v6=auto\nlink [\"eth0\"] mac= ssid= fallback v4=manual,192.168.1.23/24>192.168.1.1 v6=auto\n",
		},
		{"by SSID", "ssid My home\nstatic ip_address=10.0.0.7/24\n", "link [] mac= ssid=My home v4=manual,10.0.0.7/24 v6=auto\n"},
		{"not IPv4", "interface eth0\nnoipv4\n", ""},
		{"not understood", "interface eth0\nstatic ip_address=canary\nstatic\n", "link [\"eth0\"] mac= ssid= v4=disabled v6=auto\nwarned f:2 is not understood: it does not go along\nwarned f:3 is not understood: it does not go along\n"},
	}, func(text string) harvest { return parseDhcpcd([]byte(text), "f") })
}

func TestIfupdown(t *testing.T) {
	more := map[string]string{
		"/etc/network/interfaces.d/b": "auto eth1\niface eth1 inet dhcp\n",
		"/etc/network/interfaces.d/a": "auto eth0\niface eth0 inet static\naddress 10.0.0.2/24\n",
		"/etc/network/loop":           "source /etc/network/loop\nauto eth9\niface eth9 inet dhcp\n",
	}
	include := func(pattern string, dir bool) map[string][]byte {
		out := map[string][]byte{}
		for name, text := range more {
			if pattern == name || strings.HasSuffix(pattern, "/*") && strings.HasPrefix(name, strings.TrimSuffix(pattern, "*")) || dir && strings.HasPrefix(name, pattern+"/") {
				out[name] = []byte(text)
			}
		}
		return out
	}
	checkSource(t, []sourceTest{
		{"loopback and DHCP", "auto lo\niface lo inet loopback\nallow-hotplug eth0\niface eth0 inet dhcp\n", "link [\"eth0\"] mac= ssid= v4=auto v6=auto\n"},
		{
			"static, mask", "auto eth0\niface eth0 inet static\n  address 192.168.1.5\n  netmask 255.255.255.128\n  gateway 192.168.1.1\n  dns-nameservers 1.1.1.1 9.9.9.9\n  dns-search a b\n",
			"link [\"eth0\"] mac= ssid= v4=manual,192.168.1.5/25>192.168.1.1?1.1.1.1?9.9.9.9 v6=auto search=a,b\n",
		},
		{
			"both families, two addresses", "auto eth0\niface eth0 inet static\n\taddress 10.0.0.2/24\niface eth0 inet static\n\taddress 10.0.1.2/24\niface eth0 inet6 static\n\taddress 2001:db8::2\n\tnetmask 64\n\tgateway 2001:db8::1\n",
			"link [\"eth0\"] mac= ssid= v4=manual,10.0.0.2/24,10.0.1.2/24 v6=manual,2001:db8::2/64>2001:db8::1\n",
		},
		{"not brought up", "auto eth0\niface eth0 inet dhcp\niface eth1 inet static\naddress 10.0.0.2/24\n", "link [\"eth0\"] mac= ssid= v4=auto v6=auto\n"},
		{"left to somebody else", "auto eth0\niface eth0 inet manual\n", ""},
		{"pattern", "auto /eth*\nauto e*\niface eth0 inet dhcp\n", "link [\"eth0\"] mac= ssid= v4=auto v6=auto\n"},
		{
			"included", "source /etc/network/interfaces.d/*\n", "link [\"eth0\"] mac= ssid= v4=manual,10.0.0.2/24 v6=auto\nlink [\"eth1\"] mac= ssid= v4=auto v6=auto\n",
		},
		{"directory", "source-directory /etc/network/interfaces.d\n", "link [\"eth0\"] mac= ssid= v4=manual,10.0.0.2/24 v6=auto\nlink [\"eth1\"] mac= ssid= v4=auto v6=auto\n"},
		{"included in a circle", "source /etc/network/loop\n", "link [\"eth9\"] mac= ssid= v4=auto v6=auto\n"},
		{"VLANs", "auto eth0.5 vlan7 tele\niface eth0.5 inet dhcp\niface vlan7 inet dhcp\n  vlan-raw-device eth1\niface tele inet manual\n  vlan-raw-device eth0\n  vlan-id 9\n", `link ["eth0.5"] mac= ssid= vlan=5/eth0 v4=auto v6=auto
link ["vlan7"] mac= ssid= vlan=7/eth1 v4=auto v6=auto
link ["tele"] mac= ssid= vlan=9/eth0 v4=disabled v6=auto
`},
		{"bridge", "auto br0\niface br0 inet dhcp\n  bridge_ports eth0\n", "link [\"br0\"] mac= ssid= v4=auto v6=auto joins interfaces, whose names are other ones in the new system (bridge_ports)\n"},
		{"PPP", "auto dsl\niface dsl inet ppp\n  provider canary\n", "link [\"dsl\"] mac= ssid= v4=disabled v6=auto is configured in a way that can't be carried (ppp)\n"},
		{
			"routes and commands", "auto eth0\niface eth0 inet dhcp\n  up ip route add 10.1.0.0/16 via 192.168.1.2 || true\n  post-up /sbin/route add -net 10.2.0.0/16 gw 192.168.1.2\n  up route add -net 10.3.0.0 netmask 255.255.0.0 gw 192.168.1.2\n  post-up iptables-restore </etc/iptables\n",
			"link [\"eth0\"] mac= ssid= v4=auto+10.1.0.0/16>192.168.1.2#0+10.3.0.0/16>192.168.1.2#0+10.2.0.0/16>192.168.1.2#0 v6=auto\nwarned f:2 runs a command for eth0 (post-up), which does not go along\n",
		},
		{
			"Wi-Fi", "auto wlan0 wlan1\niface wlan0 inet static\n  address 10.0.0.5/24\n  wpa-ssid my home\n  wpa-psk canary-home\niface wlan1 inet dhcp\n  wpa-ssid \"quoted\"\n  wpa-psk " + hex64 + "\n  wpa-scan-ssid 1\n",
			"wifi \"my home\" wpa-psk key=canary-home on=wlan0 v4=manual,10.0.0.5/24 v6=auto\nwifi \"quoted\" wpa-psk key=" + hex64 + " hidden on=wlan1 v4=auto v6=auto\n" +
				"link [\"wlan0\"] mac= ssid= v4=manual,10.0.0.5/24 v6=auto\nlink [\"wlan1\"] mac= ssid= v4=auto v6=auto\n",
		},
		{
			"802.1X", "auto wlan0\niface wlan0 inet dhcp\n  wpa-ssid corp\n  wpa-key-mgmt WPA-EAP\n  wpa-eap PEAP\n  wpa-identity me\n  wpa-password canary-p\n  wpa-ca-cert /etc/ca.pem\n  wpa-phase2 auth=MSCHAPV2\n",
			"wifi \"corp\" wpa-eap key= on=wlan0 eap=peap; identity=me password=canary-p phase2-auth=mschapv2 ca-cert:/etc/ca.pem v4=auto v6=auto\nlink [\"wlan0\"] mac= ssid= v4=auto v6=auto\n",
		},
		{
			"WEP, open, short key", "auto wlan0\niface wlan0 inet dhcp\n  wireless-essid old\n  wireless-key canary-wep\niface wlan0 inet dhcp\n  wireless-essid guests\niface wlan0 inet dhcp\n  wpa-ssid a\n  wpa-psk canary\n",
			"wifi \"guests\" none key= on=wlan0 v4=auto v6=auto\nlink [\"wlan0\"] mac= ssid= v4=auto v6=auto\nrefused \"old\" on=wlan0 " + reasonWEP + "\nrefused \"a\" on=wlan0 has a key that is neither 8 to 63 quoted characters nor 64 hex digits (psk)\n",
		},
		{"bad address", "auto eth0\niface eth0 inet static\n  address canary\n", "link [\"eth0\"] mac= ssid= v4=disabled v6=auto has an address that is not understood (address)\n"},
	}, func(text string) harvest { return parseIfupdown([]byte(text), "f", include) })
}

func TestNetplan(t *testing.T) {
	checkSource(t, []sourceTest{
		{"DHCP", "network:\n  version: 2\n  ethernets:\n    eth0: {dhcp4: true}\n", "link [\"eth0\"] mac= ssid= v4=auto v6=auto\n"},
		{"nothing", "", ""},
		{"empty device", "network:\n  ethernets:\n    eth0:\n", "link [\"eth0\"] mac= ssid= v4=disabled v6=auto\n"},
		{
			"matched", "network:\n  ethernets:\n    a:\n      match: {macaddress: \"52:54:00:AA:BB:CC\"}\n      set-name: lan0\n      addresses:\n        - 10.0.0.2/24:\n            label: x\n        - 10.0.0.3/24\n    b:\n      match: {name: \"en*\"}\n      dhcp4: yes\n",
			"link [\"lan0\"] mac=52:54:00:AA:BB:CC ssid= v4=manual,10.0.0.2/24,10.0.0.3/24 v6=auto\nlink [\"en*\"] mac= ssid= v4=auto v6=auto\n",
		},
		{
			"routes", "network:\n  ethernets:\n    eth0:\n      addresses: [10.0.0.2/24]\n      routes:\n      - {to: 0.0.0.0/0, via: 10.0.0.1}\n      - {to: 10.9.0.0/16, via: 10.0.0.9, metric: 7}\n      - {to: canary, via: 10.0.0.9}\n",
			"link [\"eth0\"] mac= ssid= v4=manual,10.0.0.2/24>10.0.0.1+10.9.0.0/16>10.0.0.9#7 v6=auto has a route that is not understood\n",
		},
		{
			"Wi-Fi", "network:\n  wifis:\n    wlan0:\n      dhcp4: true\n      access-points:\n        a: {password: canary-a-key}\n        b: {auth: {key-management: none}}\n        c: {auth: {key-management: sae, password: canary-sae}}\n        d: {auth: {key-management: psk, password: " + hex64 + "}, hidden: true}\n        e: {mode: ap, password: canary-ap-key}\n        f: {password: canary}\n        g: {auth: {key-management: owe}}\n        h: {auth: {key-management: sae}}\n",
			`wifi "a" wpa-psk key=canary-a-key on=wlan0 v4=auto v6=auto
wifi "b" none key= on=wlan0 v4=auto v6=auto
wifi "c" sae key=canary-sae on=wlan0 v4=auto v6=auto
wifi "d" wpa-psk key=` + hex64 + ` hidden on=wlan0 v4=auto v6=auto
link ["wlan0"] mac= ssid= v4=auto v6=auto
refused "e" on=wlan0 is not a network to join (mode: ap)
refused "f" on=wlan0 has a key that is neither 8 to 63 characters nor 64 hex digits (password)
refused "g" on=wlan0 uses key-management: owe, which can't be carried
refused "h" on=wlan0 has no key there
`,
		},
		{
			"802.1X", "network:\n  ethernets:\n    eth0:\n      dhcp4: true\n      auth: {key-management: 802.1x, method: ttls, identity: me, password: canary-p, ca-certificate: /c.pem}\n    eth1:\n      auth: {key-management: 802.1x, method: tls, identity: me}\n",
			"link [\"eth0\"] mac= ssid= eap=ttls; identity=me password=canary-p phase2-auth=mschapv2 ca-cert:/c.pem v4=auto v6=auto\nlink [\"eth1\"] mac= ssid= eap=tls; identity=me v4=disabled v6=auto has no private key\n",
		},
		{
			"VLANs, bonds, bridges, tunnels, modems", "network:\n  vlans:\n    v5: {id: 5, link: lan, dhcp4: true}\n    v0: {id: 0, link: lan}\n  ethernets:\n    lan: {match: {name: enp1s0}}\n  bonds:\n    bond0: {interfaces: [lan]}\n  tunnels:\n    wg0: {mode: wireguard, key: canary}\n  modems:\n    m: {apn: a, pin: canary-1}\n    n: {}\n",
			`gsm "" ` + ` key= on=mmap[apn:a pin:canary-1]
gsm "" ` + ` key= on=nmap[auto-config:true]
link ["enp1s0"] mac= ssid= v4=disabled v6=auto
link ["v0"] mac= ssid= v4=disabled v6=auto has no VLAN id from 1 to 4094, or no link
link ["v5"] mac= ssid= vlan=5/enp1s0 v4=auto v6=auto
link ["bond0"] mac= ssid= v4=disabled v6=auto joins interfaces, whose names are other ones in the new system
refused "" on=wg0 is a tunnel, which can't be carried
`,
		},
		{"no YAML", "network: [canary", "refused \"\" on= is not the YAML that netplan reads\n"},
		{"other YAML", "network: canary", "refused \"\" on= is not what netplan(5) describes\n"},
	}, func(text string) harvest { return parseNetplan(map[string][]byte{"a.yaml": []byte(text)}, "/d") })
	merged := parseNetplan(map[string][]byte{
		"10-a.yaml": []byte("network:\n  ethernets:\n    eth0:\n      dhcp4: true\n      nameservers: {addresses: [1.1.1.1]}\n"),
		"20-b.yaml": []byte("network:\n  ethernets:\n    eth0:\n      dhcp4: false\n      addresses: [10.0.0.2/24]\n      nameservers: {addresses: [9.9.9.9]}\n    eth1: {dhcp4: true}\n"),
	}, "/d")
	const want = "link [\"eth0\"] mac= ssid= v4=manual,10.0.0.2/24?1.1.1.1?9.9.9.9 v6=auto\nlink [\"eth1\"] mac= ssid= v4=auto v6=auto\n"
	if got := told(merged); got != want {
		t.Errorf("merged: got:\n%s\nwant:\n%s", got, want)
	}
}

func TestNetworkd(t *testing.T) {
	checkSource(t, []sourceTest{
		{"DHCP", "[Match]\nName=en* eth*\n\n[Network]\nDHCP=yes\n", "link [\"en*\" \"eth*\"] mac= ssid= v4=auto v6=auto\n"},
		{"IPv6 only", "[Match]\nName=eth0\n[Network]\nDHCP=ipv6\n", "link [\"eth0\"] mac= ssid= v4=disabled v6=auto\n"},
		{
			"static", "# c\n[Match]\nMACAddress=52:54:00:00:00:01\n[Network]\nAddress=10.0.0.2/24\nAddress=fd00::2/64\nGateway=10.0.0.1\nGateway=fd00::1\nDNS=1.1.1.1 9.9.9.9#dns.quad9.net\nDomains=a ~b\n[Address]\nAddress=10.0.0.3/24\nLabel=x\n[Route]\nGateway=10.0.0.9\nDestination=10.9.0.0/16\n",
			"link [] mac=52:54:00:00:00:01 ssid= v4=manual,10.0.0.2/24,10.0.0.3/24>10.0.0.1?1.1.1.1?9.9.9.9+10.9.0.0/16>10.0.0.9#0 v6=manual,fd00::2/64>fd00::1 search=a,~b\n",
		},
		{"gateway by route", "[Match]\nName=eth0\n[Network]\nAddress=10.0.0.2/24\n[Route]\nGateway=10.0.0.1\n", "link [\"eth0\"] mac= ssid= v4=manual,10.0.0.2/24>10.0.0.1 v6=auto\n"},
		{"emptied, continued", "[Match]\nName=eth0\n[Network]\nDNS=1.1.1.1\nDNS=\nDNS=9.9.9.9 \\\n 8.8.8.8\nDHCP=ipv4\n", "link [\"eth0\"] mac= ssid= v4=auto?9.9.9.9?8.8.8.8 v6=auto\n"},
		{"by type", "[Match]\nType=ether\n[Network]\nDHCP=yes\n", "link [\"en*\" \"eth*\"] mac= ssid= v4=auto v6=auto\n"},
		{"by driver", "[Match]\nDriver=x\n[Network]\nDHCP=yes\n", "link [\"\\x00\"] mac= ssid= v4=auto v6=auto\n"},
		{"bridge", "[Match]\nName=eth0\n[Network]\nBridge=br0\n", "link [\"eth0\"] mac= ssid= v4=disabled v6=auto is a part of another interface (Bridge=)\n"},
		{"by SSID", "[Match]\nName=wlan0\nSSID=home\n[Network]\nAddress=10.0.0.2/24\n", "link [\"wlan0\"] mac= ssid=home v4=manual,10.0.0.2/24 v6=auto\n"},
		{"bad address", "[Match]\nName=eth0\n[Network]\nAddress=canary\n", "link [\"eth0\"] mac= ssid= v4=disabled v6=auto has an address that is not understood (Address=)\n"},
	}, func(text string) harvest { return parseNetworkd(map[string][]byte{"a.network": []byte(text)}, "/d") })
}

func TestConnman(t *testing.T) {
	checkSource(t, []sourceTest{
		{"only seen", "[wifi_aabbccddeeff_686f6d65_managed_psk]\nName=home\nFavorite=false\n", ""},
		{"key with a blank", "[wifi_aabbccddeeff_686f6d65_managed_psk]\nFavorite=true\nPassphrase=\\scanary-key\nIPv4.method=dhcp\n", "wifi \"home\" wpa-psk key= canary-key on= v4=auto v6=auto\n"},
		{"WEP", "[wifi_aabbccddeeff_686f6d65_managed_wep]\nFavorite=true\nPassphrase=canary\n", "refused \"home\" on= " + reasonWEP + "\n"},
		{"no key", "[wifi_aabbccddeeff_686f6d65_managed_psk]\nFavorite=true\n", "refused \"home\" on= has no key there\n"},
		{"by hand only", "[wifi_aabbccddeeff_686f6d65_managed_none]\nFavorite=true\nAutoConnect=false\n", "refused \"home\" on= is not joined by itself there (AutoConnect=false)\n"},
		{"Ethernet, DHCP", "[ethernet_aabbccddeeff_cable]\nAutoConnect=true\nIPv4.method=dhcp\n", "link [] mac=aa:bb:cc:dd:ee:ff ssid= v4=auto v6=auto\n"},
		{
			"Ethernet, static", "[ethernet_AABBCCDDEEFF_cable]\nIPv4.method=manual\nIPv4.local_address=10.0.0.2\nIPv4.netmask_prefixlen=24\nIPv4.gateway=10.0.0.1\nIPv6.method=manual\nIPv6.local_address=fd00::2\nIPv6.prefix_length=64\nIPv6.gateway=fd00::1\n",
			"link [] mac=aa:bb:cc:dd:ee:ff ssid= v4=manual,10.0.0.2/24>10.0.0.1 v6=auto,fd00::2/64>fd00::1\n",
		},
		{
			"provided", "[service_a]\nType=wifi\nName=a b\nPassphrase=canary-key\nHidden=true\nIPv4=off\n[service_b]\nType=ethernet\nMAC=52:54:00:00:00:01\nIPv4=10.0.0.2/255.255.0.0/10.0.0.1\nNameservers=1.1.1.1,9.9.9.9\nSearchDomains=x,y\n[service_c]\nType=cellular\n",
			"wifi \"a b\" wpa-psk key=canary-key hidden on= v4=disabled v6=auto\nlink [] mac=52:54:00:00:00:01 ssid= v4=manual,10.0.0.2/16>10.0.0.1?1.1.1.1?9.9.9.9 v6=auto search=x,y\nrefused \"\" on= is of a kind that can't be carried (Type=cellular)\n",
		},
		{
			"802.1X", "[service_a]\nType=wifi\nName=a\nEAP=peap\nIdentity=me\nPassphrase=canary-p\nPhase2=MSCHAPV2\nCACertFile=/c.pem\n[service_b]\nType=wifi\nName=b\nEAP=ttls\nIdentity=me\nPassphrase=canary-p\nPhase2=EAP-MSCHAPV2\n",
			"wifi \"a\" wpa-eap key= on= eap=peap; identity=me password=canary-p phase2-auth=mschapv2 ca-cert:/c.pem v4=auto v6=auto\nwifi \"b\" wpa-eap key= on= eap=ttls; identity=me password=canary-p phase2-autheap=mschapv2 v4=auto v6=auto\n",
		},
		{"bad address", "[service_a]\nType=ethernet\nIPv4=canary\n", "link [\"e*\"] mac= ssid= v4= v6= has an address that is not understood (IPv4)\n"},
	}, func(text string) harvest { return parseConnman([]byte(text), "f") })
}

func FuzzDhcpcd(f *testing.F) {
	f.Add([]byte("interface eth0\nstatic ip_address=192.168.0.10/24\nssid a\nfallback x\nprofile x\nstatic routers=1.1.1.1\n"))
	f.Fuzz(func(t *testing.T, data []byte) { wellFormed(t, parseDhcpcd(data, "f")) })
}

func FuzzIfupdown(f *testing.F) {
	f.Add([]byte("auto eth0 wlan0\niface eth0 inet static\naddress 1.2.3.4\nnetmask 255.255.0.0\niface wlan0 inet6 auto\nwpa-ssid \"x\"\nwpa-psk 12345678\nup route add -net 1.0.0.0/8 gw 1.1.1.1\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		wellFormed(t, parseIfupdown(data, "f", func(string, bool) map[string][]byte { return map[string][]byte{"x": data} }))
	})
}

func FuzzNetplan(f *testing.F) {
	f.Add([]byte("network:\n  wifis:\n    w: {access-points: {a: {auth: {method: peap, identity: i, password: p, key-management: eap}}}}\n  modems: {m: {apn: \"a\\nb\"}}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		wellFormed(t, parseNetplan(map[string][]byte{"a.yaml": data, "b.yaml": data}, "/d"))
	})
}

func FuzzNetworkd(f *testing.F) {
	f.Add([]byte("[Match]\nName=e*\n[Network]\nAddress=::1/64\nDNS=1.1.1.1#x\n[Route]\nGateway=::2\n[NetDev]\nKind=vlan\nName=e*\n[VLAN]\nId=5\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		wellFormed(t, parseNetworkd(map[string][]byte{"a.network": data, "b.netdev": data, "a.network.d/x.conf": data}, "/d"))
	})
}

func FuzzConnman(f *testing.F) {
	f.Add([]byte("[wifi_aabbccddeeff_686f6d65_managed_psk]\nFavorite=true\nPassphrase=12345678\n[service_x]\nType=wifi\nName=n\nEAP=tls\nIdentity=i\nPrivateKeyFile=k\n"))
	f.Fuzz(func(t *testing.T, data []byte) { wellFormed(t, parseConnman(data, "f")) })
}

func FuzzKernel(f *testing.F) {
	f.Add([]byte("eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"))
	f.Add([]byte("     |-- 10.0.2.15\n        /32 host LOCAL\n"))
	f.Add([]byte("fe800000000000000000000000000001 02 40 20 80 eth0\n"))
	f.Fuzz(func(_ *testing.T, data []byte) {
		table := parseRoutes(data)
		table.addresses(table.uses, parseTrie(data))
		parseInet6(data, "eth0")
		parseRoutes6(data)
		ntpServers(data)
	})
}
