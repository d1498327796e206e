package backup

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io/fs"
	"strings"

	"github.com/balena-community/balena-migrate/steps"
)

// survey is what a walk found: how much goes into which volume, what needs a word, and a digest of everything that
// stat(2) says of every entry. Sources whose digest is the same were not changed.
type survey struct {
	digest  hash.Hash
	volumes []tally
	// devices, sockets and outside are left out, left out, and kept though they lead out of the volume.
	devices, sockets, outside nameList
}

// tally counts a volume. bytes are those of its regular files, each inode once.
type tally struct {
	name         string
	files, bytes int64
}

func newSurvey() *survey { return &survey{digest: sha256.New()} }

// visit notes one entry.
func (s *survey) visit(e entry) error {
	s.enter(e)
	if e.invented() {
		fmt.Fprintf(s.digest, "%q\n", e.name)
		return nil
	}
	t := &s.volumes[len(s.volumes)-1]
	switch mode := e.info.Mode(); {
	case mode&fs.ModeSocket != 0:
		s.sockets.add(e.path)
		return nil
	case mode&fs.ModeDevice != 0:
		s.devices.add(e.path)
		return nil
	case mode.IsRegular() && e.hard == "":
		t.bytes += e.info.Size()
		t.files++
	case !mode.IsDir():
		t.files++
	}
	if e.out {
		s.outside.add(e.path + " -> " + e.link)
	}
	fmt.Fprintf(s.digest, "%q %q %q %q %o %d %d", e.name, e.path, e.link, e.hard, e.info.Mode(), e.info.Size(), e.info.ModTime().UnixNano())
	if st := stat(e.info); st != nil {
		// The change time also tells of owners, and of a file replaced by one of the same size and time.
		fmt.Fprintf(s.digest, " %d %d %d %d %d.%d", st.Dev, st.Ino, st.Uid, st.Gid, st.Ctim.Sec, st.Ctim.Nsec)
	}
	fmt.Fprintln(s.digest)
	return nil
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
		{s.outside, "links lead out of what is backed up and are kept as they are: "},
	} {
		if w.names.count > 0 {
			plan.Warn(w.text + w.names.String())
		}
	}
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
