package nm

import "strings"

// device is an old system: its files, what the operator brings, and what NetworkManager must read in each file that goes
// along.
type device struct {
	name       string
	files      map[string]string
	configJSON string
	own        []string
	want       map[string]map[string]string
}

const (
	ssid   = "802-11-wireless.ssid"
	psk    = "802-11-wireless-security.psk"
	access = "802-11-wireless-security.key-mgmt"
	hidden = "802-11-wireless.hidden"
	kind   = "connection.type"
	wlan   = "802-11-wireless"
	ether  = "802-3-ethernet"
	hex64  = "ca4a12ca4a12ca4a12ca4a12ca4a12ca4a12ca4a12ca4a12ca4a12ca4a12ca4a"
)

func devices() []device {
	return []device{wpaSupplicant(), networkManager(), netplan(), ifupdown(), connman(), networkd(), raspberryPi(), given()}
}

// wpaSupplicant is Raspberry Pi OS up to version 11, with all that wpa_supplicant.conf can hold.
func wpaSupplicant() device {
	pem, key := certificate()
	return device{
		name: "wpa_supplicant",
		files: map[string]string{
			"/etc/ssl/radius-ca.pem": pem, "/etc/ssl/device.pem": pem, "/etc/ssl/device.key": key,
			"/etc/wpa_supplicant/wpa_supplicant.conf": `ctrl_interface=DIR=/var/run/wpa_supplicant GROUP=netdev
update_config=1
country=GB

network={
	ssid="Home sweet home"
	psk="canary pass phrase; #1"
	key_mgmt=WPA-PSK
	priority=10
}
network={
	ssid=4c6162206f6666696365
	psk=` + hex64 + `
	priority=9
}
network={
	ssid=P"caf\xc3\xa9 \"b\""
	scan_ssid=1
	psk="canary-escaped\x"
	priority=8
}
network={
	ssid="wpa3"
	key_mgmt=SAE
	sae_password="canary-sae"
	ieee80211w=2
	priority=7
}
network={
	ssid="mixed"
	key_mgmt=WPA-PSK SAE
	psk="canary-mixed"
	ieee80211w=1
	priority=6
}
network={
	ssid="enhanced open"
	key_mgmt=OWE
	priority=5
}
network={
	ssid="guests;1;2;"
	key_mgmt=NONE
	priority=4
}
network={
	ssid="eduroam"
	key_mgmt=WPA-EAP
	eap=PEAP
	identity="device@example.org"
	anonymous_identity="anonymous@example.org"
	password="canary-eap"
	ca_cert="/etc/ssl/radius-ca.pem"
	domain_suffix_match="radius.example.org"
	phase1="peaplabel=0"
	phase2="auth=MSCHAPV2"
	priority=3
}
network={
	ssid="plant"
	key_mgmt=WPA-EAP
	eap=TLS
	identity="host/device-17"
	ca_cert="/etc/ssl/radius-ca.pem"
	client_cert="/etc/ssl/device.pem"
	private_key="/etc/ssl/device.key"
	priority=2
}
network={
	ssid="blob"
	key_mgmt=WPA-EAP
	eap=TTLS
	identity="u"
	password="canary-blob"
	ca_cert="blob://ca"
	phase2="autheap=MSCHAPV2"
	priority=1
}
network={
	ssid="old"
	key_mgmt=NONE
	wep_key0="canary-wep-1"
}
network={
	ssid="off"
	psk="canary-off-1"
	disabled=1
}
blob-base64-ca={
` + base64PEM(pem) + `}
`,
		},
		want: map[string]map[string]string{
			"resin-wifi-01": {kind: wlan, ssid: "Home sweet home", psk: "canary pass phrase; #1", access: "wpa-psk", "connection.autoconnect-priority": "10", hidden: "no"},
			"resin-wifi-02": {ssid: "Lab office", psk: hex64, access: "wpa-psk"},
			"resin-wifi-03": {ssid: `café "b"`, psk: `canary-escaped\x`, hidden: "yes"},
			"resin-wifi-04": {ssid: "wpa3", psk: "canary-sae", access: "sae"},
			"resin-wifi-05": {ssid: "mixed", psk: "canary-mixed", access: "wpa-psk"},
			"resin-wifi-06": {ssid: "enhanced open", access: "owe"},
			"resin-wifi-07": {ssid: "guests;1;2;", access: ""},
			"resin-wifi-08": {
				ssid: "eduroam", access: "wpa-eap", "802-1x.eap": "peap", "802-1x.identity": "device@example.org", "802-1x.password": "canary-eap",
				"802-1x.anonymous-identity": "anonymous@example.org", "802-1x.phase2-auth": "mschapv2", "802-1x.phase1-peaplabel": "0",
				"802-1x.domain-suffix-match": "radius.example.org", "802-1x.ca-cert": hexOf(pem),
			},
			"resin-wifi-09": {ssid: "plant", "802-1x.eap": "tls", "802-1x.client-cert": hexOf(pem), "802-1x.private-key": hexOf(key), "802-1x.private-key-password-flags": "4"},
			"resin-wifi-10": {ssid: "blob", "802-1x.eap": "ttls", "802-1x.ca-cert": hexOf(pem), "802-1x.phase2-autheap": "mschapv2", "802-1x.phase2-auth": ""},
		},
	}
}

