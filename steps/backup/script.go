package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"time"

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
	plan.Add(runScript{
		script: file, workDir: v.WorkDir, recipe: asked, allowed: volumes, timeout: time.Duration(v.Config.Backup.ScriptTimeoutS) * time.Second,
	})
	return nil
}

// runScript lets a program make the archive, and takes it over when the new system will accept it.
type runScript struct {
	script, workDir string
	recipe          recipe
	allowed         []string
	timeout         time.Duration // 0: none
}

// Note implements steps.Change.
func (c runScript) Note() schema.ChangeNote {
	return schema.ChangeNote{Action: "run", Target: c.script + " to make " + path.Join(c.workDir, archiveName)}
}

// Apply implements steps.Change. The program writes to a file of its own, which is gone in the end: only what was
// read whole and found right gets the archive's name.
func (c runScript) Apply(ctx context.Context, t steps.Target) error {
	dir, raw := path.Join(c.workDir, scriptDir), path.Join(c.workDir, scriptOutput)
	for _, d := range []string{c.workDir, dir} {
		if err := t.Files.MkdirAll(d, 0o700); err != nil {
			return err
		}
	}
	if err := t.Files.Remove(raw); err != nil {
		return err
	}
	err := c.make(ctx, t, raw)
	return errors.Join(err, t.Files.Remove(raw), t.Files.Remove(dir))
}

func (c runScript) make(ctx context.Context, t steps.Target, raw string) error {
	if t.Progress != nil {
		t.Progress(path.Base(c.script), 0, 0)
	}
	if err := c.run(ctx, t, raw); err != nil {
		return err
	}
	p, err := c.take(ctx, t, raw)
	if err != nil {
		return err
	}
	return record(t.Files, c.workDir, c.recipe, p)
}

// run runs the program. What it prints may be secrets, so it is in a file for root alone, which errors name.
func (c runScript) run(ctx context.Context, t steps.Target, raw string) error {
	said := &tail{limit: maxLog}
	root := t.Files.Root()
	script := path.Join(root, c.script)
	limited := ctx
	if c.timeout > 0 {
		var stop context.CancelFunc
		limited, stop = context.WithTimeout(ctx, c.timeout)
		defer stop()
	}
	err := t.Files.Run(limited, host.Cmd{Name: script, Args: []string{path.Join(root, raw)}, Dir: path.Dir(script), Output: said})
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		err = steps.WithHint(fmt.Errorf("%s: still running after %s, stopped (%w)", c.script, c.timeout, errSlow), "give it more time with backup.script_timeout_s")
	}
	log := path.Join(c.workDir, logName)
	if len(said.buf) == 0 {
		return errors.Join(err, t.Files.Remove(log))
	}
	if logErr := t.Files.WriteFile(log, said.buf, archiveMode); logErr != nil {
		return errors.Join(err, logErr)
	}
	if err != nil {
		return fmt.Errorf("%w; what it printed is in %s", err, log)
	}
	return nil
}

// errSlow is a program that was stopped.
var errSlow = errors.New("timeout")

// maxLog is how much of a program's output is kept, the last of it, in bytes.
const maxLog = 256 << 10

// tail keeps the last bytes written to it.
type tail struct {
	limit int
	buf   []byte
}

// Write implements io.Writer.
func (t *tail) Write(p []byte) (int, error) {
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - t.limit; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(p), nil
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
	copied := int64(0)
	meter := func(n int) {
		copied += int64(n)
		if t.Progress != nil {
			t.Progress(archiveName, copied, look.Size)
		}
	}
	p, err := store(t, c.workDir, func(w io.Writer) (product, error) {
		return inspect(io.TeeReader(metered(steps.Interruptible(ctx, in), meter), w), c.allowed)
	})
	if err != nil {
		return product{}, fmt.Errorf("archive made by %s: %w", c.script, err)
	}
	return p, nil
}

// metered is r, and tells how much was read each time.
func metered(r io.Reader, tell func(n int)) io.Reader {
	return readerFunc(func(p []byte) (int, error) {
		n, err := r.Read(p)
		tell(n)
		return n, err
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
