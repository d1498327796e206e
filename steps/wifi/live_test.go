package wifi

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps/host/hosttest"
)

// nic is an interface of a running machine: "ethernet", "wifi", "vlan", "bridge", "bond", "ppp", "wireguard" or "tun".
type nic struct {
	name, kind string
	addr       string // with prefix, IPv4 or IPv6
	random     bool   // its hardware address is made up
}

// running makes the machine one with these interfaces, in /sys and /proc as a kernel shows them. The default route is on
// the interface that uses names.
func running(h *hosttest.Host, uses string, nics ...nic) {
	route := "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
	trie := "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 127.0.0.1\n        /32 host LOCAL\n"
	inet6, route6 := "", "00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo\n"
	for i, n := range nics {
		index := i + 2
		n.sys(h, index)
		p, err := netip.ParsePrefix(n.addr)
		switch {
		case err != nil:
		case p.Addr().Is4():
			mask := ^uint32(0) << (32 - p.Bits())
			if uses == n.name {
				route += fmt.Sprintf("%s\t00000000\t010200C0\t0003\t0\t0\t%d\t00000000\t0\t0\t0\n", n.name, 100+i)
			}
			route += fmt.Sprintf("%s\t%s\t00000000\t0001\t0\t0\t%d\t%08X\t0\t0\t0\n", n.name, little(p.Masked().Addr()), 100+i, swap(mask))
			trie += fmt.Sprintf("     |-- %s\n        /32 host LOCAL\n", p.Addr())
		default:
			raw := p.Addr().As16()
			inet6 += fmt.Sprintf("%s %02x %02x 00 80 %8s\n", hex.EncodeToString(raw[:]), index, p.Bits(), n.name)
			if uses == n.name {
				route6 += fmt.Sprintf("%032d 00 %032d 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003 %8s\n", 0, 0, n.name)
			}
		}
	}
	h.Put("/proc/net/route", route)
	h.Put("/proc/net/fib_trie", trie)
	h.Put("/proc/net/if_inet6", inet6)
	h.Put("/proc/net/ipv6_route", route6)
}

func swap(v uint32) uint32 { return v<<24 | v>>24 | v<<8&0xff0000 | v>>8&0xff00 }

func little(a netip.Addr) string {
	b := a.As4()
	return fmt.Sprintf("%02X%02X%02X%02X", b[3], b[2], b[1], b[0])
}

func (n nic) sys(h *hosttest.Host, index int) {
	at := "/sys/devices/" + n.name
	h.Link("/sys/class/net/"+n.name, "../../devices/"+n.name)
	h.Put(at+"/ifindex", fmt.Sprintln(index))
	h.Put(at+"/address", fmt.Sprintf("52:54:00:12:34:%02x\n", index))
	assign, arp, device := "0\n", "1\n", ""
	if n.random {
		assign = "1\n"
	}
	switch n.kind {
	case "ethernet":
		h.Put(at+"/device/vendor", "0x1af4\n")
	case "wifi":
		h.Put(at+"/device/vendor", "0x1af4\n")
		h.Put(at+"/wireless/beacon", "")
		device = "DEVTYPE=wlan\n"
	case "vlan":
		assign, device = "1\n", "DEVTYPE=vlan\n"
	case "bridge":
		h.Put(at+"/bridge/bridge_id", "8000\n")
	case "bond":
		h.Put(at+"/bonding/mode", "active-backup 1\n")
	case "ppp":
		arp = "512\n"
	case "wireguard":
		arp, device = "65534\n", "DEVTYPE=wireguard\n"
	case "tun":
		arp = "65534\n"
		h.Put(at+"/tun_flags", "0x1001\n")
	}
	h.Put(at+"/addr_assign_type", assign)
	h.Put(at+"/type", arp)
	h.Put(at+"/uevent", device+"INTERFACE="+n.name+"\nIFINDEX="+fmt.Sprint(index)+"\n")
}

// nmActiveOn says that NetworkManager has a connection up on the n-th interface.
func nmActiveOn(h *hosttest.Host, index int, uuid string) {
	h.Put(fmt.Sprintf("/run/NetworkManager/devices/%d", index), "[device]\nmanaged=1\nconnection-uuid="+uuid+"\nnm-owned=0\n")
}

