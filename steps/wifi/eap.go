package wifi

import (
	"encoding/base64"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/balena-community/balena-migrate/steps/host"
)

// eap is the section [802-1x] of a connection: how the device shows who it is, by Wi-Fi or by Ethernet. Certificates
// are named by path until they are taken in.
type eap struct {
	values map[string]string
	certs  map[string]string
}

func newEAP() *eap { return &eap{values: map[string]string{}, certs: map[string]string{}} }

// blobPrefix is how a keyfile holds a certificate itself in place of its path (nm-settings-keyfile(5)). balenaOS takes
// nothing but connection files from its boot partition (E31), so there is no path to give.
const blobPrefix = "data:;base64,"

func blob(data []byte) string { return blobPrefix + base64.StdEncoding.EncodeToString(data) }

// eapMethods are NetworkManager's.
var eapMethods = []string{"leap", "md5", "tls", "peap", "ttls", "pwd", "fast"} //nolint:gochecknoglobals // a table

// phase2Auth are the inner methods that are no EAP; all of ttls.
var phase2Auth = []string{"pap", "chap", "mschap", "mschapv2", "gtc", "otp", "md5", "tls"} //nolint:gochecknoglobals // a table

// methods sets the outer methods.
func (e *eap) methods(names []string) (reason string) {
	var out strings.Builder
	for _, m := range names {
		m = strings.ToLower(m)
		if !slices.Contains(eapMethods, m) {
			return "uses EAP-" + m + ", which NetworkManager does not know"
		}
		out.WriteString(m + ";")
	}
	if out.Len() == 0 {
		return "does not say which EAP method it uses"
	}
	e.values["eap"] = out.String()
	return ""
}

// phase2 sets the inner method, in wpa_supplicant's words (auth=MSCHAPV2, autheap=TLS) or as a bare name.
func (e *eap) phase2(text string) (reason string) {
	for _, word := range strings.Fields(text) {
		key, name, ok := strings.Cut(word, "=")
		if !ok {
			key, name = "auth", word
		}
		name = strings.ToLower(name)
		if (key != "auth" && key != "autheap") || !slices.Contains(phase2Auth, name) {
			return "has an inner authentication that can't be carried (phase2)"
		}
		e.values["phase2-"+key] = name
	}
	return ""
}

// set takes a value that is there.
func (e *eap) set(key, value string) {
	if value != "" {
		e.values[key] = value
	}
}

// cert names a certificate or a key by path.
func (e *eap) cert(key, name string) {
	if name != "" {
		e.certs[key] = name
	}
}

// complete says what NetworkManager would miss.
func (e *eap) complete() (reason string) {
	methods := strings.Split(strings.TrimSuffix(e.values["eap"], ";"), ";")
	tls := slices.Equal(methods, []string{"tls"})
	for _, value := range e.values {
		if !utf8.ValidString(value) {
			return "has a setting that is no text"
		}
	}
	switch {
	case slices.Contains(methods, "fast"):
		return "uses EAP-FAST, whose PAC file can't be carried"
	case e.values["identity"] == "":
		return "has no identity"
	case tls && !has(e, "private-key"):
		return "has no private key"
	case !tls && e.values["password"] == "" && !has(e, "private-key"):
		return "has no password"
	}
	inner := e.values["phase2-auth"] != "" || e.values["phase2-autheap"] != ""
	if first := methods[0]; (first == "peap" || first == "ttls") && !inner {
		// wpa_supplicant takes what the server offers; NetworkManager wants one named. This is what servers offer.
		e.values["phase2-auth"] = "mschapv2"
	}
	if has(e, "private-key") && e.values["private-key-password"] == "" {
		e.values["private-key-password-flags"] = "4" // not required
	}
	return ""
}

// take reads the certificates and puts them in.
func (e *eap) take(r host.Reader, base string) (reason string, err error) {
	out := maps.Clone(e.values)
	for _, key := range slices.Sorted(maps.Keys(e.certs)) {
		name := e.certs[key]
		if !path.IsAbs(name) {
			name = path.Join(base, name)
		}
		data, problem, err := read(r, name)
		if err != nil {
			return "", err
		}
		if problem != "" {
			return fmt.Sprintf("needs %s (%s), which %s", name, key, problem), nil
		}
		out[key] = blob(data)
		// A PKCS#12 file holds both; NetworkManager wants it in both places.
		if key == "private-key" && !has(e, "client-cert") && isPKCS12(data) {
			out["client-cert"] = out[key]
		}
	}
	if out["eap"] == "tls;" && out["client-cert"] == "" {
		return "has no certificate of its own (client_cert)", nil
	}
	e.values, e.certs = out, nil
	return "", nil
}

func has(e *eap, key string) bool { return e.values[key] != "" || e.certs[key] != "" }

// isPKCS12 tells DER from PEM, which begins with text. Both a key and a PKCS#12 container may be DER; only the latter
// starts with a sequence whose first element is version 3 (RFC 7292, 4).
func isPKCS12(data []byte) bool {
	return len(data) > 7 && data[0] == 0x30 && strings.Contains(string(data[:8]), "\x02\x01\x03")
}

// render writes the section.
func (e *eap) render(b *strings.Builder) {
	b.WriteString("\n[802-1x]\n")
	for _, key := range slices.Sorted(maps.Keys(e.values)) {
		fmt.Fprintf(b, "%s=%s\n", key, escape(e.values[key]))
	}
}

// same says whether two devices show the same.
func (e *eap) same(other *eap) bool {
	if e == nil || other == nil {
		return e == other
	}
	return maps.Equal(e.values, other.values) && maps.Equal(e.certs, other.certs)
}
