package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/host"
)

// errInput marks an input document that is understood but can't be worked from.
var errInput = errors.New("input can't be used")

const (
	documentName = "balena-migrate.json"
	factsName    = "facts.json"
	workDirName  = "var/lib/balena-migrate"
)

// workDir is the caller's path of the work dir.
func (c common) workDir() (string, error) {
	if c.WorkDir != "" {
		return filepath.Abs(c.WorkDir)
	}
	return filepath.Abs(filepath.Join(c.Root, workDirName))
}

// read returns the input document with its paths made absolute, and the facts that earlier steps left in the work dir
// under those it brings.
func (c common) read(files host.Reader, workDir string, stdin io.Reader) (*schema.Migration, error) {
	data, source, base, err := c.document(files, workDir, stdin)
	if err != nil {
		return nil, err
	}
	in := schema.NewMigration()
	if data != nil {
		if in, err = parse(data, source); err != nil {
			return nil, err
		}
	}
	in.Config.ResolvePaths(base)
	saved, err := savedFacts(files, workDir)
	if err != nil {
		return nil, err
	}
	in.Facts = overlay(saved, in.Facts)
	return in, nil
}

// document finds the input: its bytes (nil when there is none), its name, and the folder that its paths are meant from.
func (c common) document(files host.Reader, workDir string, stdin io.Reader) ([]byte, string, string, error) {
	if c.Input == "-" {
		data, err := schema.ReadAll(stdin, "standard input")
		return data, "standard input", workDir, err
	}
	candidates := []string{c.Input}
	if c.Input == "" {
		candidates = []string{filepath.Join(workDir, documentName), documentName}
	}
	for _, name := range candidates {
		abs, err := filepath.Abs(name)
		if err != nil {
			return nil, "", "", err
		}
		f, err := files.Open(abs)
		if errors.Is(err, fs.ErrNotExist) && c.Input == "" {
			continue
		}
		if err != nil {
			return nil, "", "", steps.WithHint(fmt.Errorf("%w: %w", errInput, err), "name a document that can be read in --input, or - for standard input")
		}
		defer f.Close()
		data, err := schema.ReadAll(f, name)
		return data, name, filepath.Dir(abs), err
	}
	here, err := os.Getwd()
	return nil, "", here, err
}

// parse reads a migration, or the result of an earlier step.
func parse(data []byte, source string) (*schema.Migration, error) {
	name, err := schema.Peek(data, source)
	if err != nil {
		return nil, err
	}
	in := schema.NewMigration()
	if name != schema.ResultName {
		return in, schema.Decode(data, source, "migration", in)
	}
	res := schema.NewResult("")
	if err := schema.Decode(data, source, "result", res); err != nil {
		return nil, err
	}
	if res.Status != schema.Converged {
		err := fmt.Errorf("%w: %s is the result of step %s, which is %s: %s", errInput, source, res.Step, res.Status, res.Msg)
		return nil, steps.WithHint(err, "mend what it says and run step "+res.Step+" again")
	}
	in.Config, in.Facts = res.Config, res.Facts
	return in, nil
}

// savedFacts reads what earlier steps found out.
func savedFacts(files host.Reader, workDir string) (schema.Facts, error) {
	name := filepath.Join(workDir, factsName)
	data, err := files.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return schema.Facts{}, nil // a user without rights is told so by precheck
	}
	if err != nil {
		return schema.Facts{}, err
	}
	m := schema.NewMigration()
	if err := schema.Decode(data, name, "migration", m); err != nil {
		return schema.Facts{}, err
	}
	return m.Facts, nil
}

// saveFacts keeps facts for the next step that is run without a pipe. There is nothing to keep them in until a step has
// made the work dir.
func saveFacts(files host.Host, workDir string, facts schema.Facts) error {
	if _, err := files.Stat(workDir); err != nil {
		return nil //nolint:nilerr // no work dir yet
	}
	m := schema.NewMigration()
	m.Facts = facts
	data, err := schema.Encode(m)
	if err != nil {
		return err
	}
	name := filepath.Join(workDir, factsName)
	if old, err := files.ReadFile(name); err == nil && string(old) == string(data) {
		return nil
	}
	return files.WriteFile(name, data, 0o600)
}

// overlay returns under with every section that over has replaced.
func overlay(under, over schema.Facts) schema.Facts {
	pick(&under.Host, over.Host)
	pick(&under.Image, over.Image)
	pick(&under.Network, over.Network)
	pick(&under.Backup, over.Backup)
	pick(&under.Initramfs, over.Initramfs)
	pick(&under.Boot, over.Boot)
	pick(&under.Reboot, over.Reboot)
	return under
}

func pick[T any](to **T, from *T) {
	if from != nil {
		*to = from
	}
}
