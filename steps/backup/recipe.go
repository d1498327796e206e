package backup

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/host"
)

// recipe is what an archive was made by: a digest of what was asked for, the survey's digest of the sources, and the
// process that made it.
//
// The sources of a running system never stand still, and no archive is newer than the moment it was made. So the
// process that just made one takes it as it is, whatever happened to the sources since; any later process makes it
// anew when they changed.
type recipe struct{ asked, sources, maker string }

// String is the form kept in a stamp.
func (r recipe) String() string { return r.asked + "/" + r.sources + "/" + r.maker }

func parseRecipe(text string) recipe {
	asked, rest, _ := strings.Cut(text, "/")
	sources, maker, _ := strings.Cut(rest, "/")
	return recipe{asked: asked, sources: sources, maker: maker}
}

// accepts says whether an archive made by another recipe is what this one wants.
func (r recipe) accepts(made recipe) bool {
	return r.asked == made.asked && (r.sources == made.sources || r.maker != "" && r.maker == made.maker)
}

// ask is the digest of what was asked for. format changes with the archives that this program makes.
func ask(kind string, content string, volumes []string) string {
	const format = "backup/2"
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %s %q %q", format, kind, content, volumes))
	return hex.EncodeToString(sum[:])
}

// maker identifies the running process: its id, when it started (proc_pid_stat(5), field 22), and the boot. Below a
// root without /proc it is unknown, "".
func maker(r host.Reader) string {
	data, err := r.ReadFile("/proc/self/stat")
	if err != nil {
		return ""
	}
	text := string(data)
	pid, _, _ := strings.Cut(text, " ")
	after := strings.Fields(text[strings.LastIndexByte(text, ')')+1:]) // the name before it may hold anything
	const start = 22 - 3
	if len(after) <= start {
		return ""
	}
	boot, err := r.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return pid + "@" + after[start] + "@" + strings.TrimSpace(string(boot))
}

// upToDate returns the stamp of the archive in the work dir when that archive is what is wanted.
func upToDate(v steps.View, want recipe) *schema.Stamp {
	s := steps.LoadStamp(v.Files, path.Join(v.WorkDir, stampName))
	if s == nil || len(s.Files) == 0 || s.Facts.Backup == nil || !want.accepts(parseRecipe(s.Recipe)) {
		return nil
	}
	product := schema.Stamp{Recipe: s.Recipe, Files: s.Files[len(s.Files)-1:]}
	file := path.Join(v.WorkDir, archiveName)
	if product.Files[0].Path != file || !steps.Fresh(v.Files, &product, s.Recipe) {
		return nil
	}
	if info, err := v.Files.Stat(file); err != nil || info.Mode().Perm() != archiveMode {
		return nil
	}
	return s
}

// product is an archive that was just made.
type product struct {
	sha256  string
	volumes []string
	files   int64
	items   []schema.BackupItem
	// moved are files that changed or vanished while they were read.
	moved []string
}

// store gives the archive its name when write has written all of it, and not before. It is the one place where an
// archive comes into being.
func store(t steps.Target, workDir string, write func(io.Writer) (product, error)) (product, error) {
	if err := t.Files.MkdirAll(workDir, 0o700); err != nil {
		return product{}, err
	}
	out, err := t.Files.Create(path.Join(workDir, archiveName), archiveMode)
	if err != nil {
		return product{}, err
	}
	defer out.Discard()
	sum := sha256.New()
	p, err := write(io.MultiWriter(out, sum))
	if err != nil {
		return product{}, err
	}
	p.sha256 = hex.EncodeToString(sum.Sum(nil))
	return p, out.Commit()
}

// record leaves the stamp, the last thing a change does.
func record(h host.Host, workDir string, made recipe, p product) error {
	file := path.Join(workDir, archiveName)
	look, err := steps.Look(h, file)
	if err != nil {
		return err
	}
	look.SHA256 = p.sha256
	s := &schema.Stamp{Recipe: made.String()}
	for _, name := range p.moved {
		// Nothing but the name is known for sure of a file that was never read whole in one state.
		s.Files = append(s.Files, schema.FileStamp{Path: name, SHA256: strings.Repeat("0", 2*sha256.Size)})
	}
	s.Files = append(s.Files, look)
	s.Facts.Backup = &schema.BackupFacts{Path: file, Size: look.Size, SHA256: p.sha256, Volumes: p.volumes, Files: p.files, Items: p.items}
	return steps.SaveStamp(h, path.Join(workDir, stampName), s)
}
