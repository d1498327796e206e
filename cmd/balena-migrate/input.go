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
	seedName     = "balena-migrate.conf"
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

// input is a document that was found: its bytes (nil when there is none), its name, and the folder that its paths are
// meant from.
type input struct {
	data         []byte
	source, base string
	// notes are what became of the variables of a file of the predecessor.
	notes []schema.ImportNote
}

// read returns the input document with its paths made absolute, and the facts that earlier steps left in the work dir
// under those it brings.
func (c common) read(files host.Reader, workDir string, stdin io.Reader) (*schema.Migration, []schema.ImportNote, error) {
	found, err := find(files, c.Input, workDir, stdin)
	if err != nil {
		return nil, nil, err
	}
	in, err := found.migration(files)
	if err != nil {
		return nil, nil, err
	}
	saved, err := savedFacts(files, workDir)
	if err != nil {
		return nil, nil, err
	}
	in.Facts = overlay(saved, in.Facts)
	return in, found.notes, nil
}

// find looks for the input that was named, or else where it usually is.
func find(files host.Reader, named, workDir string, stdin io.Reader) (*input, error) {
	if named == "-" {
		data, err := schema.ReadAll(stdin, "standard input")
		return &input{data: data, source: "standard input", base: workDir}, err
	}
	candidates := []string{named}
	if named == "" {
		candidates = []string{filepath.Join(workDir, documentName), filepath.Join(workDir, seedName), documentName, seedName}
	}
	for _, name := range candidates {
		abs, err := filepath.Abs(name)
		if err != nil {
			return nil, err
		}
		f, err := files.Open(abs)
		if errors.Is(err, fs.ErrNotExist) && named == "" {
			continue
		}
		if err != nil {
			return nil, steps.WithHint(fmt.Errorf("%w: %w", errInput, err), "name a document that can be read in --input, or - for standard input")
		}
		defer f.Close()
		data, err := schema.ReadAll(f, name)
		return &input{data: data, source: name, base: filepath.Dir(abs)}, err
	}
	here, err := os.Getwd()
	return &input{base: here}, err
}

// migration is the document, its paths made absolute. One of the predecessor's is imported first.
func (i *input) migration(files host.Reader) (*schema.Migration, error) {
	in := schema.NewMigration()
	if filepath.Ext(i.source) == ".conf" {
		imported, err := i.imported(files)
		if err != nil {
			return nil, err
		}
		i.data, i.notes = imported.Document, imported.Variables
	}
	if i.data != nil {
		var err error
		if in, err = parse(i.data, i.source); err != nil {
			return nil, err
		}
	}
	in.Config.ResolvePaths(i.base)
	return in, nil
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
