package image

import (
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/ext4"
	"github.com/balena-community/balena-migrate/stage2/fsprobe"
	"github.com/balena-community/balena-migrate/stage2/parttable"
)

// rootNames are the names of the root partition, as label or as GPT partition name (E20, E23).
func rootNames() []string { return []string{"resin-rootA", "balena-rootA"} }

// truth adds what only an image tells that can be read anywhere: its partitions, and the version of the system in it.
func (s survey) truth(found findings, f *schema.ImageFacts) error {
	f.OSVersion = found.version
	for _, p := range found.parts {
		note := schema.PartitionFacts{Number: p.Number, Name: p.Name, Start: p.Start, Size: p.Size}
		if !p.Extended {
			section := io.NewSectionReader(s.r, p.Start, p.Size)
			if info, err := fsprobe.Probe(section); err == nil {
				note.Label, note.FS = info.Label, info.Type
			}
			if f.OSVersion == "" && (slices.Contains(rootNames(), note.Label) || slices.Contains(rootNames(), p.Name)) {
				f.OSVersion = rootVersion(section, p)
			}
		}
		f.Partitions = append(f.Partitions, note)
	}
	var err error
	f.Starts, err = s.starts(found)
	return err
}

// osReleases are where os-release(5) lies in a root file system: where every Linux has it, or in the one layer of
// balenaOS's container engine that is the host's (glob patterns).
func osReleases() []string {
	return []string{"etc/os-release", "usr/lib/os-release", "balena/overlay2/*/diff/etc/os-release", "balena/aufs/diff/*/etc/os-release"}
}

// rootVersion reads the version from a root file system; one that can't be read here does not say.
func rootVersion(section *io.SectionReader, p parttable.Partition) string {
	root, err := ext4.Open(section, p.Size)
	if err != nil {
		return ""
	}
	for _, pattern := range osReleases() {
		names, err := fs.Glob(root, pattern)
		if err != nil {
			continue
		}
		for _, name := range names {
			if version := readVersion(root, name); version != "" {
				return version
			}
		}
	}
	return ""
}

// readVersion is the version in an os-release file, empty if there is none.
func readVersion(files fs.FS, name string) string {
	data, err := readSmall(files, name)
	if err != nil {
		return ""
	}
	return osVersion(string(data))
}

// osVersion is VERSION_ID of an os-release(5), or VERSION, which older releases have alone.
func osVersion(text string) string {
	values := map[string]string{}
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if ok {
			values[key] = strings.Trim(value, `"'`)
		}
	}
	if v := values["VERSION_ID"]; v != "" {
		return v
	}
	return values["VERSION"]
}
