package efivar

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/balena-community/balena-migrate/stage2/parttable"
)

// Partitions are those of a table as the firmware names them. An MBR's logical partitions are not among them: firmware
// does not see them.
func Partitions(t *parttable.Table) ([]HardDrive, error) {
	var out []HardDrive
	for _, p := range t.Partitions {
		if p.Extended || t.Kind == parttable.MBR && p.Number > 4 {
			continue
		}
		d := HardDrive{
			Number: uint32(p.Number), Start: uint64(p.Start / t.SectorSize), Size: uint64(p.Size / t.SectorSize), GPT: t.Kind == parttable.GPT,
		}
		var err error
		if d.Signature, err = signature(t, p); err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	return out, nil
}

// signature undoes the texts of the table: a GUID's first three groups, and an MBR's signature, are little-endian.
func signature(t *parttable.Table, p parttable.Partition) ([16]byte, error) {
	var out [16]byte
	text, size := t.ID, 4
	if t.Kind == parttable.GPT {
		text, size = strings.ReplaceAll(p.ID, "-", ""), 16
	}
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != size {
		return out, fmt.Errorf("partition %d: found the signature %q, expected %d bytes in hex", p.Number, text, size)
	}
	copy(out[:], b)
	binary.LittleEndian.PutUint32(out[0:], binary.BigEndian.Uint32(b))
	if size == 16 {
		binary.LittleEndian.PutUint16(out[4:], binary.BigEndian.Uint16(b[4:]))
		binary.LittleEndian.PutUint16(out[6:], binary.BigEndian.Uint16(b[6:]))
	}
	return out, nil
}
