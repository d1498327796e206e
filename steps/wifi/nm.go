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

// parseNM reads a connection file of NetworkManager.
func parseNM(data []byte, source string) ([]network, []refusal) {
	k, err := parseKeyfile(data, source)
	if err != nil {
		reason := strings.TrimPrefix(err.Error(), source+":")
		return nil, []refusal{{source: source, reason: "can't be read (line " + reason + ")"}}
	}
	var n network
	var reason string
	if isWifi(k) {
		n, reason = nmNetwork(k, source)
	} else {
		n, reason = nmWired(k, source)
	}
	n.uuid = k.get("connection", "uuid")
	off := isFalse(k.get("connection", "autoconnect"))
	switch {
	case reason != "":
		return nil, []refusal{{ssid: n.ssid, source: source, reason: reason, iface: n.iface, off: off, uuid: n.uuid}}
	case n.file == nil:
		return nil, nil
	}
	return []network{n}, nil
}

// nmNetwork makes a network of a Wi-Fi connection of NetworkManager, or says why it can't go along. The file is kept
// whole but for what belongs to the old system (P32, P33).
func nmNetwork(k *keyfile, source string) (network, string) {
	n, reason := nmAccess(k, source)
	n.iface, n.ip = k.get("connection", "interface-name"), nmAddressing(k)
	if reason != "" {
		return n, reason
	}
	// A line that can't be read as a number is 0 to NetworkManager too.
	n.priority, _ = strconv.Atoi(k.get("connection", "autoconnect-priority"))
	n.hidden = isTrue(k.get("wifi", "hidden"))
	if mode := k.get("wifi", "mode"); mode != "" && mode != "infrastructure" {
		return n, "is not a network to join (mode=" + mode + ")"
	}
	if reason := nmUsable(k); reason != "" {
		return n, reason
	}
	n.file = nmOwn(k).without("connection", "interface-name").without("match", "interface-name").without("wifi-security", "psk-flags")
	return n, ""
}

// nmUsable says why a connection would not come up by itself.
func nmUsable(k *keyfile) (reason string) {
	if isFalse(k.get("connection", "autoconnect")) {
		return "is not joined without being told to there (autoconnect=false)"
	}
	if _, port := firstOf(k, "connection", "controller", "master"); port {
		return "is a part of another connection (controller)"
	}
	return ""
}

// nmOwn leaves out what belongs to the old system: permissions name its users, secondaries are VPNs that stay behind,
// and a password that was left to an agent but is in the file would not be looked at.
func nmOwn(k *keyfile) *keyfile {
	return k.without("connection", "uuid", "permissions", "timestamp", "secondaries").
		without("802-1x", "password-flags", "private-key-password-flags").with8021xFlags(k)
}

// with8021xFlags puts back that a private key has no password, which is no secret that an agent has.
func (k *keyfile) with8021xFlags(before *keyfile) *keyfile {
	const notRequired = "4"
	if before.get("802-1x", "private-key-password-flags") == notRequired {
		return k.with("802-1x", "private-key-password-flags", notRequired)
	}
	return k
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
	case wpaEAP, suiteB:
		return n, nmEAP(k)
	case "none":
		return n, reasonWEP
	case "ieee8021x":
		return n, reasonDyn
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
		return "", reasonNo
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
