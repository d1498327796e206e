package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/host"
)

// planScript runs the operator's program when it has not made the archive yet, or is another one than did. What it
// reads is its own business, so a change there is not seen.
func planScript(ctx context.Context, v steps.View, plan *steps.Plan) error {
	file := v.Config.Backup.Script
	info, err := v.Files.Stat(file)
	const want = "an executable file"
	switch {
	case errors.Is(err, fs.ErrNotExist):
		plan.Block(check, file+": no such file", want, "correct backup.script")
		return nil
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		plan.Block(check, fmt.Sprintf("%s: %s", file, info.Mode().Type()), want, "correct backup.script")
		return nil
	case info.Mode().Perm()&0o111 == 0:
		plan.Block(check, file+": a file that is not executable", want, "chmod +x "+file)
		return nil
	}
	digest, err := steps.Digest(ctx, v.Files, file)
	if err != nil {
		return err
	}
	volumes := v.Config.Backup.Volumes
	asked := recipe{asked: ask("script", file+" "+digest.SHA256, volumes)}
	if s := upToDate(v, asked); s != nil {
		settle(plan, s)
		return nil
	}
	plan.Add(runScript{script: file, workDir: v.WorkDir, recipe: asked, allowed: volumes})
	return nil
}

// runScript lets a program make the archive, and takes it over when the new system will accept it.
type runScript struct {
	script, workDir string
	recipe          recipe
	allowed         []string
}

// Note implements steps.Change.
func (c runScript) Note() schema.ChangeNote {
	return schema.ChangeNote{Action: "run", Target: c.script + " to make " + path.Join(c.workDir, archiveName)}
}

// Apply implements steps.Change. The program writes to a file of its own, which is gone in the end: only what was
// read whole and found right gets the archive's name.
func (c runScript) Apply(ctx context.Context, t steps.Target) error {
	if err := t.Files.MkdirAll(c.workDir, 0o700); err != nil {
		return err
	}
	raw := path.Join(c.workDir, scriptOutput)
	if err := t.Files.Remove(raw); err != nil {
		return err
	}
	err := c.make(ctx, t, raw)
	return errors.Join(err, t.Files.Remove(raw))
}

func (c runScript) make(ctx context.Context, t steps.Target, raw string) error {
	if t.Progress != nil {
		t.Progress(path.Base(c.script), 0, 0)
	}
	root := t.Files.Root()
	script := path.Join(root, c.script)
	if err := t.Files.Run(ctx, host.Cmd{Name: script, Args: []string{path.Join(root, raw)}, Dir: path.Dir(script)}); err != nil {
		return err
	}
	p, err := c.take(ctx, t, raw)
	if err != nil {
		return err
	}
	return record(t.Files, c.workDir, c.recipe, p)
}

// take copies the program's output to its place while it is checked.
func (c runScript) take(ctx context.Context, t steps.Target, raw string) (product, error) {
	look, err := steps.Look(t.Files, raw)
	if err != nil {
		return product{}, steps.WithHint(fmt.Errorf("%s made no archive: %w", c.script, err), "it must write a gzip tar to the path it is given as its only argument")
	}
	in, err := t.Files.Open(raw)
	if err != nil {
		return product{}, err
	}
	defer in.Close()
	out, err := t.Files.Create(path.Join(c.workDir, archiveName), archiveMode)
	if err != nil {
		return product{}, err
	}
	defer out.Discard()
	sum := sha256.New()
	copied := int64(0)
	p, err := inspect(io.TeeReader(steps.Interruptible(ctx, in), writerFunc(func(b []byte) (int, error) {
		copied += int64(len(b))
		if t.Progress != nil {
			t.Progress(archiveName, copied, look.Size)
		}
		return io.MultiWriter(out, sum).Write(b)
	})), c.allowed)
	if err != nil {
		return product{}, fmt.Errorf("archive made by %s: %w", c.script, err)
	}
	p.sha256 = hex.EncodeToString(sum.Sum(nil))
	if err := out.Commit(); err != nil {
		return product{}, err
	}
	return p, nil
}
