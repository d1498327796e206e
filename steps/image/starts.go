package image

import (
	"io"
	"slices"
	"strings"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/bootcode"
	"github.com/balena-community/balena-migrate/stage2/fat"
	"github.com/balena-community/balena-migrate/stage2/parttable"
)

// starts looks for what firmware starts the image by (E28): the programs of EFI, the boot code of a BIOS and the room for
// GRUB's core.img behind it, and what that is to find.
func (s survey) starts(found findings) (*schema.StartFacts, error) {
	out := &schema.StartFacts{Loaders: []string{}}
	first := make([]byte, 512)
	if _, err := s.r.ReadAt(first, 0); err != nil {
		return nil, err
	}
	out.BootCode = bootcode.Present(first)
	out.Gap, _ = bootcode.Gap(&parttable.Table{Kind: found.table, Partitions: found.parts})
	for _, p := range found.parts {
		files, err := fat.Open(io.NewSectionReader(s.r, p.Start, p.Size), p.Size)
		if p.Extended || err != nil {
			continue
		}
		label, err := files.Label()
		if err != nil || !slices.Contains(bootNames(), label) && !slices.Contains(bootNames(), p.Name) {
			continue
		}
		entries, _ := files.ReadDir("EFI/BOOT") // an image for other firmware has none
		for _, e := range entries {
			if name := strings.ToLower(e.Name()); strings.HasSuffix(name, ".efi") && !e.IsDir() {
				out.Loaders = append(out.Loaders, name)
			}
		}
		_, err = files.Stat("grub/grub.cfg")
		out.GrubCfg = err == nil
		_, err = files.Stat("vmlinuz")
		out.Kernel = err == nil
	}
	slices.Sort(out.Loaders)
	return out, s.r.err
}
