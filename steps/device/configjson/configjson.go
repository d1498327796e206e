// Package configjson reads balena's config.json, the file that tells a new device where it belongs (E1–E6).
package configjson

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"strconv"

	"github.com/goccy/go-json"

	"github.com/balena-community/balena-migrate/schema"
)

// MaxSize is the largest config.json that is worth reading, in bytes. Real ones have 1 to 20 kB, certificates included.
const MaxSize = 1 << 20

// File is a config.json; members that we don't know are kept as they are.
type File struct {
	members map[string]any
}

const maxPort = 1<<16 - 1

// uuidPattern is E8: 32 or 62 lower-case hex digits.
var uuidPattern = regexp.MustCompile(`^([0-9a-f]{32}|[0-9a-f]{62})$`)

// Parse reads a config.json. Errors never show its content, which holds keys.
func Parse(data []byte) (*File, error) {
	var tree any
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if err := dec.Decode(&tree); err != nil {
		return nil, fmt.Errorf("found %d bytes that are not JSON, expected balena's config.json", len(data))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("found more after the JSON document's end, expected balena's config.json")
	}
	members, ok := tree.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("found JSON that is no object, expected balena's config.json")
	}
	return &File{members: members}, nil
}

// Text returns a string member, empty when it is missing or of another type.
func (f *File) Text(name string) string {
	s, _ := f.members[name].(string)
	return s
}

// Number returns a positive whole number, also one that is written as a text, as the supervisor accepts it; 0 when
// the member is missing or something else.
func (f *File) Number(name string) int64 {
	var text string
	switch v := f.members[name].(type) {
	case json.Number:
		text = v.String()
	case string:
		text = v
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// DeviceType is the slug of the fleet's device type.
func (f *File) DeviceType() string { return f.Text("deviceType") }

// Wifi returns the members wifiSsid and wifiKey, which balenaOS itself does not read (E5).
func (f *File) Wifi() (ssid, key string) { return f.Text("wifiSsid"), f.Text("wifiKey") }

// Check lists what keeps a device with this file from coming online (E3, E4, E6).
func (f *File) Check() []schema.Blocked {
	var out []schema.Blocked
	block := func(member, got, want string) {
		out = append(out, schema.Blocked{
			Check: "config-json", Got: member + ": " + got, Want: want, Remedy: "download a new config.json for the fleet from balena",
		})
	}
	for _, name := range []string{"apiEndpoint", "vpnEndpoint", "registryEndpoint", "deltaEndpoint", "deviceType"} {
		if f.Text(name) == "" {
			block(name, f.kind(name), "a text")
		}
	}
	for _, name := range []string{"applicationId", "vpnPort", "listenPort", "appUpdatePollInterval"} {
		if f.Number(name) == 0 {
			block(name, f.kind(name), "a positive whole number")
		}
	}
	if port := f.Number("vpnPort"); port > maxPort {
		block("vpnPort", strconv.FormatInt(port, 10), "a port from 1 to 65535")
	}
	if api := f.Text("apiEndpoint"); api != "" && !isURL(api) {
		block("apiEndpoint", "no URL", "an address such as https://api.balena-cloud.com")
	}
	for _, name := range []string{"vpnEndpoint", "registryEndpoint"} {
		if text := f.Text(name); text != "" && !isHost(text) {
			block(name, "no host name", "a host name alone, such as registry2.balena-cloud.com")
		}
	}
	f.checkOptional(block)
	f.checkIdentity(block)
	return out
}

// isURL wants what the supervisor calls: a scheme and a host.
func isURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.Hostname() != "" && (u.Scheme == "https" || u.Scheme == "http")
}

// isHost wants a name, or an address, perhaps with a port, and no scheme or path.
func isHost(s string) bool {
	u, err := url.Parse("//" + s)
	return err == nil && u.Host == s && u.Hostname() != ""
}

// checkOptional is E2: members that may be missing, but keep the device away when they are wrong.
func (f *File) checkOptional(block func(member, got, want string)) {
	for _, name := range []string{"dnsServers", "ntpServers", "hostname", "balenaRootCA"} {
		if v := f.members[name]; v != nil {
			if _, ok := v.(string); !ok {
				block(name, "another type", "a text, or none")
			}
		}
	}
	if ca := f.Text("balenaRootCA"); ca != "" && !isCertificates(ca) {
		block("balenaRootCA", "something else", "certificates in PEM, as base64")
	}
	if v := f.members["os"]; v != nil {
		if _, ok := v.(map[string]any); !ok {
			block("os", "another type", "an object, or none")
		}
	}
}

// isCertificates wants PEM in base64, with certificates that can be read.
func isCertificates(text string) bool {
	rest, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return false
	}
	var block *pem.Block
	for n := 0; ; n++ {
		if block, rest = pem.Decode(rest); block == nil {
			return n > 0
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return false
		}
	}
}

// checkIdentity is E4: what the device will be, and the key with which it comes.
func (f *File) checkIdentity(block func(member, got, want string)) {
	if uuid, ok := f.members["uuid"]; ok {
		if s, _ := uuid.(string); !uuidPattern.MatchString(s) {
			block("uuid", "something else", "32 or 62 lower-case hex digits, or none")
		}
	}
	if f.Text("apiKey") == "" && f.Text("deviceApiKey") == "" {
		block("apiKey", f.kind("apiKey"), "the fleet's provisioning key, or a deviceApiKey")
	}
	if f.Text("deviceApiKey") != "" && f.Text("apiKey") == "" && f.members["registered_at"] == nil {
		block("registered_at", "none beside a deviceApiKey without apiKey",
			"registered_at, or the apiKey with which the supervisor registers")
	}
	if f.Text("deviceApiKey") != "" && f.Text("uuid") == "" {
		block("uuid", "none beside a deviceApiKey", "the uuid that the key was made for")
	}
}

func (f *File) kind(name string) string {
	switch v := f.members[name].(type) {
	case nil:
		return "missing"
	case string:
		if v == "" {
			return "empty"
		}
		return "a text"
	default:
		return "another type"
	}
}
