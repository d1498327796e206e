// Package fat reads FAT12, FAT16 and FAT32 file systems with long names, in user space and without a mount: the
// kernel that runs may have no vfat, and the file system may lie inside a compressed image.
//
// [FS] is an [io/fs.FS]. Names are matched regardless of case, and short names match too. Nothing on the disk is
// trusted: chains that loop, clusters out of range and directories without end are errors.
// Format: Microsoft, FAT32 File System Specification 1.03.
package fat

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// ErrFormat is wrapped by the error of Open for something that is not a FAT file system.
var ErrFormat = errors.New("not a FAT file system")

// ErrDamaged is wrapped by every error about what is on the disk. Errors of the reader don't wrap it.
var ErrDamaged = errors.New("FAT file system is damaged")

// FS is an open file system. It is safe for concurrent use if its reader is.
type FS struct {
	r        io.ReaderAt
	geometry geometry
}

// geometry is the boot sector, worked out. Offsets and sizes are in bytes.
type geometry struct {
	bits        int // 12, 16 or 32
	clusterSize int64
	clusters    uint32 // how many there are; they count from 2
	fat         int64  // offset of the FAT in use
	fatSize     int64
	root        int64 // offset and size of the root directory of FAT12 and FAT16
	rootSize    int64
	rootCluster uint32 // of FAT32
	data        int64  // offset of cluster 2
	size        int64
	id          uint32
	hasID       bool
	sectorLabel string
}

// Open reads the boot sector of the file system in r, which has size bytes. Something else gives ErrFormat, a file
// system that is longer ErrDamaged.
func Open(r io.ReaderAt, size int64) (*FS, error) {
	sector := make([]byte, 512)
	if n, err := r.ReadAt(sector, 0); n < len(sector) && err == io.EOF {
		return nil, fmt.Errorf("%w: %d bytes", ErrFormat, n)
	} else if n < len(sector) {
		return nil, fmt.Errorf("boot sector: %w", err)
	}
	g, err := parseBootSector(sector)
	if err != nil {
		return nil, err
	}
	if g.size > size {
		return nil, fmt.Errorf("%w: FAT%d of %d bytes is truncated to %d", ErrDamaged, g.bits, g.size, size)
	}
	return &FS{r: r, geometry: g}, nil
}

// Bits is 12, 16 or 32.
func (f *FS) Bits() int { return f.geometry.bits }

// ID is the volume's serial number, and whether it has one.
func (f *FS) ID() (uint32, bool) { return f.geometry.id, f.geometry.hasID }

// Label is the volume label: that of the root directory, else that of the boot sector. "NO NAME" is no label.
func (f *FS) Label() (string, error) {
	label := f.geometry.sectorLabel
	err := f.scan(f.rootDir(), func(e rawEntry) bool {
		if e[0] != entryDeleted && e.volumeLabel() {
			label = oemString(e[:11])
			return false
		}
		return true
	})
	if label = strings.TrimRight(label, " \x00"); label == "NO NAME" {
		label = ""
	}
	return label, err
}

// layout is the BIOS parameter block as it stands there.
type layout struct {
	sector, perCluster, reserved, fats int64
	rootEntries, total, fatSectors     int64
}

func parseLayout(b []byte) layout {
	l := layout{
		sector:      int64(binary.LittleEndian.Uint16(b[11:])),
		perCluster:  int64(b[13]),
		reserved:    int64(binary.LittleEndian.Uint16(b[14:])),
		fats:        int64(b[16]),
		rootEntries: int64(binary.LittleEndian.Uint16(b[17:])),
		total:       int64(binary.LittleEndian.Uint16(b[19:])),
		fatSectors:  int64(binary.LittleEndian.Uint16(b[22:])),
	}
	if l.total == 0 {
		l.total = int64(binary.LittleEndian.Uint32(b[32:]))
	}
	if l.fatSectors == 0 {
		l.fatSectors = int64(binary.LittleEndian.Uint32(b[36:]))
	}
	return l
}