const (
	uuidA = "5f0ad3c2-6f8e-4f6b-9f0e-1ab0c0ffee0a"
	uuidB = "5f0ad3c2-6f8e-4f6b-9f0e-1ab0c0ffee0b"
)

func nmEthernet(id, uuid, more string) string {
	return "[connection]\nid=" + id + "\nuuid=" + uuid + "\ntype=ethernet\n" + more
}

const (
	static5  = "\n[ipv4]\nmethod=manual\naddress1=192.168.1.5/24,192.168.1.1\n"
	ifaces5  = "auto eth0\niface eth0 inet static\n\taddress 192.168.1.5/24\n\tgateway 192.168.1.1\n"
	lease    = "/var/lib/dhcp/dhclient.eth0.leases"
	wepBlock = "network={\nssid=\"old\"\nkey_mgmt=NONE\nwep_key0=\"canary-wep-12\"\n}\n"
)

// TestLinkInUse: the step converges when the link in use goes along or needs no file, and blocks otherwise (S21, S82, D8).
func TestLinkInUse(t *testing.T) {
	eth := nic{name: "eth0", kind: "ethernet", addr: "192.168.1.5/24"}
	other := nic{name: "eth0", kind: "ethernet", addr: "10.0.2.15/24"}
	wlan := nic{name: "wlan0", kind: "wifi", addr: "192.168.7.3/24"}
	tests := []struct {
		name    string
		files   map[string]string
		nics    []nic
		uses    string
		prepare func(*hosttest.Host)
		config  func(*schema.NetworkConfig)
		by      string // covered by
		blocked string // or this
		warned  []string
	}{
		{name: "Ethernet with a lease", files: map[string]string{lease: "lease {}\n"}, nics: []nic{eth}, uses: "eth0", by: byDefault},
		{name: "Ethernet, DHCP by interfaces", files: map[string]string{interfaces: "auto eth0\niface eth0 inet dhcp\n"}, nics: []nic{eth}, uses: "eth0", by: byDefault},
		{name: "Ethernet, DHCP by networkd", files: map[string]string{networkdDir + "/a.network": "[Match]\nName=e*\n[Network]\nDHCP=yes\n"}, nics: []nic{eth}, uses: "eth0", by: byDefault},
		{name: "Ethernet by NetworkManager's own connection", nics: []nic{eth}, uses: "eth0", prepare: func(h *hosttest.Host) { nmActiveOn(h, 2, uuidA) }, by: byDefault},
		{name: "Ethernet, nobody knows how", nics: []nic{eth}, uses: "eth0", blocked: "eth0 with the address 192.168.1.5, of which no known file"},
		{
			name: "Ethernet, nobody knows how, not required", nics: []nic{eth}, uses: "eth0", config: func(c *schema.NetworkConfig) { c.Require = false },
			warned: []string{"not sure that the new system can be reached"},
		},
		{name: "static address by interfaces", files: map[string]string{interfaces: ifaces5}, nics: []nic{eth}, uses: "eth0", by: "resin-ethernet-01"},
		{
			name: "static address that is not in use, with a lease", files: map[string]string{interfaces: ifaces5, lease: ""}, nics: []nic{other}, uses: "eth0", by: byDefault,
			warned: []string{"the address 192.168.1.5/24, which is not the one in use"},
		},
		{
			name: "static address that is not in use, nothing else", files: map[string]string{interfaces: ifaces5}, nics: []nic{other}, uses: "eth0",
			blocked: "10.0.2.15, of which no known file", warned: []string{"not the one in use"},
		},
		{
			name:  "dhcpcd fell back to its static profile",
			files: map[string]string{dhcpcdConf: "profile fb\nstatic ip_address=192.168.1.5/24\nstatic routers=192.168.1.1\ninterface eth0\nfallback fb\n"},
			nics:  []nic{eth}, uses: "eth0", by: byDefault, // DHCP is tried first there too
		},
		{
			name:  "two sources, the kernel decides",
			files: map[string]string{interfaces: ifaces5, networkdDir + "/a.network": "[Match]\nName=eth0\n[Network]\nAddress=10.0.2.15/24\nGateway=10.0.2.2\n"},
			nics:  []nic{other}, uses: "eth0", by: "resin-ethernet-01",
		},
		{
			name: "NetworkManager, static", files: map[string]string{nmDir + "/s": nmEthernet("s", uuidA, static5)}, nics: []nic{eth}, uses: "eth0",
			prepare: func(h *hosttest.Host) { nmActiveOn(h, 2, uuidA) }, by: "resin-ethernet-01",
		},
		{
			name: "NetworkManager, static, not the one in use", files: map[string]string{nmDir + "/s": nmEthernet("s", uuidA, static5)}, nics: []nic{other}, uses: "eth0",
			prepare: func(h *hosttest.Host) { nmActiveOn(h, 2, uuidB) }, by: byDefault, warned: []string{"in place of what is in use"},
		},
		{
			name:  "NetworkManager, part of a bond",
			files: map[string]string{nmDir + "/s": nmEthernet("s", uuidA, "controller=bond0\n")}, nics: []nic{eth}, uses: "eth0",
			prepare: func(h *hosttest.Host) { nmActiveOn(h, 2, uuidA) }, blocked: "part of another connection", warned: []string{"part of another"},
		},
		{name: "the caller's file", files: map[string]string{"/own": nmEthernet("o", uuidA, "")}, nics: []nic{eth}, uses: "eth0", config: func(c *schema.NetworkConfig) { c.Files = []string{"/own"} }, by: "resin-wifi-01"},
		{name: "IPv6 alone", nics: []nic{{name: "eth0", kind: "ethernet", addr: "2001:db8::5/64"}}, uses: "eth0", by: byDefault},
		{
			name: "VLAN", files: map[string]string{interfaces: "auto eth0.5\niface eth0.5 inet static\n\taddress 10.5.0.2/24\n\tgateway 10.5.0.1\n"},
			nics: []nic{{name: "eth0", kind: "ethernet"}, {name: "eth0.5", kind: "vlan", addr: "10.5.0.2/24"}}, uses: "eth0.5", by: "resin-vlan-01",
		},
		{name: "VLAN, nobody knows how", nics: []nic{{name: "eth0", kind: "ethernet"}, {name: "eth0.5", kind: "vlan", addr: "10.5.0.2/24"}}, uses: "eth0.5", blocked: "eth0.5, a link of the kind vlan"},
		{
			name: "bridge", files: map[string]string{interfaces: "auto br0\niface br0 inet dhcp\n\tbridge_ports eth0\n"},
			nics: []nic{{name: "eth0", kind: "ethernet"}, {name: "br0", kind: "bridge", addr: "10.0.0.2/24"}}, uses: "br0", blocked: "bridge_ports", warned: []string{"bridge_ports"},
		},
		{
			name: "bond", files: map[string]string{netplanDir + "/a.yaml": "network:\n  bonds:\n    bond0:\n      interfaces: [eth0]\n      dhcp4: true\n"},
			nics: []nic{{name: "eth0", kind: "ethernet"}, {name: "bond0", kind: "bond", addr: "10.0.0.2/24"}}, uses: "bond0", blocked: "bond0, a link of the kind bond: it joins interfaces", warned: []string{"joins"},
		},
		{name: "tunnel", nics: []nic{eth, {name: "wg0", kind: "wireguard", addr: "10.8.0.2/24"}}, uses: "wg0", blocked: "wg0, a tunnel"},
		{name: "another tunnel", nics: []nic{eth, {name: "tun0", kind: "tun", addr: "10.8.0.2/24"}}, uses: "tun0", blocked: "tun0, a tunnel"},
		{
			name: "modem", files: map[string]string{nmDir + "/m": "[connection]\nid=m\ntype=gsm\n[gsm]\napn=a\npassword=canary-gsm\n"},
			nics: []nic{{name: "ppp0", kind: "ppp", addr: "10.64.0.9/32"}}, uses: "ppp0", by: "resin-gsm-01",
		},
		{name: "modem by pppd", nics: []nic{{name: "ppp0", kind: "ppp", addr: "10.64.0.9/32"}}, uses: "ppp0", blocked: "kind gsm: no connection"},
		{name: "Wi-Fi", files: map[string]string{wpaConf: wpa("a", key("canary-a-key"))}, nics: []nic{wlan}, uses: "wlan0", by: "resin-wifi-01"},
		{name: "Wi-Fi, nothing goes along", nics: []nic{wlan}, uses: "wlan0", blocked: "Wi-Fi on wlan0, of which no network"},
		{
			name: "Wi-Fi, not asked for", files: map[string]string{wpaConf: wpa("a", key("canary-a-key"))}, nics: []nic{wlan}, uses: "wlan0",
			config: func(c *schema.NetworkConfig) { c.Wifi = none }, blocked: "of which no network",
		},
		{
			name: "Wi-Fi, one of two can't be carried", files: map[string]string{wpaConf: wpa("a", key("canary-a-key")) + wepBlock}, nics: []nic{wlan}, uses: "wlan0",
			blocked: `"old" (uses WEP`, warned: []string{"WEP"},
		},
		{
			name: "Wi-Fi, the other one is off", files: map[string]string{wpaConf: wpa("a", key("canary-a-key")) + strings.Replace(wepBlock, "}", "disabled=1\n}", 1)}, nics: []nic{wlan},
			uses: "wlan0", by: "resin-wifi-01", warned: []string{"disabled"},
		},
		{
			name: "Wi-Fi, one of two, dhcpcd's lease tells", files: map[string]string{wpaConf: wpa("a", key("canary-a-key")) + wepBlock, "/var/lib/dhcpcd/wlan0-a.lease": ""},
			nics: []nic{wlan}, uses: "wlan0", by: "resin-wifi-01", warned: []string{"WEP"},
		},
		{
			name: "Wi-Fi, the lease is of the other one", files: map[string]string{wpaConf: wpa("a", key("canary-a-key")) + wepBlock, "/var/lib/dhcpcd5/dhcpcd-wlan0-old.lease": ""},
			nics: []nic{wlan}, uses: "wlan0", blocked: `"old" on wlan0, which uses WEP`, warned: []string{"WEP"},
		},
		{
			name: "Wi-Fi, NetworkManager tells", files: map[string]string{nmDir + "/a": strings.Replace(nm("a", "canary-a-key"), "1-2-3", uuidA, 1), wpaConf: wepBlock},
			nics: []nic{wlan}, uses: "wlan0", prepare: func(h *hosttest.Host) { nmActiveOn(h, 2, uuidA) }, by: "resin-wifi-01", warned: []string{"WEP"},
		},
		{
			name:  "Wi-Fi, its key is with an agent",
			files: map[string]string{nmDir + "/a": strings.NewReplacer("1-2-3", uuidA, "psk=", "psk-flags=1").Replace(nm("a", "")), nmDir + "/b": nm("b", "canary-b-key")},
			nics:  []nic{wlan}, uses: "wlan0", prepare: func(h *hosttest.Host) { nmActiveOn(h, 2, uuidA) }, blocked: `"a" on wlan0, which has its key in a user's keyring`, warned: []string{"keyring"},
		},
		{
			name: "Wi-Fi, a list leaves some out", files: map[string]string{wpaConf: wpa("a", key("canary-a-key")) + wpa("b", key("canary-b-key"))}, nics: []nic{wlan}, uses: "wlan0",
			config: func(c *schema.NetworkConfig) { c.Wifi, c.SSIDs = listed, []string{"a"} }, warned: []string{`"b" (not asked for)`},
		},
		{
			name: "Wi-Fi, the list leaves out the one in use", files: map[string]string{wpaConf: wpa("a", key("canary-a-key")) + wpa("b", key("canary-b-key")), "/var/lib/dhcpcd/wlan0-b.lease": ""},
			nics: []nic{wlan}, uses: "wlan0", config: func(c *schema.NetworkConfig) { c.Wifi, c.SSIDs = listed, []string{"a"} }, blocked: "not among those that are asked for",
		},
		{
			name: "no default route", files: map[string]string{wpaConf: wpa("a", key("canary-a-key"))}, nics: []nic{eth}, warned: []string{"no default route"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := hosttest.New(t, tt.files)
			running(h, tt.uses, tt.nics...)
			if tt.prepare != nil {
				tt.prepare(h)
			}
			res := converge(t, h, document(func(c *schema.Config) {
				if tt.config != nil {
					tt.config(&c.Network)
				}
			}))
			expectWarned(t, res, tt.warned...)
			if tt.blocked != "" {
				expectBlocked(t, res, "network.require", tt.blocked)
				return
			}
			if res.Facts.Network == nil {
				t.Fatalf("blocked: %+v", res.Blocked)
			}
			covers := slices.ContainsFunc(res.Facts.Network.Connections, func(c schema.Connection) bool { return c.Covers && c.File == tt.by })
			link := res.Facts.Network.Link
			switch {
			case tt.uses == "":
				if link != nil {
					t.Errorf("link %+v without a default route", link)
				}
			case link == nil || link.Interface != tt.uses || link.CoveredBy != tt.by || covers != strings.HasPrefix(tt.by, "resin-"):
				t.Errorf("link %+v, want %s covered by %q; connections %+v", link, tt.uses, tt.by, res.Facts.Network.Connections)
			}
		})
	}
}