// networkManager is a Debian desktop, or Raspberry Pi OS from version 12.
func networkManager() device {
	pem, _ := certificate()
	const dir = "/etc/NetworkManager/system-connections/"
	return device{
		name: "NetworkManager",
		files: map[string]string{
			dir + "certs/ca.pem": pem,
			dir + "preconfigured.nmconnection": "[connection]\nid=preconfigured\nuuid=5f0ad3c2-6f8e-4f6b-9f0e-1ab0c0ffee01\ntype=wifi\ninterface-name=wlan0\n\n" +
				"[wifi]\nmode=infrastructure\nssid=Home\n\n[wifi-security]\nkey-mgmt=wpa-psk\npsk=" + hex64 + "\n\n[ipv4]\naddress1=192.168.7.5/24,192.168.7.1\ndns=9.9.9.9;\nmethod=manual\n\n[ipv6]\nmethod=auto\n",
			dir + "Office": "[connection]\nid=Office\nuuid=5f0ad3c2-6f8e-4f6b-9f0e-1ab0c0ffee02\ntype=802-11-wireless\npermissions=user:pi:;\n\n" +
				"[802-11-wireless]\nssid=79;102;102;105;99;101;\nhidden=true\n\n[802-11-wireless-security]\nkey-mgmt=wpa-eap\n\n" +
				"[802-1x]\neap=ttls;\nidentity=u\npassword=canary-ttls\nphase2-auth=pap\nca-cert=certs/ca.pem\n",
			dir + "Wired connection 1.nmconnection": "[connection]\nid=Wired connection 1\ntype=ethernet\n\n[ipv4]\nmethod=auto\n\n[ipv6]\nmethod=auto\n",
			dir + "static": "[connection]\nid=static\nuuid=5f0ad3c2-6f8e-4f6b-9f0e-1ab0c0ffee03\ntype=ethernet\ninterface-name=enp3s0\n\n" +
				"[ethernet]\n\n[ipv4]\naddress1=10.0.0.5/24,10.0.0.1\ndns=10.0.0.1;10.0.0.2;\ndns-search=plant.example;\nmethod=manual\nroute1=10.9.0.0/16,10.0.0.254,50\n",
			dir + "vlan":  "[connection]\nid=vlan\ntype=vlan\ninterface-name=enp3s0.30\n\n[vlan]\nid=30\nparent=5f0ad3c2-6f8e-4f6b-9f0e-1ab0c0ffee03\n\n[ipv4]\nmethod=auto\n",
			dir + "modem": "[connection]\nid=modem\nuuid=5f0ad3c2-6f8e-4f6b-9f0e-1ab0c0ffee05\ntype=gsm\n\n[gsm]\napn=internet\nusername=u\npassword=canary-gsm\n",
			dir + "vpn":   "[connection]\nid=vpn\ntype=wireguard\ninterface-name=wg0\n\n[wireguard]\nprivate-key=canary-wg\n",
		},
		want: map[string]map[string]string{
			"resin-wifi-01": {ssid: "Home", psk: hex64, "ipv4.method": "manual", "ipv4.addresses": "192.168.7.5/24", "ipv4.gateway": "192.168.7.1", "ipv4.dns": "9.9.9.9", "connection.interface-name": ""},
			"resin-wifi-02": {ssid: "Office", hidden: "yes", "802-1x.password": "canary-ttls", "802-1x.ca-cert": hexOf(pem), "connection.permissions": ""},
			"resin-ethernet-01": {
				kind: ether, "ipv4.method": "manual", "ipv4.addresses": "10.0.0.5/24", "ipv4.gateway": "10.0.0.1", "ipv4.dns": "10.0.0.1,10.0.0.2",
				"ipv4.dns-search": "plant.example", "ipv4.routes": "10.9.0.0/16 10.0.0.254 50", "connection.interface-name": "",
			},
			"resin-vlan-01": {kind: "vlan", "vlan.id": "30", "vlan.parent": "enp3s0", "connection.interface-name": "enp3s0.30"},
			"resin-gsm-01":  {kind: "gsm", "gsm.apn": "internet", "gsm.password": "canary-gsm"},
		},
	}
}

