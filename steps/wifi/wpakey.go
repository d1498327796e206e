package wifi

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// The families of wpa_supplicant's key_mgmt that one key-mgmt of NetworkManager stands for.
var (
	pskFamily = []string{"WPA-PSK", "FT-PSK", "WPA-PSK-SHA256"}            //nolint:gochecknoglobals // a table
	saeFamily = []string{"SAE", "FT-SAE", "SAE-EXT-KEY", "FT-SAE-EXT-KEY"} //nolint:gochecknoglobals // a table
)

// eapFamily is joined with 802.1X and wpa-eap.
var eapFamily = []string{"WPA-EAP", "FT-EAP", "WPA-EAP-SHA256", "WPA-EAP-SUITE-B"} //nolint:gochecknoglobals // a table

const (
	suiteB192 = "WPA-EAP-SUITE-B-192"
	reasonWEP = "uses WEP, which can't be carried: it protects nothing, and balenaOS' wpa_supplicant may be built without it"
	reasonDyn = "uses 802.1X with dynamic WEP, which can't be carried"
	reasonNo  = "has no key there"
)

// access finds out how the network is joined. Where several ways are allowed the one that works with what is there is
// taken; wpa-psk stands for WPA2 and WPA3 together (nm-settings(5)).
func (b wpaBlock) access(n *network) (reason string) {
	allowed := strings.Fields(b.values["key_mgmt"])
	if len(allowed) == 0 {
		allowed = []string{"WPA-PSK", "WPA-EAP"} // the default of wpa_supplicant.conf(5)
	}
	allows := func(family ...string) bool {
		return slices.ContainsFunc(allowed, func(a string) bool { return slices.Contains(family, a) })
	}
	_, hasPSK := b.values["psk"]
	_, hasSAE := b.values["sae_password"]
	_, hasEAP := b.values["eap"]
	switch {
	case allows(pskFamily...) && hasPSK:
		n.security = psk
		n.key, reason = b.psk(n.ssid)
	case allows(saeFamily...) && (hasSAE || hasPSK):
		n.security = sae
		n.key, reason = b.saePassword()
	case allows(suiteB192) && hasEAP:
		n.security = suiteB
		n.eap, reason = b.enterprise()
	case allows(eapFamily...) && hasEAP:
		n.security = wpaEAP
		n.eap, reason = b.enterprise()
	default:
		n.security, reason = b.open(allows)
	}
	if reason != "" {
		n.security = ""
	}
	return reason
}

// open is a network that is joined without a secret of ours, or a reason why there is none.
func (b wpaBlock) open(allows func(...string) bool) (security, reason string) {
	switch {
	case allows("OWE"):
		return owe, ""
	case allows("NONE") && b.wep():
		return "", reasonWEP
	case allows("NONE"):
		return open, ""
	case allows(pskFamily...), allows(saeFamily...):
		return "", reasonNo
	case allows(eapFamily...), allows(suiteB192):
		return "", "does not say which EAP method it uses"
	case allows("IEEE8021X"):
		return "", reasonDyn
	}
	return "", "uses key_mgmt=" + b.values["key_mgmt"] + ", which can't be carried"
}

// wep says whether a static WEP key is set.
func (b wpaBlock) wep() bool {
	for name := range b.values {
		if strings.HasPrefix(name, "wep_key") {
			return true
		}
	}
	return false
}

// psk reads the key of a WPA network. A passphrase that is not UTF-8 has no place in a keyfile, the key made from it
// has.
func (b wpaBlock) psk(ssid string) (key, reason string) {
	value := b.values["psk"]
	switch {
	case strings.HasPrefix(value, "ext:"):
		return "", "has its key in an external password store"
	case isRawKey(value):
		return value, ""
	}
	key, reason = b.passphrase("psk")
	if reason == "" && !utf8.ValidString(key) {
		key = rawKey(key, ssid)
	}
	return key, reason
}

// saePassword reads the password of a WPA3 network, which has no derived form.
func (b wpaBlock) saePassword() (key, reason string) {
	value, ok := b.values["sae_password"]
	if !ok {
		if isRawKey(b.values["psk"]) {
			return "", "has only a derived key, and WPA3 needs the passphrase"
		}
		key, reason = b.passphrase("psk")
	} else if key, ok = wpaString(value); !ok || key == "" {
		return "", "has a password that is neither quoted nor hex (sae_password)"
	}
	if reason == "" && (!utf8.ValidString(key) || hasControl(key)) {
		return "", "has a password that is no UTF-8 text"
	}
	return key, reason
}

// passphrase reads a quoted passphrase, which may hold quotes itself.
func (b wpaBlock) passphrase(name string) (key, reason string) {
	text, ok := strings.CutPrefix(b.values[name], `"`)
	at := strings.LastIndexByte(text, '"')
	if !ok || at < 0 || !isPassphrase(text[:at]) {
		return "", "has a key that is neither 8 to 63 quoted characters nor 64 hex digits (" + name + ")"
	}
	return text[:at], ""
}
