package fat

import (
	"encoding/binary"
	"strings"
	"unicode/utf16"
)

// longName gathers the entries of a long name, which come last part first, before the entry that they name.
type longName struct {
	units []uint16
	next  byte // ordinal of the entry that must follow; 0 when complete
	sum   byte
}

func (l *longName) add(raw rawEntry) {
	ordinal := raw[0]
	if ordinal&0x40 != 0 {
		*l = longName{next: ordinal & 0x3f, sum: raw[13]}
	}
	if n := ordinal & 0x3f; n == 0 || n != l.next || raw[13] != l.sum || n > 20 {
		*l = longName{}
		return
	}
	l.next--
	part := make([]uint16, 0, 13+len(l.units))
	for _, span := range [][2]int{{1, 11}, {14, 26}, {28, 32}} {
		for i := span[0]; i < span[1]; i += 2 {
			part = append(part, binary.LittleEndian.Uint16(raw[i:]))
		}
	}
	l.units = append(part, l.units...)
}

// take returns the name gathered, if it is whole and belongs to the short name; else "".
func (l *longName) take(short []byte) string {
	done := *l
	*l = longName{}
	if len(done.units) == 0 || done.next != 0 || done.sum != shortSum(short) {
		return ""
	}
	units := done.units
	for i, u := range units {
		if u == 0 {
			units = units[:i]
			break
		}
	}
	name := string(utf16.Decode(units))
	if !validName(name) {
		return ""
	}
	return name
}

// validName keeps names out that would lead elsewhere as part of a path.
func validName(name string) bool {
	return name != "" && name != "." && name != ".." && !strings.ContainsAny(name, "/\x00")
}

// shortSum is the checksum of a short name that ties a long name to it.
func shortSum(short []byte) (sum byte) {
	for _, c := range short {
		sum = sum>>1 | sum<<7
		sum += c
	}
	return sum
}

func shortName(raw rawEntry) string {
	base, ext := strings.TrimRight(oemString(raw[:8]), " "), strings.TrimRight(oemString(raw[8:11]), " ")
	if raw[0] == 0x05 { // stands for a first byte of 0xe5, which would mean deleted
		base = "σ" + strings.TrimPrefix(base, "\x05")
	}
	if raw[12]&lowerBase != 0 {
		base = strings.ToLower(base)
	}
	if raw[12]&lowerExt != 0 {
		ext = strings.ToLower(ext)
	}
	if ext != "" {
		base += "." + ext
	}
	if base == "." || base == ".." || validName(base) {
		return base
	}
	return strings.NewReplacer("/", "_", "\x00", "_").Replace("_" + base)
}

// highCP437 are the bytes from 0x80 on in the code page that mkfs.vfat and Linux take unless told otherwise.
const highCP437 = "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u00a0"

func oemString(b []byte) string {
	high := []rune(highCP437)
	var s strings.Builder
	for _, c := range b {
		if c < 0x80 {
			s.WriteByte(c)
		} else {
			s.WriteRune(high[c-0x80])
		}
	}
	return s.String()
}