// netplan is Ubuntu Server.
func netplan() device {
	pem, key := certificate()
	return device{
		name: "netplan",
		files: map[string]string{
			"/etc/ssl/ca.pem": pem, "/etc/ssl/c.pem": pem, "/etc/ssl/k.pem": key,
			"/etc/netplan/50-cloud-init.yaml": `# written by cloud-init
network:
  version: 2
  renderer: networkd
  ethernets:
    eth0:
      dhcp4: false
      addresses: [192.168.1.20/24, "2001:db8::20/64"]
      gateway4: 192.168.1.1
      nameservers:
        addresses: [192.168.1.1]
        search: [lan, example.org]
      routes:
        - to: 10.0.0.0/8
          via: 192.168.1.254
          metric: 100
        - to: default
          via: "2001:db8::1"
  vlans:
    mgmt:
      id: 40
      link: eth0
      dhcp4: true
  modems:
    cdc-wdm0:
      apn: iot.example
      username: u
      password: canary-apn
`,
			"/etc/netplan/60-wifi.yaml": `network:
  ethernets:
    eth0:
      nameservers:
        addresses: [1.1.1.1]
      auth:
        key-management: 802.1x
        method: tls
        identity: host17
        ca-certificate: /etc/ssl/ca.pem
        client-certificate: /etc/ssl/c.pem
        client-key: /etc/ssl/k.pem
  wifis:
    wlan0:
      optional: true
      dhcp4: true
      access-points:
        "Cabin in the woods":
          password: "canary-cabin"
          hidden: true
        open space: {}
        staff:
          auth:
            key-management: eap
            method: peap
            identity: u@example.org
            password: canary-peap
            phase2-auth: MSCHAPV2
            ca-certificate: /etc/ssl/ca.pem
        three:
          auth:
            key-management: sae
            password: canary-three
`,
		},
		want: map[string]map[string]string{
			"resin-wifi-01": {ssid: "Cabin in the woods", psk: "canary-cabin", hidden: "yes", "ipv4.method": "auto"},
			"resin-wifi-02": {ssid: "open space", access: ""},
			"resin-wifi-03": {ssid: "staff", access: "wpa-eap", "802-1x.eap": "peap", "802-1x.password": "canary-peap", "802-1x.phase2-auth": "mschapv2", "802-1x.ca-cert": hexOf(pem)},
			"resin-wifi-04": {ssid: "three", access: "sae", psk: "canary-three"},
			"resin-ethernet-01": {
				kind: ether, "ipv4.addresses": "192.168.1.20/24", "ipv4.gateway": "192.168.1.1", "ipv4.dns": "192.168.1.1,1.1.1.1", "ipv4.dns-search": "lan,example.org",
				"ipv4.routes": "10.0.0.0/8 192.168.1.254 100", "ipv6.addresses": "2001:db8::20/64", "ipv6.gateway": "2001:db8::1", "ipv6.method": "manual",
				"802-1x.eap": "tls", "802-1x.identity": "host17", "802-1x.private-key": hexOf(key), "connection.interface-name": "",
			},
			"resin-vlan-01": {kind: "vlan", "vlan.id": "40", "vlan.parent": "eth0", "connection.interface-name": "mgmt", "ipv4.method": "auto"},
			"resin-gsm-01":  {kind: "gsm", "gsm.apn": "iot.example", "gsm.username": "u", "gsm.password": "canary-apn"},
		},
	}
}

