package backup

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io/fs"
	"path"
	"strings"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/host"
)

// survey is what a walk found: how much goes into which volume, what needs a word, and a digest of everything that
// stat(2) says of every entry. Sources whose digest is the same were not changed.
type survey struct {
	r       host.Reader
	digest  hash.Hash
	volumes []tally
	items   []schema.BackupItem
	// devices and sockets are left out. Of links, outside are kept though they lead out of the volume, followed replaced
	// by what they lead to, and relative changed. holes and attributes are more than the new system's tar restores.
	devices, sockets, outside, followed, relative, holes, attributes nameList
}

// tally counts a volume. bytes are those of its regular files, each inode once.
type tally struct {
	name         string
	files, bytes int64
}

func newSurvey(r host.Reader) *survey { return &survey{r: r, digest: sha256.New()} }

// begin starts the count of an item.
func (s *survey) begin(volume string, from source) {
	it := schema.BackupItem{Volume: volume, Source: from.source, Target: from.target}
	if from.filter != nil {
		it.Filter = from.filter.String()
	}
	s.items = append(s.items, it)
}

// count adds a file to its volume and its item.
func (s *survey) count(bytes int64) {
	t := &s.volumes[len(s.volumes)-1]
	t.files++
	t.bytes += bytes
	if len(s.items) > 0 {
		it := &s.items[len(s.items)-1]
		it.Files++
		it.Bytes += bytes
	}
}

// visit notes one entry.
func (s *survey) visit(e entry) error {
	s.enter(e)
	if e.invented() {
		fmt.Fprintf(s.digest, "%q\n", e.name)
		return nil
	}
	switch mode := e.info.Mode(); {
	case mode&fs.ModeSocket != 0:
		s.sockets.add(e.path)
		return nil
	case mode&fs.ModeDevice != 0:
		s.devices.add(e.path)
		return nil
	case mode.IsRegular() && e.hard == "":
		s.count(e.info.Size())
	case !mode.IsDir():
		s.count(0)
	}
	fmt.Fprintf(s.digest, "%q %q %q %q %o %d %d", e.name, e.path, e.link, e.hard, e.info.Mode(), e.info.Size(), e.info.ModTime().UnixNano())
	if st := stat(e.info); st != nil {
		// The change time also tells of owners and attributes, and of a file replaced by one of the same size and time.
		fmt.Fprintf(s.digest, " %d %d %d %d %d.%d", st.Dev, st.Ino, st.Uid, st.Gid, st.Ctim.Sec, st.Ctim.Nsec)
	}
	fmt.Fprintln(s.digest)
	return s.remark(e)
}

// remark notes what about an entry needs a word.
func (s *survey) remark(e entry) error {
	switch {
	case e.via != "":
		s.followed.add(e.via + " -> " + e.path)
	case e.out:
		s.outside.add(e.path + " -> " + e.link)
	case e.was != "":
		s.relative.add(e.path + " -> " + e.was)
	}
	if st := stat(e.info); st != nil && e.info.Mode().IsRegular() && e.hard == "" {
		if data, ok := sparse(e.info.Size(), st.Blocks); ok {
			s.holes.add(fmt.Sprintf("%s (%s, of which %s are data)", e.path, size(e.info.Size()), size(data)))
		}
	}
	attrs, err := xattrs(s.r, e.path)
	if len(attrs) > 0 {
		s.attributes.add(e.path)
	}
	return err
}

// enter begins the tally of a volume with its first entry.
func (s *survey) enter(e entry) {
	volume, _, _ := strings.Cut(e.name, "/")
	if n := len(s.volumes); n == 0 || s.volumes[n-1].name != volume {
		s.volumes = append(s.volumes, tally{name: volume})
	}
}

// sum is the digest in hex.
func (s *survey) sum() string { return hex.EncodeToString(s.digest.Sum(nil)) }

// bytes is the size of all files.
func (s *survey) bytes() (n int64) {
	for _, t := range s.volumes {
		n += t.bytes
	}
	return n
}

// String says what goes where.
func (s *survey) String() string {
	parts := make([]string, len(s.volumes))
	for i, t := range s.volumes {
		parts[i] = fmt.Sprintf("volume %s: %d files, %s", t.name, t.files, size(t.bytes))
	}
	return strings.Join(parts, "; ")
}

// warn puts what needs a word into the plan.
func (s *survey) warn(plan *steps.Plan) {
	for _, w := range []struct {
		names nameList
		text  string
	}{
		{s.sockets, "sockets are not backed up: "},
		{s.devices, "device nodes are not backed up: "},
		{s.followed, "links lead out of what is backed up, and what they lead to is stored in their place: "},
		{s.relative, "absolute links inside what is backed up are made relative: "},
		{s.outside, "links lead to nothing that can be backed up and are kept as they are: "},
		{s.holes, "sparse files take their full size on the new system: "},
		{s.attributes, "the new system restores no access lists and extended attributes (any tar with --acls --xattrs does); they are on "},
	} {
		if w.names.count > 0 {
			plan.Warn(w.text + w.names.String())
		}
	}
}

// listing is what goes where, an item a line.
func (s *survey) listing() string {
	var b strings.Builder
	for _, it := range s.items {
		fmt.Fprintf(&b, "%s <- %s", path.Join(it.Volume, it.Target), it.Source)
		if it.Filter != "" {
			fmt.Fprintf(&b, " (names that match %s)", it.Filter)
		}
		fmt.Fprintf(&b, ": %d files, %s\n", it.Files, size(it.Bytes))
	}
	return b.String()
}

// nameList remembers the first few names of many.
type nameList struct {
	first []string
	count int
}

func (l *nameList) add(name string) {
	const shown = 8
	if l.count++; l.count <= shown {
		l.first = append(l.first, name)
	}
}

// String lists the names.
func (l nameList) String() string {
	text := strings.Join(l.first, ", ")
	if more := l.count - len(l.first); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// size is a number of bytes for a person.
func size(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d bytes", n)
	}
	value, prefix := float64(n)/unit, 0
	for ; value >= unit && prefix < 4; prefix++ {
		value /= unit
	}
	return fmt.Sprintf("%.1f %ciB", value, "KMGTP"[prefix])
}
