package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/host"
)

// maxDefinition is the largest definition that is read, in bytes.
const maxDefinition = 1 << 20

// planDefinition compares the archive with the sources that the definition names.
func planDefinition(ctx context.Context, v steps.View, plan *steps.Plan) error {
	file := v.Config.Backup.Definition
	data, bad, err := readDefinition(v.Files, file)
	if err != nil {
		return err
	}
	if bad != nil {
		block(plan, file, *bad)
		return nil
	}
	volumes, problems := parseDefinition(data)
	own, err := ownPath(v.Device, v.Files, v.WorkDir)
	if err != nil {
		return err
	}
	found, more, err := resolve(v.Device, usable(volumes), own)
	if err != nil {
		return err
	}
	problems = append(append(problems, strangers(volumes, v.Config.Backup.Volumes)...), more...)
	if len(problems) > 0 {
		block(plan, file, problems...)
		return nil
	}
	p := pack{found: found, own: own, workDir: v.WorkDir}
	seen := newSurvey(v.Device)
	unmatched, err := p.walk(ctx, v.Device, seen, seen.visit)
	if meet := (*collision)(nil); errors.As(err, &meet) {
		block(plan, file, problem{
			at: meet.at, got: "a file for " + meet.name + ", where another item already puts one", want: "one file for each name",
			remedy: "give the item another target",
		})
		return nil
	}
	if err != nil {
		return err
	}
	for _, it := range unmatched {
		plan.Warn(fmt.Sprintf("%s: the filter %s matches nothing in %s", it.at.in(file), it.filter, it.source))
	}
	seen.warn(plan)
	want := recipe{asked: ask("definition", string(data), v.Config.Backup.Volumes), sources: seen.sum(), maker: maker(v.Device)}
	if s := upToDate(v, want); s != nil {
		settle(plan, s)
		return nil
	}
	p.recipe, p.text, p.listing, p.total = want, seen.String(), seen.listing(), seen.bytes()
	warnSpace(v, plan, p.total)
	plan.Add(p)
	return nil
}

// readDefinition reads the definition file.
func readDefinition(r host.Reader, file string) ([]byte, *problem, error) {
	info, err := r.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, &problem{got: "no such file", want: "the definition that backup.definition names", remedy: "correct the path"}, nil
	case err != nil:
		return nil, nil, err
	case !info.Mode().IsRegular() || info.Size() > maxDefinition:
		return nil, &problem{
			got: fmt.Sprintf("%s, %s", info.Mode(), size(info.Size())), want: "a YAML file of at most 1 MiB", remedy: "correct the path",
		}, nil
	}
	data, err := r.ReadFile(file)
	return data, nil, err
}

// usable leaves out items that the parser found no path in.
func usable(volumes []volume) []volume {
	out := make([]volume, len(volumes))
	for i, v := range volumes {
		out[i] = volume{name: v.name, at: v.at}
		for _, it := range v.items {
			if path.IsAbs(it.source) {
				out[i].items = append(out[i].items, it)
			}
		}
	}
	return out
}

// strangers are the volumes that the release does not have (E19).
func strangers(volumes []volume, allowed []string) []problem {
	var problems []problem
	for _, v := range volumes {
		if volumeName.MatchString(v.name) && !known(v.name, allowed) {
			problems = append(problems, problem{
				at: v.at, got: fmt.Sprintf("the volume %q", v.name), want: volumeWant(allowed),
				remedy: "correct the name; the new system would try forever to restore a volume that its release does not have",
			})
		}
	}
	return problems
}

// block turns problems into blockers that name the place in the file.
func block(plan *steps.Plan, file string, problems ...problem) {
	for _, p := range problems {
		plan.Block(check, p.at.in(file)+": "+p.got, p.want, p.remedy)
	}
}

// in is the place in the usual form.
func (p position) in(file string) string {
	if p.line == 0 {
		return file
	}
	return fmt.Sprintf("%s:%d:%d", file, p.line, p.column)
}

// warnSpace compares the size of the sources with the room for the archive, which may well be smaller than they are.
func warnSpace(v steps.View, plan *steps.Plan, need int64) {
	for dir := v.WorkDir; ; dir = path.Dir(dir) {
		space, err := v.Files.Space(dir)
		if errors.Is(err, fs.ErrNotExist) && dir != "/" {
			continue
		}
		if err == nil && space.Free < need {
			plan.Warn(fmt.Sprintf("%s are to be backed up, and %s has %s of room: it fits only if it compresses well", size(need), dir, size(space.Free)))
		}
		return
	}
}

// pack makes the archive.
type pack struct {
	found   []contents
	own     string
	workDir string
	recipe  recipe
	text    string
	listing string
	total   int64
}

// walk visits everything that is to go into the archive, and returns the items whose filter matched nothing.
func (c pack) walk(ctx context.Context, r host.Reader, seen *survey, visit func(entry) error) ([]item, error) {
	w := walker{r: r, own: c.own, visit: visit, begin: seen.begin}
	err := w.walk(ctx, c.found)
	return w.unmatched, err
}

// Note implements steps.Change.
func (c pack) Note() schema.ChangeNote {
	return schema.ChangeNote{Action: "back up", Target: path.Join(c.workDir, archiveName) + " (" + c.text + ")"}
}

// Diff implements steps.Differ: what would go where, and how much it is.
func (c pack) Diff() schema.Diff {
	return schema.Diff{BeforeHeader: "(nothing)", AfterHeader: path.Join(c.workDir, archiveName), After: c.listing}
}

// Apply implements steps.Change.
func (c pack) Apply(ctx context.Context, t steps.Target) error {
	var made recipe
	p, err := store(t, c.workDir, func(w io.Writer) (product, error) {
		seen, a, err := c.write(ctx, t, w)
		if err != nil {
			return product{}, err
		}
		made = recipe{asked: c.recipe.asked, sources: seen.sum(), maker: maker(t.Device)}
		p := product{files: a.files, moved: a.moved, items: seen.items}
		for _, v := range seen.volumes {
			p.volumes = append(p.volumes, v.name)
		}
		return p, nil
	})
	if err != nil {
		return err
	}
	return record(t.Files, c.workDir, made, p)
}

// write walks once more, this time with the archive behind it. The survey of this walk is what the archive was made
// of, whatever the plan saw.
func (c pack) write(ctx context.Context, t steps.Target, w io.Writer) (*survey, *archive, error) {
	done := int64(0)
	a, err := newArchive(t.Device, w, func(n int64) {
		done += n
		if t.Progress != nil {
			t.Progress(archiveName, done, max(done, c.total))
		}
	})
	if err != nil {
		return nil, nil, err
	}
	seen := newSurvey(t.Device)
	_, err = c.walk(ctx, t.Device, seen, func(e entry) error {
		if err := seen.visit(e); err != nil {
			return err
		}
		return a.add(ctx, e)
	})
	if err == nil {
		err = a.close(ctx)
	}
	if err != nil {
		a.abandon() // the file is discarded
		return nil, nil, err
	}
	return seen, a, nil
}
