package wifi

import (
	"encoding/hex"
	"strings"
)

// parseConnman reads the files of connman: /var/lib/connman/*.config, which operators provide (connman-service.config(5)),
// and /var/lib/connman/<service>/settings, which connman writes for the services it was connected to.
func parseConnman(data []byte, source string) harvest {
	var h harvest
	for _, s := range parseUnit(data) {
		switch {
		case strings.HasPrefix(s.name, "service_"):
			connmanProvided(s, source, &h)
		case strings.HasPrefix(s.name, "wifi_"):
			connmanWifi(s, source, &h)
		case strings.HasPrefix(s.name, "ethernet_"):
			connmanEthernet(s, source, &h)
		}
	}
	return h
}

// connmanService splits wifi_001122334455_686f6d65_managed_psk.
func connmanService(name string) (mac, ssid, security string) {
	parts := strings.Split(name, "_")
	const wifiParts = 5
	if len(parts) > 1 && len(parts[1]) == 12 {
		var b strings.Builder
		for i := 0; i < len(parts[1]); i += 2 {
			if i > 0 {
				b.WriteByte(':')
			}
			b.WriteString(parts[1][i : i+2])
		}
		mac = strings.ToLower(b.String())
	}
	if len(parts) >= wifiParts {
		if raw, err := hex.DecodeString(parts[2]); err == nil {
			ssid = string(raw)
		}
		security = parts[wifiParts-1]
	}
	return mac, ssid, security
}

// connmanWifi is a network that was joined once.
func connmanWifi(s unitSection, source string, h *harvest) {
	_, ssid, security := connmanService(s.name)
	if raw, err := hex.DecodeString(s.last("SSID")); err == nil && len(raw) > 0 {
		ssid = string(raw)
	}
	n := network{ssid: ssid, source: source, hidden: s.last("Hidden") == "true"}
	if s.last("Favorite") != "true" && s.last("Passphrase") == "" {
		return // only ever seen, or with a key that is not kept
	}
	reason := n.connmanSecurity(security, s.last("Passphrase"))
	n.ip = connmanSettings(s)
	switch {
	case ssid == "" || len(ssid) > maxSSID:
		h.refuse(source, "", "", "has no SSID of 1 to 32 bytes")
	case security == "ieee8021x":
		// The rest of it is in the .config file, which brings it itself.
	case s.last("AutoConnect") == "false":
		h.refused = append(h.refused, refusal{ssid: ssid, source: source, reason: "is not joined by itself there (AutoConnect=false)", off: true})
	case reason != "":
		h.refuse(source, "", ssid, reason)
	default:
		h.networks = append(h.networks, n)
	}
}

// connmanSecurity sets how a network is joined, from connman's word for it.
func (n *network) connmanSecurity(security, passphrase string) (reason string) {
	passphrase, ok := unescape(passphrase) // connman's files are GKeyFiles
	n.key = passphrase
	switch {
	case !ok:
		return "has a key that is no text (Passphrase)"
	case security == "none", security == "" && passphrase == "":
		n.security, n.key = open, ""
	case security == "wep":
		return reasonWEP
	case security == "psk", security == "":
		n.security = psk
	case security == "sae":
		n.security = sae
	default:
		return "uses " + security + ", which can't be carried"
	}
	if n.security != open && passphrase == "" {
		return reasonNo
	}
	if n.security == psk && !isPassphrase(n.key) && !isRawKey(n.key) {
		return "has a key that is neither 8 to 63 characters nor 64 hex digits (Passphrase)"
	}
	if !utf8Text(n.key) {
		return "has a key that is no text (Passphrase)"
	}
	return ""
}

// connmanSettings are the addresses of a service.
func connmanSettings(s unitSection) *addressing {
	a := &addressing{}
	if s.last("IPv4.method") == manual {
		a.addAddress(s.last("IPv4.local_address"), s.last("IPv4.netmask_prefixlen"))
		a.addGateway(s.last("IPv4.gateway"))
	}
	if s.last("IPv6.method") == manual {
		a.addAddress(s.last("IPv6.local_address"), s.last("IPv6.prefix_length"))
		a.addGateway(s.last("IPv6.gateway"))
	}
	for _, text := range strings.Split(s.last("Nameservers"), ";") {
		a.addDNS(text)
	}
	a.search = searchDomains(strings.Split(s.last("Domains"), ";"))
	a.finish(s.last("IPv4.method") != manual && s.last("IPv4.method") != "off", true)
	return a
}

