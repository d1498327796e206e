package wifi

import (
	"strconv"
	"strings"
)

// isWifi says whether a connection is for Wi-Fi, under either of its names.
func isWifi(k *keyfile) bool {
	t := k.get("connection", "type")
	return t == "wifi" || t == "802-11-wireless"
}

// nmNetwork makes a network of a Wi-Fi connection of NetworkManager, or says why it can't go along. The file is kept
// whole but for what belongs to the old system (P32, P33).
func nmNetwork(k *keyfile, source string) (network, string) {
	n, reason := nmAccess(k, source)
	if reason != "" {
		return n, reason
	}
	// A line that can't be read as a number is 0 to NetworkManager too.
	n.priority, _ = strconv.Atoi(k.get("connection", "autoconnect-priority"))
	n.hidden = isTrue(k.get("wifi", "hidden"))
	mode := k.get("wifi", "mode")
	_, port := firstOf(k, "connection", "controller", "master")
	switch {
	case mode != "" && mode != "infrastructure":
		return n, "is not a network to join (mode=" + mode + ")"
	case isFalse(k.get("connection", "autoconnect")):
		return n, "is not joined without being told to there (autoconnect=false)"
	case port:
		return n, "is a part of another connection (controller)"
	}
	// secondaries are VPNs that stay behind; an interface may have another name there; permissions name users of the
	// old system; a key that was left to an agent but is in the file would not be looked at.
	n.file = k.without("connection", "uuid", "interface-name", "permissions", "timestamp", "secondaries").
		without("match", "interface-name").without("wifi-security", "psk-flags")
	return n, ""
}

// nmAccess reads SSID and security, which every Wi-Fi connection has.
func nmAccess(k *keyfile, source string) (network, string) {
	n := network{source: source, security: open}
	value, _ := k.raw("wifi", "ssid")
	ssid, ok := parseSSID(value)
	if !ok || ssid == "" || len(ssid) > maxSSID {
		return n, "has no SSID of 1 to 32 bytes"
	}
	n.ssid = ssid
	if !k.has("wifi-security") {
		return n, ""
	}
	n.security = k.get("wifi-security", "key-mgmt")
	switch n.security {
	case psk, sae:
		var reason string
		n.key, reason = nmKey(k, n.security)
		return n, reason
	case owe:
		return n, ""
	case "none":
		return n, reasonWEP
	case "wpa-eap", "wpa-eap-suite-b-192", "ieee8021x":
		return n, reasonEAP
	case "":
		return n, "has a security section without key-mgmt"
	}
	return n, "uses key-mgmt=" + n.security + ", which can't be carried"
}

func nmKey(k *keyfile, security string) (key, reason string) {
	value, ok := k.raw("wifi-security", "psk")
	if !ok || value == "" {
		if flags := k.get("wifi-security", "psk-flags"); flags != "" && flags != "0" {
			return "", "has its key in a user's keyring, not in the file (psk-flags=" + flags + ")"
		}
		return "", "has no key there"
	}
	key, ok = unescape(value)
	if !ok || key == "" || security == psk && !isPassphrase(key) && !isRawKey(key) {
		return "", "has a key that is neither 8 to 63 characters nor 64 hex digits (psk)"
	}
	return key, ""
}

func firstOf(k *keyfile, section string, keys ...string) (string, bool) {
	for _, key := range keys {
		if value, ok := k.raw(section, key); ok && value != "" {
			return value, true
		}
	}
	return "", false
}

// isTrue and isFalse are g_key_file_get_boolean.
func isTrue(value string) bool {
	value = strings.TrimRight(value, blanks)
	return value == "true" || value == "1"
}

func isFalse(value string) bool {
	value = strings.TrimRight(value, blanks)
	return value == "false" || value == "0"
}

// ignored are the files NetworkManager passes over in its directory, and the samples of balenaOS (E31).
func ignored(name string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	const mkstemp = 6
	if strings.HasPrefix(name, ".") || strings.HasSuffix(name, "~") {
		return true
	}
	at := strings.LastIndexByte(name, '.')
	if at < 0 {
		return false
	}
	suffix := name[at+1:]
	switch strings.ToLower(suffix) {
	case "pem", "der", "ignore":
		return true
	}
	return len(suffix) == mkstemp && strings.Trim(suffix, letters) == ""
}