func (l layout) check() error {
	switch {
	case l.sector != 512 && l.sector != 1024 && l.sector != 2048 && l.sector != 4096:
		return fmt.Errorf("%w: sector size %d", ErrFormat, l.sector)
	case l.perCluster == 0 || l.perCluster&(l.perCluster-1) != 0:
		return fmt.Errorf("%w: %d sectors per cluster", ErrFormat, l.perCluster)
	case l.reserved == 0 || l.fats == 0 || l.fatSectors == 0:
		return fmt.Errorf("%w: %d reserved sectors, %d FATs of %d sectors", ErrFormat, l.reserved, l.fats, l.fatSectors)
	case l.dataSector() >= l.total:
		return fmt.Errorf("%w: data at sector %d of %d", ErrFormat, l.dataSector(), l.total)
	}
	return nil
}

func (l layout) rootSectors() int64 { return (l.rootEntries*entrySize + l.sector - 1) / l.sector }

func (l layout) dataSector() int64 { return l.reserved + l.fats*l.fatSectors + l.rootSectors() }

// parseBootSector checks what the kernel checks (fs/fat/inode.c). The type follows from the number of clusters, and
// FAT32 from the 16-bit size of the FAT being 0; the text "FAT16" in the boot sector means nothing.
func parseBootSector(b []byte) (geometry, error) {
	l := parseLayout(b)
	// The kernel doesn't ask for 55aa, but reads the media byte.
	if media := b[21]; media < 0xf8 && media != 0xf0 {
		return geometry{}, fmt.Errorf("%w: media byte %#02x", ErrFormat, media)
	}
	if err := l.check(); err != nil {
		return geometry{}, err
	}
	g := geometry{
		bits:        16,
		clusterSize: l.perCluster * l.sector,
		clusters:    uint32((l.total - l.dataSector()) / l.perCluster),
		fat:         l.reserved * l.sector,
		fatSize:     l.fatSectors * l.sector,
		root:        (l.reserved + l.fats*l.fatSectors) * l.sector,
		rootSize:    l.rootEntries * entrySize,
		data:        l.dataSector() * l.sector,
		size:        l.total * l.sector,
	}
	if g.clusters == 0 {
		return g, fmt.Errorf("%w: no cluster", ErrFormat)
	}
	switch {
	case binary.LittleEndian.Uint16(b[22:]) == 0:
		g.bits = 32
		g.readExtended(b, 66)
		return g, g.fat32(b, l)
	case g.clusters < 4085:
		g.bits = 12
	}
	g.readExtended(b, 38)
	return g, g.limitToFAT()
}

func (g *geometry) fat32(b []byte, l layout) error {
	g.rootCluster = binary.LittleEndian.Uint32(b[44:])
	g.rootSize = 0
	// Flags: with bit 7 set only one FAT is kept up to date, the one named by the low bits.
	if flags := binary.LittleEndian.Uint16(b[40:]); flags&0x80 != 0 {
		active := int64(flags & 0xf)
		if active >= l.fats {
			return fmt.Errorf("%w: FAT %d of %d is in use", ErrFormat, active, l.fats)
		}
		g.fat += active * g.fatSize
	}
	return g.limitToFAT()
}

// limitToFAT lets no cluster count that the FAT has no entry for, as the kernel does.
func (g *geometry) limitToFAT() error {
	entries := g.fatSize * 8 / int64(g.bits)
	if entries <= 2 {
		return fmt.Errorf("%w: FAT of %d bytes", ErrFormat, g.fatSize)
	}
	limit := map[int]int64{12: 0xff4, 16: 0xfff4, 32: 0xffffff4}[g.bits]
	g.clusters = uint32(min(int64(g.clusters), entries-2, limit))
	return nil
}

// readExtended reads serial number and label where the extended boot signature at b[at] says that they are there.
func (g *geometry) readExtended(b []byte, at int) {
	if sig := b[at]; sig == 0x28 || sig == 0x29 {
		g.id, g.hasID = binary.LittleEndian.Uint32(b[at+1:]), true
		if sig == 0x29 {
			g.sectorLabel = oemString(bytes.TrimRight(b[at+5:at+16], " \x00"))
		}
	}
}

// readFull reads all of p. A file system that is cut is damaged, not unreadable.
func (f *FS) readFull(p []byte, off int64) error {
	n, err := f.r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: it ends before offset %d", ErrDamaged, off+int64(len(p)))
	}
	return fmt.Errorf("FAT file system at offset %d: %w", off, err)
}
