package efivar

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"unicode/utf16"
)

// active is LOAD_OPTION_ACTIVE: the firmware tries it by itself (UEFI 2.10, 3.1.3).
const active = 1

// Types of device path nodes (UEFI 2.10, 10.3).
const (
	typeMedia    = 4
	subHardDrive = 1
	subFile      = 4
	typeEnd      = 0x7f
	subEnd       = 0xff
	nodeHeader   = 4
)

// Option is an EFI_LOAD_OPTION (UEFI 2.10, 3.1.3). Its device path is kept as bytes: what is not ours is never rewritten.
type Option struct {
	Attributes  uint32
	Description string
	Path        []byte
	Data        []byte
}

// HardDrive is the node of a partition (UEFI 2.10, 10.3.5.1). Start and Size are in logical blocks. Signature is the
// partition's GUID as it lies on a GPT, or the disk signature of an MBR in its first four bytes.
type HardDrive struct {
	Number      uint32
	Start, Size uint64
	Signature   [16]byte
	GPT         bool
}

// Same says whether two nodes mean one partition: by GUID, or by disk signature and place.
func (d HardDrive) Same(o HardDrive) bool {
	return d.GPT == o.GPT && d.Signature == o.Signature && (d.GPT || d.Start == o.Start)
}

// New returns the option that starts a file of a partition, in the short form that the firmware finds on any controller.
func New(description string, part HardDrive, file string) Option {
	b := binary.LittleEndian.AppendUint32(nil, part.Number)
	b = binary.LittleEndian.AppendUint64(b, part.Start)
	b = binary.LittleEndian.AppendUint64(b, part.Size)
	b = append(b, part.Signature[:]...)
	format := byte(1) // of the table, and the kind of signature: 1 is MBR, 2 GPT and GUID
	if part.GPT {
		format = 2
	}
	b = append(b, format, format)
	nodes := node(typeMedia, subHardDrive, b)
	nodes = append(nodes, node(typeMedia, subFile, text(file))...)
	return Option{Attributes: active, Description: description, Path: append(nodes, node(typeEnd, subEnd, nil)...)}
}

func node(kind, sub byte, body []byte) []byte {
	b := binary.LittleEndian.AppendUint16([]byte{kind, sub}, uint16(nodeHeader+len(body)))
	return append(b, body...)
}

// text is UCS-2 with a NUL at its end.
func text(s string) []byte {
	var b []byte
	for _, c := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, c)
	}
	return append(b, 0, 0)
}

// Bytes is the variable's value.
func (o Option) Bytes() []byte {
	b := binary.LittleEndian.AppendUint32(nil, o.Attributes)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(o.Path)))
	return slices.Concat(b, text(o.Description), o.Path, o.Data)
}

// Parse reads a variable's value.
func Parse(data []byte) (Option, error) {
	if len(data) < 8 {
		return Option{}, fmt.Errorf("load option: %d bytes, expected at least 8", len(data))
	}
	o := Option{Attributes: binary.LittleEndian.Uint32(data)}
	length := int(binary.LittleEndian.Uint16(data[4:]))
	var name []uint16
	rest := data[6:]
	for {
		if len(rest) < 2 {
			return Option{}, errors.New("load option: the description does not end")
		}
		c := binary.LittleEndian.Uint16(rest)
		rest = rest[2:]
		if c == 0 {
			break
		}
		name = append(name, c)
	}
	if length > len(rest) {
		return Option{}, fmt.Errorf("load option: a device path of %d bytes, there are %d", length, len(rest))
	}
	o.Description, o.Path, o.Data = string(utf16.Decode(name)), rest[:length], rest[length:]
	return o, nil
}

// HardDrive returns the partition that an option starts from; false when it names none, as for a network card.
func (o Option) HardDrive() (HardDrive, bool) {
	const body = 38
	for rest := o.Path; len(rest) >= nodeHeader; {
		kind, sub, n := rest[0], rest[1], int(binary.LittleEndian.Uint16(rest[2:]))
		if n < nodeHeader || n > len(rest) || kind == typeEnd {
			break
		}
		if b := rest[nodeHeader:n]; kind == typeMedia && sub == subHardDrive && len(b) == body {
			d := HardDrive{
				Number: binary.LittleEndian.Uint32(b), Start: binary.LittleEndian.Uint64(b[4:]), Size: binary.LittleEndian.Uint64(b[12:]),
				GPT: b[37] == 2,
			}
			copy(d.Signature[:], b[20:36])
			return d, true
		}
		rest = rest[n:]
	}
	return HardDrive{}, false
}