// ifupdown is Debian without anything else.
func ifupdown() device {
	return device{
		name: "ifupdown",
		files: map[string]string{
			"/etc/network/interfaces": `# interfaces(5)
source /etc/network/interfaces.d/*

auto lo
iface lo inet loopback

allow-hotplug eth0
iface eth0 inet static
	address 192.168.0.10
	netmask 255.255.255.0
	gateway 192.168.0.1
	dns-nameservers 192.168.0.1 8.8.8.8
	dns-search lan
	up ip route add 10.8.0.0/16 via 192.168.0.2 || true

iface eth0 inet6 static
	address 2001:db8:1::10/64
	gateway 2001:db8:1::1
`,
			"/etc/network/interfaces.d/wlan0": "allow-hotplug wlan0\niface wlan0 inet dhcp\n\twpa-ssid Barn door\n\twpa-psk canary-barn\n",
			"/etc/network/interfaces.d/vlan":  "auto eth0.7\niface eth0.7 inet static\n\taddress 10.7.0.2/24\n",
			"/etc/network/interfaces.d/wlan1": "auto wlan1\niface wlan1 inet static\n\taddress 172.16.0.9/24\n\tgateway 172.16.0.1\n\twpa-conf /etc/wlan1.conf\n",
			"/etc/wlan1.conf":                 "network={\n\tssid=\"depot\"\n\tpsk=\"canary-depot\"\n}\n",
		},
		want: map[string]map[string]string{
			"resin-wifi-01": {ssid: "Barn door", psk: "canary-barn", "ipv4.method": "auto"},
			"resin-wifi-02": {ssid: "depot", psk: "canary-depot", "ipv4.method": "manual", "ipv4.addresses": "172.16.0.9/24", "ipv4.gateway": "172.16.0.1"},
			"resin-ethernet-01": {
				"ipv4.addresses": "192.168.0.10/24", "ipv4.gateway": "192.168.0.1", "ipv4.dns": "192.168.0.1,8.8.8.8", "ipv4.dns-search": "lan",
				"ipv4.routes": "10.8.0.0/16 192.168.0.2", "ipv6.addresses": "2001:db8:1::10/64", "ipv6.gateway": "2001:db8:1::1",
			},
			"resin-vlan-01": {"vlan.id": "7", "vlan.parent": "eth0", "connection.interface-name": "eth0.7", "ipv4.addresses": "10.7.0.2/24"},
		},
	}
}

