package wifi

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// keyfile is a file in GKeyFile's syntax with every line as it was, so that what is not understood is kept.
type keyfile struct {
	lines []keyLine
}

// keyLine is a line: a section's header, a key with its value as it is written, or, without either, a comment.
// The section is under NetworkManager's short name.
type keyLine struct {
	text    string
	section string
	header  bool
	key     string
	value   string
}

// sectionName gives the sections that NetworkManager knows under two names their short one.
func sectionName(s string) string {
	switch s {
	case "802-11-wireless":
		return "wifi"
	case "802-11-wireless-security":
		return "wifi-security"
	case "802-3-ethernet":
		return "ethernet"
	}
	return s
}

// blanks is g_ascii_isspace.
const blanks = " \t\n\v\f\r"

// parseKeyfile reads GKeyFile's syntax. Errors name source and line, never what is in it.
func parseKeyfile(data []byte, source string) (*keyfile, error) {
	k, section := &keyfile{}, ""
	for i, text := range strings.Split(strings.TrimSuffix(string(data), "\n"), "\n") {
		l := keyLine{text: text}
		body := strings.TrimLeft(strings.TrimSuffix(text, "\r"), blanks)
		key, value, pair := strings.Cut(body, "=")
		switch {
		case strings.IndexByte(text, 0) >= 0:
			return nil, fmt.Errorf("%s:%d: binary data where a connection file is expected", source, i+1)
		case body == "" || body[0] == '#':
		case body[0] == '[':
			name, ok := strings.CutSuffix(strings.TrimRight(body[1:], " \t"), "]")
			if !ok || name == "" || strings.ContainsAny(name, "[]") {
				return nil, fmt.Errorf("%s:%d: section header without its closing bracket", source, i+1)
			}
			section, l.header = sectionName(name), true
		case !pair || key == "":
			return nil, fmt.Errorf("%s:%d: line that is neither a section, nor key=value, nor a comment", source, i+1)
		case section == "":
			return nil, fmt.Errorf("%s:%d: key before the first section", source, i+1)
		default:
			l.key, l.value = strings.TrimRight(key, blanks), strings.TrimLeft(value, blanks)
		}
		l.section = section
		k.lines = append(k.lines, l)
	}
	return k, nil
}

// raw returns a value still escaped; the last of several counts, as with GKeyFile.
func (k *keyfile) raw(section, key string) (string, bool) {
	for i := len(k.lines) - 1; i >= 0; i-- {
		if l := k.lines[i]; l.section == section && l.key == key {
			return l.value, true
		}
	}
	return "", false
}

// get returns a value as text, "" if there is none or it is none GKeyFile would read.
func (k *keyfile) get(section, key string) string {
	value, _ := k.raw(section, key)
	text, _ := unescape(value)
	return text
}

// has says whether a section is there.
func (k *keyfile) has(section string) bool {
	for _, l := range k.lines {
		if l.header && l.section == section {
			return true
		}
	}
	return false
}

// without returns the file without the given keys of a section.
func (k *keyfile) without(section string, keys ...string) *keyfile {
	out := &keyfile{}
	for _, l := range k.lines {
		drop := false
		for _, key := range keys {
			drop = drop || l.section == section && l.key == key
		}
		if !drop {
			out.lines = append(out.lines, l)
		}
	}
	return out
}

// with returns the file with a key of a section that is there, put first in it.
func (k *keyfile) with(section, key, value string) *keyfile {
	out, done := &keyfile{}, false
	for _, l := range k.without(section, key).lines {
		out.lines = append(out.lines, l)
		if l.header && l.section == section && !done {
			done = true
			value := escape(value)
			out.lines = append(out.lines, keyLine{text: key + "=" + value, section: section, key: key, value: value})
		}
	}
	return out
}

// withSection returns the file with a section, added at its end where there is none.
func (k *keyfile) withSection(name string) *keyfile {
	if k.has(name) {
		return k
	}
	out := &keyfile{lines: slices.Clone(k.lines)}
	out.lines = append(out.lines, keyLine{}, keyLine{text: "[" + name + "]", section: name, header: true})
	return out
}

// bytes is the file's content.
func (k *keyfile) bytes() []byte {
	var b strings.Builder
	for _, l := range k.lines {
		b.WriteString(l.text)
		b.WriteByte('\n')
	}
	return []byte(b.String())
}

// unescape decodes a value as g_key_file_get_string does: \s \n \t \r \\ and nothing else, UTF-8 only.
func unescape(value string) (string, bool) {
	if !utf8.ValidString(value) {
		return "", false
	}
	var b strings.Builder
	for i := 0; i < len(value); i++ {
		if value[i] != '\\' {
			b.WriteByte(value[i])
			continue
		}
		i++
		if i == len(value) {
			return "", false
		}
		at := strings.IndexByte(`sntr\`, value[i])
		if at < 0 {
			return "", false
		}
		b.WriteByte(" \n\t\r\\"[at])
	}
	return b.String(), true
}

// escape encodes a value for GKeyFile. Blanks at either end would be lost or overlooked, so they are escaped too.
func escape(text string) string {
	body := strings.Trim(text, " ")
	before := strings.Index(text, body)
	after := len(text) - before - len(body)
	body = strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\t", `\t`, "\r", `\r`).Replace(body)
	return strings.Repeat(`\s`, before) + body + strings.Repeat(`\s`, after)
}

// ssidValue writes an SSID as NetworkManager reads it: as text with its semicolons escaped once more, or, where it
// is no text, as a list of bytes.
func ssidValue(ssid string) string {
	if display(ssid) == ssid {
		return escape(strings.ReplaceAll(ssid, ";", `\;`))
	}
	var b strings.Builder
	for _, c := range []byte(ssid) {
		b.WriteString(strconv.Itoa(int(c)))
		b.WriteByte(';')
	}
	return b.String()
}

// parseSSID reads an SSID in both forms. A text is a list of bytes when every number has its semicolon; 123 is text.
func parseSSID(value string) (string, bool) {
	text, ok := unescape(value)
	if !ok {
		return "", false
	}
	if list, ok := byteList(text); ok {
		return list, true
	}
	return strings.ReplaceAll(text, `\;`, ";"), true
}

func byteList(text string) (string, bool) {
	const digits = "0123456789"
	var out []byte
	for rest := strings.TrimLeft(text, blanks); rest != ""; rest = strings.TrimLeft(rest, blanks) {
		number, after, ok := strings.Cut(rest, ";")
		number = strings.TrimRight(number, blanks)
		if !ok || len(number) == 0 || len(number) > 3 || strings.Trim(number, digits) != "" {
			return "", false
		}
		n, err := strconv.ParseUint(number, 10, 8)
		if err != nil {
			return "", false
		}
		out, rest = append(out, byte(n)), after
	}
	return string(out), len(out) > 0
}
