package wifi

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// wpaBlock is a network block of wpa_supplicant.conf: its settings, the last of several counting.
type wpaBlock struct {
	source string
	values map[string]string
	blobs  map[string]string // the file's, in base64
	broken string
}

// parseWPA reads wpa_supplicant.conf(5): every network block is either a network or a refusal.
func parseWPA(data []byte, source string) ([]network, []refusal) {
	var networks []network
	var refused []refusal
	for _, b := range wpaBlocks(data, source) {
		n, reason := b.network()
		if reason != "" {
			off := b.broken == "" && (!zero(b.values["disabled"]) || !zero(b.values["mode"]))
			refused = append(refused, refusal{ssid: n.ssid, source: b.source, reason: reason, off: off})
			continue
		}
		networks = append(networks, n)
	}
	return networks, refused
}

// wpaBlocks splits the file. Of blocks of other kinds (cred={) the content is passed over, but for certificates
// (blob-base64-…={), and so are the settings outside of blocks: none of them is needed to join a network.
func wpaBlocks(data []byte, source string) []wpaBlock {
	var out []wpaBlock
	var in *wpaBlock
	other, blobs, inBlob := false, map[string]string{}, ""
	for i, line := range strings.Split(string(data), "\n") {
		line = wpaLine(line)
		key, value, pair := strings.Cut(line, "=")
		switch {
		case line == "":
		case line == "}":
			in, other, inBlob = nil, false, ""
		case inBlob != "":
			blobs[inBlob] += line
		case other:
		case in == nil && pair && strings.TrimSpace(value) == "{":
			if strings.TrimSpace(key) != "network" {
				if name, ok := strings.CutPrefix(strings.TrimSpace(key), "blob-base64-"); ok {
					inBlob = name
				}
				other = true
				continue
			}
			out = append(out, wpaBlock{source: fmt.Sprintf("%s:%d", source, i+1), values: map[string]string{}, blobs: blobs})
			in = &out[len(out)-1]
		case in == nil:
		case !pair:
			in.broken = fmt.Sprintf("has a line that is not key=value (line %d)", i+1)
		default:
			in.values[strings.TrimSpace(key)] = strings.TrimSpace(value)
		}
	}
	if in != nil {
		in.broken = "has no closing brace"
	}
	return out
}

// wpaLine is a line without its blanks and comment. A # counts as a comment only after the last quote.
func wpaLine(line string) string {
	line = strings.Trim(line, " \t\r")
	if strings.HasPrefix(line, "#") {
		return ""
	}
	from := 0
	if first, last := strings.IndexByte(line, '"'), strings.LastIndexByte(line, '"'); first < last {
		from = last
	}
	if at := strings.IndexByte(line[from:], '#'); at >= 0 {
		line = line[:from+at]
	}
	return strings.TrimRight(line, " \t\r")
}

// network makes a network of the block, or says why it can't go along. The SSID is set wherever it is known.
func (b wpaBlock) network() (network, string) {
	n := network{source: b.source, hidden: b.values["scan_ssid"] == "1"}
	ssid, ok := wpaString(b.values["ssid"])
	switch {
	case ok && len(ssid) <= maxSSID:
		n.ssid = ssid
	case b.broken == "":
		return n, "has an SSID that is neither quoted, nor hex, nor of at most 32 bytes"
	}
	switch {
	case b.broken != "":
		return n, b.broken
	case n.ssid == "" && b.values["eap"] != "" && slices.Contains(strings.Fields(b.values["key_mgmt"]), "IEEE8021X"):
		var reason string
		n.kind, n.security = ethernetKind, dot1x
		n.eap, reason = b.enterprise()
		return n, reason
	case n.ssid == "":
		return n, "has no SSID: it stands for any open network"
	case !zero(b.values["disabled"]):
		return n, "is disabled there (disabled=1)"
	case !zero(b.values["mode"]):
		return n, "is not a network to join (mode=" + b.values["mode"] + ")"
	}
	// wpa_supplicant stops at a priority that is no number; here it is no reason to lose the device.
	n.priority, _ = strconv.Atoi(b.values["priority"])
	return n, b.access(&n)
}

func zero(value string) bool { return value == "" || value == "0" }

// wpaString decodes a string setting: "text", P"text with escapes", or hex.
func wpaString(value string) (string, bool) {
	if strings.HasPrefix(value, `"`) || strings.HasPrefix(value, `P"`) {
		printf := value[0] == 'P'
		value = strings.TrimPrefix(strings.TrimPrefix(value, "P"), `"`)
		text, ok := strings.CutSuffix(value, `"`)
		if ok && printf {
			text = printfDecode(text)
		}
		return text, ok
	}
	data, err := hex.DecodeString(value)
	return string(data), err == nil
}

// printfDecode undoes wpa_supplicant's printf_encode: \\ \" \n \r \t \e, \x with one or two hex digits, octal. Before
// anything else a backslash is dropped.
func printfDecode(text string) string {
	var out []byte
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' || i+1 == len(text) {
			if text[i] != '\\' {
				out = append(out, text[i])
			}
			continue
		}
		i++
		at := strings.IndexByte(`nrte`, text[i])
		switch {
		case at >= 0:
			out = append(out, "\n\r\t\033"[at])
		case text[i] == 'x':
			value, used := number(text[i+1:], "0123456789abcdef", 2)
			if used > 0 {
				out = append(out, value)
			}
			i += used
		case text[i] >= '0' && text[i] <= '7':
			value, used := number(text[i:], "01234567", 3)
			out = append(out, value)
			i += used - 1
		default:
			out = append(out, text[i])
		}
	}
	return string(out)
}

// number reads at most limit digits and returns the value, modulo 256, and how many there were.
func number(text, digits string, limit int) (byte, int) {
	value, used := 0, 0
	for used < limit && used < len(text) {
		d := strings.IndexByte(digits, lower(text[used]))
		if d < 0 {
			break
		}
		value, used = value*len(digits)+d, used+1
	}
	return byte(value), used
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