func connmanEthernet(s unitSection, source string, h *harvest) {
	mac, _, _ := connmanService(s.name)
	if mac != "" && s.last("AutoConnect") != "false" {
		h.links = append(h.links, link{mac: mac, ip: *connmanSettings(s), source: source})
	}
}

// connmanProvided is a section of a .config file.
func connmanProvided(s unitSection, source string, h *harvest) {
	ip, reason := connmanAddresses(s)
	if s.last("Type") == ethernetKind {
		l := link{mac: strings.ToLower(s.last("MAC")), ip: *ip, source: source, reason: reason}
		if name := s.last("DeviceName"); name != "" {
			l.names = []string{name}
		} else if l.mac == "" {
			l.names = []string{"e*"}
		}
		h.links = append(h.links, l)
		return
	}
	if s.last("Type") != wifiKind {
		h.refuse(source, "", "", "is of a kind that can't be carried (Type="+s.last("Type")+")")
		return
	}
	n := network{ssid: s.last("Name"), source: source, hidden: s.last("Hidden") == "true", ip: ip}
	if raw, err := hex.DecodeString(s.last("SSID")); err == nil && len(raw) > 0 {
		n.ssid = string(raw)
	}
	security := strings.ToLower(s.last("Security"))
	switch {
	case n.ssid == "" || len(n.ssid) > maxSSID:
		h.refuse(source, "", "", "has no SSID of 1 to 32 bytes")
		return
	case reason != "":
	case s.last("EAP") != "" || security == "ieee8021x":
		n.security = wpaEAP
		n.eap, reason = connmanEAP(s)
	default:
		reason = n.connmanSecurity(security, s.last("Passphrase"))
	}
	if reason != "" {
		h.refuse(source, "", n.ssid, reason)
		return
	}
	h.networks = append(h.networks, n)
}

// connmanEAP is 802.1X as a .config file has it.
func connmanEAP(s unitSection) (*eap, string) {
	e := newEAP()
	if reason := e.methods(strings.Split(s.last("EAP"), ",")); reason != "" {
		return nil, reason
	}
	e.set("identity", s.last("Identity"))
	e.set("anonymous-identity", s.last("AnonymousIdentity"))
	e.set("password", s.last("Passphrase"))
	e.set("private-key-password", s.last("PrivateKeyPassphrase"))
	e.set("domain-suffix-match", s.last("DomainSuffixMatch"))
	e.set("domain-match", s.last("DomainMatch"))
	e.set("subject-match", s.last("SubjectMatch"))
	e.cert("ca-cert", s.last("CACertFile"))
	e.cert("client-cert", s.last("ClientCertFile"))
	e.cert("private-key", s.last("PrivateKeyFile"))
	if inner := s.last("Phase2"); inner != "" {
		name, isEAP := strings.CutPrefix(strings.ToUpper(inner), "EAP-")
		if isEAP {
			name = "autheap=" + name
		}
		if reason := e.phase2(name); reason != "" {
			return nil, reason
		}
	}
	return e, e.complete()
}

// connmanAddresses reads IPv4=address/mask/gateway and IPv6=address/length/gateway.
func connmanAddresses(s unitSection) (*addressing, string) {
	a := &addressing{}
	v4, v6 := s.last("IPv4"), s.last("IPv6")
	for key, text := range map[string]string{"IPv4": v4, "IPv6": v6} {
		switch text {
		case "", "dhcp", "off", auto:
			continue
		}
		parts := strings.Split(text, "/")
		if len(parts) < 2 || !a.addAddress(parts[0], parts[1]) {
			return a, "has an address that is not understood (" + key + ")"
		}
		if len(parts) > 2 {
			a.addGateway(parts[2])
		}
	}
	for _, text := range strings.Split(s.last("Nameservers"), ",") {
		a.addDNS(strings.TrimSpace(text))
	}
	a.search = searchDomains(strings.Split(strings.ReplaceAll(s.last("SearchDomains"), ",", " "), " "))
	a.finish(v4 == "" || v4 == "dhcp", true)
	return a, ""
}
