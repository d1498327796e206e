package wifi

import (
	"encoding/base64"
	"strings"
)

// wpaProperties names NetworkManager's property for each setting of wpa_supplicant.conf(5) that is carried.
var wpaProperties = map[string]string{ //nolint:gochecknoglobals // a table
	"identity": "identity", "anonymous_identity": "anonymous-identity", "password": "password",
	"private_key_passwd": "private-key-password", "private_key2_passwd": "phase2-private-key-password",
	"domain_suffix_match": "domain-suffix-match", "domain_match": "domain-match", "subject_match": "subject-match",
	"altsubject_match": "altsubject-matches", "domain_suffix_match2": "phase2-domain-suffix-match",
	"domain_match2": "phase2-domain-match", "subject_match2": "phase2-subject-match",
	"altsubject_match2": "phase2-altsubject-matches",
	"ca_cert":           "ca-cert", "client_cert": "client-cert", "private_key": "private-key",
	"ca_cert2": "phase2-ca-cert", "client_cert2": "phase2-client-cert", "private_key2": "phase2-private-key",
}

// wpaUncarried are settings without which the network would not be joined, or not as safely.
var wpaUncarried = []string{"pac_file", "engine_id", "key_id", "pin", "ca_path", "ca_path2", "sim_num", "pcsc"} //nolint:gochecknoglobals // a table

// enterprise reads what a network block says of 802.1X.
func (b wpaBlock) enterprise() (*eap, string) {
	e := newEAP()
	if reason := e.methods(strings.Fields(b.values["eap"])); reason != "" {
		return nil, reason
	}
	for _, name := range wpaUncarried {
		if b.values[name] != "" {
			return nil, "needs what can't be carried (" + name + ")"
		}
	}
	for name, property := range wpaProperties {
		value, ok := b.values[name]
		if !ok || value == "NULL" {
			continue
		}
		if strings.HasPrefix(value, "hash:") || strings.HasPrefix(value, "ext:") {
			return nil, "has its password in a form that can't be carried (" + name + ")"
		}
		text, ok := wpaString(value)
		if !ok || !utf8Text(text) {
			return nil, "has a setting that is no text (" + name + ")"
		}
		if reason := b.property(e, property, text); reason != "" {
			return nil, reason + " (" + name + ")"
		}
	}
	if reason := b.phases(e); reason != "" {
		return nil, reason
	}
	return e, e.complete()
}

// property sets one of NetworkManager's properties; certificates may be in the file itself.
func (b wpaBlock) property(e *eap, property, text string) (reason string) {
	if !strings.HasSuffix(property, "-cert") && !strings.HasSuffix(property, "private-key") {
		e.set(property, text)
		return ""
	}
	name, inFile := strings.CutPrefix(text, "blob://")
	switch {
	case inFile:
		data, err := base64.StdEncoding.DecodeString(b.blobs[name])
		if err != nil || len(data) == 0 {
			return "names a certificate that is not in the file"
		}
		e.values[property] = blob(data)
	case strings.Contains(text, "://") || strings.HasPrefix(text, "pkcs11:"):
		return "has a certificate that is no file"
	default:
		e.cert(property, text)
	}
	return ""
}

// phases reads the parameters of the two phases.
func (b wpaBlock) phases(e *eap) (reason string) {
	text, ok := wpaString(b.values["phase1"])
	if !ok {
		return "has a setting that is no text (phase1)"
	}
	for _, word := range strings.Fields(text) {
		// NetworkManager has these two and knows two values of each; the rest is about old servers and left to it.
		key, value, _ := strings.Cut(word, "=")
		if (key == "peapver" || key == "peaplabel") && (value == "0" || value == "1") {
			e.set("phase1-"+key, value)
		}
	}
	if text, ok = wpaString(b.values["phase2"]); !ok {
		return "has a setting that is no text (phase2)"
	}
	return e.phase2(text)
}
