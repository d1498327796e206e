package wifi

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// nmWired makes a connection of a file that is not for Wi-Fi, or says why it can't go along. One that does what balenaOS
// does on its own is neither.
func nmWired(k *keyfile, source string) (network, string) {
	n := network{source: source, iface: k.get("connection", "interface-name"), mac: nmMAC(k), ip: nmAddressing(k)}
	n.priority, _ = strconv.Atoi(k.get("connection", "autoconnect-priority"))
	switch kind := k.get("connection", "type"); kind {
	case "ethernet", "802-3-ethernet":
		n.kind = ethernetKind
		if k.has("802-1x") {
			n.security = dot1x
			if reason := nmEAP(k); reason != "" {
				return n, reason
			}
		}
		if nmPlain(k) && nmUsable(k) == "" {
			return n, ""
		}
	case "vlan":
		n.kind = vlanKind
		n.vlan.parent = k.get("vlan", "parent")
		n.vlan.id, _ = strconv.Atoi(k.get("vlan", "id"))
	case "gsm", "cdma":
		n.kind, n.iface = gsmKind, ""
		if reason := nmModem(k); reason != "" {
			return n, reason
		}
	case "", "loopback", "dummy":
		return n, ""
	case "vpn", "wireguard":
		return n, "is a VPN, which balenaOS has of its own (type=" + kind + ")"
	case "bridge", "bond", "team", "ovs-bridge":
		return n, "joins interfaces, whose names are other ones in the new system (type=" + kind + ")"
	default:
		return n, "is of a kind that can't be carried (type=" + kind + ")"
	}
	if reason := nmUsable(k); reason != "" {
		return n, reason
	}
	n.file = nmOwn(k)
	return n, ""
}

// nmModem looks for secrets that are not in the file.
func nmModem(k *keyfile) (reason string) {
	for _, key := range []string{"password", "pin"} {
		if flags := k.get("gsm", key+"-flags"); flags == "1" && k.get("gsm", key) == "" {
			return "has a secret in a user's keyring, not in the file (" + key + "-flags=1)"
		}
	}
	return ""
}

// nmMAC is the address a file picks its interface by.
func nmMAC(k *keyfile) string {
	return strings.ToLower(k.get("ethernet", "mac-address"))
}

// nmHarmless are the keys that may have any value in a connection that is no different from none.
var nmHarmless = []string{ //nolint:gochecknoglobals // a table
	"mac-address", "mac-address-blacklist", "addr-gen-mode", "may-fail", "auto-negotiate", "ip6-privacy",
}

// nmPlain says whether a file for Ethernet asks for nothing but DHCP and router advertisements.
func nmPlain(k *keyfile) bool {
	for _, l := range k.lines {
		if l.section == "connection" || l.key == "" || l.value == "" || slices.Contains(nmHarmless, l.key) {
			continue
		}
		if l.key != "method" || l.value != auto && (l.section != "ipv6" || l.value != "ignore" && l.value != disabled) {
			return false
		}
	}
	return true
}

// nmAddressing reads of a connection what tells whether it is the one in use: methods and addresses.
func nmAddressing(k *keyfile) *addressing {
	a := &addressing{}
	a.v4.method, a.v6.method = k.get("ipv4", "method"), k.get("ipv6", "method")
	for _, l := range k.lines {
		if l.section != "ipv4" && l.section != "ipv6" || !strings.HasPrefix(l.key, "address") {
			continue
		}
		text, _, _ := strings.Cut(strings.Trim(l.value, "; \t\r"), ",")
		if p, err := netip.ParsePrefix(text); err == nil {
			f := a.of(p.Addr())
			f.addresses = append(f.addresses, p)
		}
	}
	return a
}

// nmCertKeys are the properties of [802-1x] that hold a certificate or a key.
var nmCertKeys = []string{"ca-cert", "client-cert", "private-key", "phase2-ca-cert", "phase2-client-cert", "phase2-private-key"} //nolint:gochecknoglobals // a table

// nmEAP says what of 802.1X can't be carried.
func nmEAP(k *keyfile) (reason string) {
	const section = "802-1x"
	for _, key := range []string{"pac-file", "ca-path", "phase2-ca-path"} {
		if k.get(section, key) != "" {
			return "needs what can't be carried (" + key + ")"
		}
	}
	for _, key := range nmCertKeys {
		if strings.HasPrefix(k.get(section, key), "pkcs11:") {
			return "has a certificate that is no file (" + key + ")"
		}
	}
	for _, key := range []string{"password", "private-key-password"} {
		flags := k.get(section, key+"-flags")
		if flags != "" && flags != "0" && flags != "4" && k.get(section, key) == "" {
			return "has its password in a user's keyring, not in the file (" + key + "-flags=" + flags + ")"
		}
	}
	if k.get(section, "eap") == "" {
		return "does not say which EAP method it uses"
	}
	return ""
}

// nmCert is the path a property of [802-1x] names, "" when it holds the certificate itself.
func nmCert(k *keyfile, key string) string {
	value := strings.TrimSuffix(k.get("802-1x", key), "\x00")
	switch {
	case value == "" || strings.HasPrefix(value, "data:"):
		return ""
	case strings.HasPrefix(value, "file://"):
		return strings.TrimPrefix(value, "file://")
	case strings.Contains(value, ";"): // the bytes of it, as old versions wrote them
		return ""
	}
	return value
}