// TestNewestLease: of several leases the newest tells.
func TestNewestLease(t *testing.T) {
	h := hosttest.New(t, map[string]string{"/var/lib/dhcpcd/wlan0-a.lease": "", "/var/lib/dhcpcd/wlan0-b.lease": "", "/var/lib/dhcpcd/wlan0-c.lease": ""})
	for i, name := range []string{"b", "a", "c"} {
		at := time.Unix(1700000000+int64(i), 0)
		if err := os.Chtimes(filepath.Join(h.Root(), "/var/lib/dhcpcd/wlan0-"+name+".lease"), at, at); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := newestLease(h, "wlan0", map[string]bool{"a": true, "b": true}); got != "a" || err != nil {
		t.Errorf("got %q (%v), want a", got, err)
	}
}

// TestPickedByAddress: with several Ethernet interfaces a connection finds its own by the permanent hardware address, by
// name only where there is none, and a VLAN finds its parent.
func TestPickedByAddress(t *testing.T) {
	h := hosttest.New(t, map[string]string{
		interfaces:   "auto eth0 eth1 eth1.9\n" + strings.TrimPrefix(ifaces5, "auto eth0\n") + "iface eth1 inet static\n\taddress 10.1.0.2/24\niface eth1.9 inet dhcp\n",
		nmDir + "/v": "[connection]\nid=v\ntype=vlan\ninterface-name=tele\n[vlan]\nid=8\nparent=" + uuidB + "\n[ipv4]\nmethod=auto\n",
		nmDir + "/p": nmEthernet("p", uuidB, "interface-name=eth2\n\n[ipv4]\nmethod=auto\ndns=9.9.9.9;\n"),
	})
	running(h, "eth0", nic{name: "eth0", kind: "ethernet", addr: "192.168.1.5/24"}, nic{name: "eth1", kind: "ethernet", addr: "10.1.0.2/24", random: true},
		nic{name: "eth2", kind: "ethernet"}, nic{name: "eth1.9", kind: "vlan"})
	res := converge(t, h, document(nil))
	files := map[string]string{}
	for _, c := range res.Facts.Network.Connections {
		data, _ := h.ReadFile(outDir + "/" + c.File)
		files[c.Interface] = string(data)
	}
	for name, want := range map[string][]string{
		"eth0":   {"\n[ethernet]\nmac-address=52:54:00:12:34:02\n"},
		"eth1":   {"\ninterface-name=eth1\n\n[ethernet]\n"},
		"eth1.9": {"\ninterface-name=eth1.9\n", "\n[vlan]\nid=9\nparent=eth1\n"},
		"tele":   {"\ninterface-name=tele\n", "\n[ethernet]\nmac-address=52:54:00:12:34:04\n", "[vlan]\nid=8\n[ipv4]"},
		"eth2":   {"\n[ethernet]\nmac-address=52:54:00:12:34:04\n", "dns=9.9.9.9;"},
	} {
		for _, text := range want {
			if !strings.Contains(files[name], text) {
				t.Errorf("%s: %q is not in\n%s", name, text, files[name])
			}
		}
	}
	if strings.Contains(files["eth0"]+files["eth2"], "interface-name") || strings.Contains(files["tele"], "parent=") {
		t.Errorf("bound by name:\n%s\n%s\n%s", files["eth0"], files["eth2"], files["tele"])
	}
	expectWarned(t, res, "interface eth1 by name", "interface eth1 by name")
}
