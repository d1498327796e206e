package backup

import (
	"archive/tar"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/balena-community/balena-migrate/steps/host"
)

// maxExtended is the most that is written as attributes of one file; BusyBox skips a header of 1 MiB unread, and takes
// what follows for the next one.
const maxExtended = 512 << 10

// extend writes an extended header (POSIX pax) before an entry's own, with what GNU format has no room for: the part of
// a second of its time, and its attributes by the names of star (SCHILY). It sets the time of the entry to whole seconds.
//
// archive/tar writes such headers too, but would put long names and sizes there, where BusyBox does not look for them.
func (a *archive) extend(e entry, h *tar.Header) error {
	var records strings.Builder
	if ns := h.ModTime.Nanosecond(); ns != 0 {
		addRecord(&records, "mtime", paxTime(h.ModTime))
	}
	h.ModTime = time.Unix(h.ModTime.Unix(), 0)
	var attrs map[string]string
	if h.Typeflag != tar.TypeLink && !e.invented() { // a further name of a file has no attributes of its own
		var err error
		if attrs, err = a.attributes(e); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(attrs)) {
		addRecord(&records, name, attrs[name])
	}
	if records.Len() == 0 {
		return nil
	}
	if err := a.tar.Flush(); err != nil {
		return err
	}
	_, err := a.gz.Write(extendedHeader(records.String()))
	return err
}

// paxTime is a time in decimal seconds, before 1970 too.
func paxTime(t time.Time) string {
	s, ns := t.Unix(), int64(t.Nanosecond())
	sign := ""
	if s < 0 {
		sign, s, ns = "-", -s-1, 1_000_000_000-ns
	}
	return fmt.Sprintf("%s%d.%09d", sign, s, ns)
}

// addRecord appends "LENGTH KEY=VALUE\n", where the length counts itself.
func addRecord(b *strings.Builder, key, value string) {
	rest := len(" ") + len(key) + len("=") + len(value) + len("\n")
	n := rest + len(strconv.Itoa(rest))
	if length := rest + len(strconv.Itoa(n)); length != n {
		n = length
	}
	fmt.Fprintf(b, "%d %s=%s\n", n, key, value)
}

// extendedHeader is a header of type x with its records, padded to whole blocks (tar(5)).
func extendedHeader(records string) []byte {
	const block, sum = 512, 148
	out := make([]byte, block, 2*block+len(records))
	put := func(at int, text string) { copy(out[at:], text) }
	put(0, "././@PaxHeader")
	put(100, "0000644\x00")
	put(108, "0000000\x00")
	put(116, "0000000\x00")
	put(124, fmt.Sprintf("%011o\x00", len(records)))
	put(136, "00000000000\x00")
	put(sum, "        ")
	put(156, "x")
	put(257, "ustar\x0000")
	total := 0
	for _, c := range out {
		total += int(c)
	}
	put(sum, fmt.Sprintf("%06o\x00 ", total))
	out = append(out, records...)
	if over := len(records) % block; over > 0 {
		out = append(out, make([]byte, block-over)...)
	}
	return out
}

// The attributes that hold access control lists (acl(5)).
const (
	aclAccess  = "system.posix_acl_access"
	aclDefault = "system.posix_acl_default"
)

// carried says whether an attribute means something elsewhere: those of programs, lists and capabilities do, the labels
// of security modules and the notes of file systems do not.
func carried(name string) bool {
	return strings.HasPrefix(name, "user.") || name == aclAccess || name == aclDefault || name == "security.capability" ||
		strings.HasPrefix(name, "trusted.") && !strings.HasPrefix(name, "trusted.overlay.")
}

// attributes are the records for the attributes of an entry.
func (a *archive) attributes(e entry) (map[string]string, error) {
	all, err := xattrs(a.r, e.path)
	if err != nil {
		return nil, err
	}
	records, size := map[string]string{}, 0
	for name, value := range all {
		key := "SCHILY.xattr." + name
		switch name {
		case aclAccess:
			key, value = "SCHILY.acl.access", aclText(value)
		case aclDefault:
			key, value = "SCHILY.acl.default", aclText(value)
		}
		if strings.ContainsRune(name, '=') || value == "" && strings.HasPrefix(key, "SCHILY.acl.") {
			continue // it can't be written
		}
		if size += len(key) + len(value); size > maxExtended {
			return nil, fmt.Errorf("archive %s: more than %d KiB of extended attributes", e.path, maxExtended>>10)
		}
		records[key] = value
	}
	return records, nil
}

// xattrs are the attributes of a file that are carried; none when the file is gone.
func xattrs(r host.Reader, name string) (map[string]string, error) {
	all, err := r.Xattrs(name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, nil
	}
	maps.DeleteFunc(all, func(name, _ string) bool { return !carried(name) })
	return all, err
}

// aclText is an access control list in the short text form (acl(5)) with numbers for names; "" when it can't be read.
// The kernel's form is a version, 2, and entries of tag, rights and id (linux/posix_acl_xattr.h).
func aclText(value string) string {
	const version, head, length = 2, 4, 8
	data := []byte(value)
	if len(data) < head || (len(data)-head)%length != 0 || binary.LittleEndian.Uint32(data) != version {
		return ""
	}
	kinds := map[uint16]string{0x01: "user:", 0x02: "user", 0x04: "group:", 0x08: "group", 0x10: "mask:", 0x20: "other:"}
	var lines []string
	for at := head; at < len(data); at += length {
		tag, rights := binary.LittleEndian.Uint16(data[at:]), binary.LittleEndian.Uint16(data[at+2:])
		kind, ok := kinds[tag]
		if !ok {
			return ""
		}
		if !strings.HasSuffix(kind, ":") {
			kind += ":" + strconv.FormatUint(uint64(binary.LittleEndian.Uint32(data[at+4:])), 10)
		}
		text := []byte("---")
		for i, c := range []byte("rwx") {
			if rights&(4>>i) != 0 {
				text[i] = c
			}
		}
		lines = append(lines, kind+":"+string(text))
	}
	return strings.Join(lines, ",")
}