// connman is an industrial gateway.
func connman() device {
	pem, key := certificate()
	return device{
		name: "connman",
		files: map[string]string{
			"/var/lib/connman/settings": "[global]\nOfflineMode=false\n\n[WiFi]\nEnable=true\n",
			"/var/lib/connman/wifi_001122334455_686f6d65_managed_psk/settings": "[wifi_001122334455_686f6d65_managed_psk]\nName=home\nSSID=686f6d65\nFavorite=true\nAutoConnect=true\n" +
				"Modified=2024-05-01T10:00:00Z\nPassphrase=canary-home\nIPv4.method=manual\nIPv4.netmask_prefixlen=24\nIPv4.local_address=192.168.3.4\nIPv4.gateway=192.168.3.1\nIPv6.method=auto\nNameservers=192.168.3.1;9.9.9.9;\nDomains=lan;\n",
			"/var/lib/connman/wifi_001122334455_63616665_managed_none/settings": "[wifi_001122334455_63616665_managed_none]\nName=cafe\nSSID=63616665\nFavorite=true\nAutoConnect=true\nIPv4.method=dhcp\n",
			"/var/lib/connman/ethernet_66778899aabb_cable/settings": "[ethernet_66778899aabb_cable]\nName=Wired\nAutoConnect=true\nIPv4.method=manual\nIPv4.netmask_prefixlen=16\n" +
				"IPv4.local_address=10.1.2.3\nIPv4.gateway=10.1.0.1\nIPv6.method=off\n",
			"/etc/c.pem": pem, "/etc/k.pem": key,
			"/var/lib/connman/corp.config": "[global]\nName=Corp\n\n[service_corp]\nType=wifi\nName=corp\nEAP=tls\nCACertFile=/etc/c.pem\nClientCertFile=/etc/c.pem\nPrivateKeyFile=/etc/k.pem\nIdentity=host\n\n" +
				"[service_van]\nType = wifi\nSSID = 76616e\nPassphrase = canary-van\nHidden = true\nIPv4 = 172.20.0.2/255.255.255.0/172.20.0.1\nNameservers = 172.20.0.1\nSearchDomains = van\n",
		},
		want: map[string]map[string]string{
			"resin-wifi-01": {ssid: "cafe", access: ""},
			"resin-wifi-02": {ssid: "corp", "802-1x.eap": "tls", "802-1x.private-key": hexOf(key)},
			"resin-wifi-03": {ssid: "home", psk: "canary-home", "ipv4.addresses": "192.168.3.4/24", "ipv4.gateway": "192.168.3.1", "ipv4.dns": "192.168.3.1,9.9.9.9", "ipv4.dns-search": "lan"},
			"resin-wifi-04": {ssid: "van", psk: "canary-van", hidden: "yes", "ipv4.addresses": "172.20.0.2/24", "ipv4.gateway": "172.20.0.1"},
			"resin-ethernet-01": {
				"802-3-ethernet.mac-address": "66:77:88:99:AA:BB", "ipv4.addresses": "10.1.2.3/16", "ipv4.gateway": "10.1.0.1", "ipv4.method": "manual",
			},
		},
	}
}

// networkd is a small Debian or a BeagleBone.
func networkd() device {
	return device{
		name: "systemd-networkd",
		files: map[string]string{
			"/etc/systemd/network/10-eth0.network": "[Match]\nName=eth0\n\n[Network]\nAddress=192.168.5.2/24\nGateway=192.168.5.1\nDNS=192.168.5.1 1.1.1.1\nDomains=field.example\nVLAN=tele\n\n" +
				"[Route]\nDestination=10.5.0.0/16\nGateway=192.168.5.9\nMetric=5\n",
			"/etc/systemd/network/10-eth0.network.d/ipv6.conf": "[Network]\nAddress=2001:db8:5::2/64\n",
			"/etc/systemd/network/20-tele.netdev":              "[NetDev]\nName=tele\nKind=vlan\n\n[VLAN]\nId=55\n",
			"/etc/systemd/network/20-tele.network":             "[Match]\nName=tele\n\n[Network]\nDHCP=ipv4\n",
			"/etc/systemd/network/30-wlan.network":             "[Match]\nName=wl*\n\n[Network]\nDHCP=yes\n",
			"/etc/wpa_supplicant/wpa_supplicant-wlan0.conf":    "network={\n\tssid=\"field\"\n\tpsk=\"canary-field\"\n}\n",
		},
		want: map[string]map[string]string{
			"resin-wifi-01": {ssid: "field", psk: "canary-field", "ipv4.method": "auto"},
			"resin-ethernet-01": {
				"ipv4.addresses": "192.168.5.2/24", "ipv4.gateway": "192.168.5.1", "ipv4.dns": "192.168.5.1,1.1.1.1", "ipv4.dns-search": "field.example",
				"ipv4.routes": "10.5.0.0/16 192.168.5.9 5", "ipv6.addresses": "2001:db8:5::2/64", "ipv6.method": "auto",
			},
			"resin-vlan-01": {"vlan.id": "55", "vlan.parent": "eth0", "connection.interface-name": "tele", "ipv4.method": "auto"},
		},
	}
}

