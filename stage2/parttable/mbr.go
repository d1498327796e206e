package parttable

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Types and status of MBR entries.
const (
	typeProtective = 0xee // a GPT lies behind
	statusActive   = 0x80

	mbrSector = 512
	// firstLogical is the number of the first logical partition, however many primary ones there are.
	firstLogical = 5
	// maxLinks is how many extended boot records are followed; the kernel follows 100.
	maxLinks = 256
)

// mbrEntry is one of the four entries of a boot record, start and size in sectors.
type mbrEntry struct {
	status, kind byte
	start, size  int64
}

func (e mbrEntry) used() bool { return e.kind != 0 && e.size != 0 }

// extended are the types that Linux follows: CHS, LBA, and Linux's own.
func (e mbrEntry) extended() bool { return e.kind == 0x05 || e.kind == 0x0f || e.kind == 0x85 }

func mbrEntries(sector []byte) []mbrEntry {
	entries := make([]mbrEntry, 4)
	for i := range entries {
		b := sector[446+16*i:]
		entries[i] = mbrEntry{status: b[0], kind: b[4], start: int64(binary.LittleEndian.Uint32(b[8:])), size: int64(binary.LittleEndian.Uint32(b[12:]))}
	}
	return entries
}

// partition makes the entry a partition, its start being relative to the sector base.
func (e mbrEntry) partition(number int, base int64) Partition {
	return Partition{
		Number:   number,
		Type:     fmt.Sprintf("%02x", e.kind),
		Start:    (base + e.start) * mbrSector,
		Size:     e.size * mbrSector,
		Bootable: e.status == statusActive,
		Extended: e.extended(),
	}
}

func readMBR(r io.ReaderAt, size int64, sector []byte) (*Table, error) {
	t := &Table{Kind: MBR, ID: fmt.Sprintf("%08x", binary.LittleEndian.Uint32(sector[440:])), SectorSize: mbrSector, End: bootSector}
	var logical []Partition
	for i, e := range mbrEntries(sector) {
		if !e.used() {
			continue
		}
		p := e.partition(i+1, 0)
		if p.Start == 0 {
			return nil, fmt.Errorf("partition %d begins at the partition table itself", p.Number)
		}
		t.Partitions = append(t.Partitions, p)
		t.End = max(t.End, p.End())
		if !p.Extended {
			continue
		}
		chain := &chain{r: r, size: size, within: p, next: firstLogical + len(logical)}
		parts, err := chain.read()
		if err != nil {
			return nil, fmt.Errorf("logical partitions in partition %d: %w", p.Number, err)
		}
		logical = append(logical, parts...)
	}
	if err := checkOverlap(t.Partitions); err != nil {
		return nil, err
	}
	if err := checkOverlap(logical); err != nil {
		return nil, err
	}
	t.Partitions = append(t.Partitions, logical...)
	return t, nil
}

// chain is the linked list of extended boot records within one extended partition.
type chain struct {
	r      io.ReaderAt
	size   int64
	within Partition
	next   int // number of the next partition found
	parts  []Partition
	seen   map[int64]bool
}

// read follows the chain. Each record holds a partition relative to the record, and a link relative to the
// extended partition.
func (c *chain) read() ([]Partition, error) {
	c.seen = map[int64]bool{}
	base := c.within.Start / mbrSector
	for at := base; ; {
		link, err := c.record(at)
		if err != nil || !link.used() {
			return c.parts, err
		}
		at = base + link.start
	}
}

// record reads the boot record in sector at, keeps its partition and returns its link.
func (c *chain) record(at int64) (mbrEntry, error) {
	off := at * mbrSector
	switch {
	case c.seen[at]:
		return mbrEntry{}, fmt.Errorf("boot record at offset %d is linked twice", off)
	case len(c.seen) == maxLinks:
		return mbrEntry{}, fmt.Errorf("more than %d boot records", maxLinks)
	case off >= c.within.End():
		return mbrEntry{}, fmt.Errorf("boot record at offset %d, beyond the extended partition's end at %d", off, c.within.End())
	case off > c.size-mbrSector:
		return mbrEntry{}, fmt.Errorf("boot record at offset %d, beyond the end at %d", off, c.size)
	}
	c.seen[at] = true
	sector, err := readAt(c.r, off, mbrSector)
	if err != nil {
		return mbrEntry{}, err
	}
	if sector[510] != 0x55 || sector[511] != 0xaa {
		return mbrEntry{}, fmt.Errorf("boot record at offset %d ends with %x, want 55aa", off, sector[510:])
	}
	return c.entries(at, mbrEntries(sector)[:2])
}

// entries sorts out the partition and the link, which may come in either order.
func (c *chain) entries(at int64, entries []mbrEntry) (link mbrEntry, err error) {
	for _, e := range entries {
		if !e.used() {
			continue
		}
		if e.extended() {
			link = e
			continue
		}
		p := e.partition(c.next, at)
		if p.End() > c.within.End() || e.start == 0 {
			return link, fmt.Errorf("partition %d has bytes %d to %d, want it between its boot record at %d and %d",
				p.Number, p.Start, p.End(), at*mbrSector, c.within.End())
		}
		c.parts = append(c.parts, p)
		c.next++
	}
	return link, nil
}
