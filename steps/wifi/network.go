package wifi

import (
	"crypto/pbkdf2"
	"crypto/sha1" //nolint:gosec // IEEE 802.11 derives the key of WPA with it; there is no other way
	"encoding/hex"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The kinds of security that go along, in the words of NetworkManager's key-mgmt (nm-settings-keyfile(5)); an open
// network has none.
const (
	open   = "none"
	psk    = "wpa-psk"
	sae    = "sae"
	owe    = "owe"
	wpaEAP = "wpa-eap"
	suiteB = "wpa-eap-suite-b-192"
	dot1x  = "802.1x" // of Ethernet
)

// The kinds of connections, which are NetworkManager's types.
const (
	wifiKind     = "wifi"
	ethernetKind = "ethernet"
	vlanKind     = "vlan"
	gsmKind      = "gsm"
)

// maxVLAN is the largest id of a VLAN (IEEE 802.1Q).
const maxVLAN = 4094

// maxSSID is the length of the longest SSID in bytes (IEEE 802.11, 9.4.2.2).
const maxSSID = 32

// network is one way in which the old system reaches a network: a Wi-Fi network, or an interface whose configuration
// is not what balenaOS does on its own. The SSID is bytes, not text.
type network struct {
	kind     string // "" is Wi-Fi
	ssid     string
	security string
	// key is a passphrase, or the 64 hex digits of the key made from it; empty for open and owe.
	key      string
	eap      *eap
	hidden   bool
	priority int
	source   string
	// file is the connection as NetworkManager had it, nil where it must be written anew.
	file *keyfile
	// iface is the interface it was for in the old system, "" for any; mac picks it in the new one.
	iface string
	mac   string
	// bind is the interface's name where nothing better picks it.
	bind string
	// uuid is the one NetworkManager knew it by.
	uuid string
	ip   *addressing // nil: not known here
	vlan vlan
	gsm  map[string]string
}

// vlan is an 802.1Q tag on top of another interface.
type vlan struct {
	id     int
	parent string
}

func (n network) kindName() string {
	if n.kind == "" {
		return wifiKind
	}
	return n.kind
}

// refusal is a network, or what looks like one, that can't go along. The reason reads on from "it" and holds no
// secret. The SSID is empty where it is not known.
type refusal struct {
	ssid   string
	source string
	reason string
	// iface is the interface it was for, "" for any or none in particular.
	iface string
	// off is a network that the old system does not join by itself, so that it is not the one in use.
	off bool
	// uuid is the one NetworkManager knew it by.
	uuid string
}

// String is the refusal as a warning.
func (r refusal) String() string {
	if r.ssid == "" {
		return r.source + " does not go along: it " + r.reason
	}
	return "Wi-Fi network " + quote(r.ssid) + " of " + r.source + " does not go along: it " + r.reason
}

// display is an SSID as text; one that can't be shown is given in hex after 0x.
func display(ssid string) string {
	if utf8.ValidString(ssid) && !strings.ContainsFunc(ssid, unicode.IsControl) {
		return ssid
	}
	return "0x" + hex.EncodeToString([]byte(ssid))
}

func quote(ssid string) string { return `"` + display(ssid) + `"` }

// isRawKey says whether a WPA key is the 256 bit key itself in hex.
func isRawKey(key string) bool {
	_, err := hex.DecodeString(key)
	return err == nil && len(key) == 64
}

// isPassphrase holds to what both wpa_supplicant and NetworkManager take: 8 to 63 bytes without control characters.
func isPassphrase(key string) bool {
	const least, most = 8, 63
	return len(key) >= least && len(key) <= most && !hasControl(key)
}

// hasControl looks for ASCII's control characters, byte by byte as wpa_supplicant does.
func hasControl(text string) bool {
	const space, del = 0x20, 0x7f
	for _, c := range []byte(text) {
		if c < space || c == del {
			return true
		}
	}
	return false
}

// rawKey derives the key of a WPA network from its passphrase (IEEE 802.11, annex J.4).
func rawKey(passphrase, ssid string) string {
	const rounds, size = 4096, 32
	key, err := pbkdf2.Key(sha1.New, passphrase, []byte(ssid), rounds, size)
	if err != nil {
		return "" // only FIPS mode refuses; no key is equal to an empty one
	}
	return hex.EncodeToString(key)
}

// sameKey says whether two networks of one SSID are joined the same way. Passphrase and derived key are the same.
func sameKey(a, b network) bool {
	if a.security != b.security {
		return false
	}
	return a.key == b.key && a.eap.same(b.eap) || a.security == psk && raw(a) == raw(b)
}

func raw(n network) string {
	if isRawKey(n.key) {
		return strings.ToLower(n.key)
	}
	return rawKey(n.key, n.ssid)
}