// raspberryPi is Raspberry Pi OS 11 with addresses set as its documentation says, and Ethernet with 802.1X.
func raspberryPi() device {
	return device{
		name: "dhcpcd",
		files: map[string]string{
			"/etc/dhcpcd.conf": "hostname\nclientid\npersistent\noption rapid_commit\nslaac private\n\ninterface eth0\nstatic ip_address=192.168.0.4/24\nstatic ip6_address=fd51:42f8:caae:d92e::ff/64\n" +
				"static routers=192.168.0.1\nstatic domain_name_servers=192.168.0.1 8.8.8.8 fd51:42f8:caae:d92e::1\n\ninterface wlan0\nstatic ip_address=192.168.0.5\nstatic routers=192.168.0.1\n\n" +
				"ssid cabin\nstatic ip_address=10.0.9.5/16\nstatic routers=10.0.0.1\nstatic domain_search=cabin.example\n",
			"/etc/wpa_supplicant/wpa_supplicant.conf":            "country=DE\nnetwork={\n\tssid=\"pi\"\n\tpsk=\"canary-raspberry\"\n}\nnetwork={\n\tssid=\"cabin\"\n\tpsk=\"canary-cabin\"\n}\n",
			"/etc/wpa_supplicant/wpa_supplicant-wired-eth0.conf": "ap_scan=0\nnetwork={\n\tkey_mgmt=IEEE8021X\n\teap=PEAP\n\tidentity=\"pi\"\n\tpassword=\"canary-dot1x\"\n\tphase2=\"auth=MSCHAPV2\"\n\teapol_flags=0\n}\n",
		},
		want: map[string]map[string]string{
			"resin-wifi-01": {ssid: "cabin", "ipv4.addresses": "10.0.9.5/16", "ipv4.gateway": "10.0.0.1", "ipv4.dns-search": "cabin.example"},
			"resin-wifi-02": {ssid: "pi", "ipv4.addresses": "192.168.0.5/24", "ipv4.gateway": "192.168.0.1"},
			"resin-ethernet-01": {
				"ipv4.addresses": "192.168.0.4/24", "ipv4.gateway": "192.168.0.1", "ipv4.dns": "192.168.0.1,8.8.8.8", "ipv6.dns": "fd51:42f8:caae:d92e::1",
				"ipv6.addresses": "fd51:42f8:caae:d92e::ff/64", "802-1x.eap": "peap", "802-1x.password": "canary-dot1x",
			},
		},
	}
}

// given is what the operator brings: config.json's network and files of NetworkManager.
func given() device {
	return device{
		name: "given",
		files: map[string]string{
			"/in/config.json": `{"wifiSsid":"json \"net\"","wifiKey":"canary-json"}`,
			"/in/van":         "[connection]\nid=van\nuuid=5f0ad3c2-6f8e-4f6b-9f0e-1ab0c0ffee09\ntype=wifi\n\n[wifi]\nssid=van\n\n[wifi-security]\nkey-mgmt=wpa-psk\npsk=canary-van\n",
			"/in/van2":        "[connection]\nid=van\nuuid=5f0ad3c2-6f8e-4f6b-9f0e-1ab0c0ffee09\ntype=wifi\n\n[wifi]\nssid=van2\n\n[wifi-security]\nkey-mgmt=wpa-psk\npsk=canary-van2\n",
		},
		configJSON: "/in/config.json", own: []string{"/in/van", "/in/van2"},
		want: map[string]map[string]string{
			"resin-wifi-01": {ssid: "van", psk: "canary-van", "connection.id": "van", "connection.uuid": "5f0ad3c2-6f8e-4f6b-9f0e-1ab0c0ffee09"},
			"resin-wifi-02": {ssid: "van2", psk: "canary-van2", "connection.id": "resin-wifi-02"},
			"resin-wifi-03": {ssid: `json "net"`, psk: "canary-json", hidden: "yes"},
		},
	}
}

func base64PEM(pem string) string {
	var b strings.Builder
	for line := range strings.Lines(encode64(pem)) {
		b.WriteString("\t" + strings.TrimSpace(line) + "\n")
	}
	return b.String()
}
