package main

import (
	"errors"
	"fmt"
	"path/filepath"

	"go.uber.org/zap"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/device/seedconf"
	"github.com/balena-community/balena-migrate/steps/host"
)

type configCmd struct {
	Import   importCmd   `cmd:"" help:"Make a document of balena-migrate.conf or a unit file of migdb. Nothing in it is run."`
	Validate validateCmd `cmd:"" help:"Check a document, and print it with all defaults and absolute paths."`
}

type importCmd struct {
	File   string `arg:"" help:"File of shell variables, - for standard input."`
	Output string `placeholder:"FILE" help:"Where the document goes. Default: standard output."`
	JSON   bool   `name:"json" help:"Write the document, and what became of each variable, as one JSON document to standard output."`
}

// Run implements the command. The document is what a person goes on working with, so it has only what the file decides.
func (c importCmd) Run(t terminal) error {
	files := host.At("/")
	found, err := find(files, c.File, ".", t.in)
	if err != nil {
		return err
	}
	imported, err := found.imported(files)
	if err != nil {
		return err
	}
	if c.Output != "" {
		name, err := filepath.Abs(c.Output)
		if err != nil {
			return err
		}
		const mode = 0o600 // it may name what others need not know of
		if err := files.WriteFile(name, imported.Document, mode); err != nil {
			return err
		}
	}
	out, err := newOutput(t, c.JSON)
	if err != nil {
		return err
	}
	switch {
	case c.JSON:
		return out.document(imported)
	case c.Output == "":
		_, err = t.out.Write(imported.Document)
	}
	for _, n := range imported.Variables {
		if n.Text != "" {
			fmt.Fprintf(t.err, "%s:%d:%d: %s (%s): %s\n", found.source, n.Line, n.Column, n.Variable, n.Kind, n.Text)
		}
	}
	return err
}

// imported reads the input as a file of the predecessor.
func (i *input) imported(files host.Reader) (*schema.ConfigImport, error) {
	exists := func(name string) bool {
		if !filepath.IsAbs(name) {
			name = filepath.Join(i.base, name)
		}
		_, err := files.Stat(name)
		return err == nil
	}
	imported, err := seedconf.Import(i.data, i.source, exists)
	var bad *schema.Invalid
	if errors.As(err, &bad) {
		return nil, fmt.Errorf("%w: %w", errInput, err)
	}
	return imported, steps.WithHint(err, "mend "+i.source+"; nothing was written, and nothing in it was run")
}

// imported logs what became of the variables of an input of the predecessor's, but for those that mean what they meant.
func (o *output) imported(notes []schema.ImportNote) {
	for _, n := range notes {
		if n.Text != "" {
			o.log.Info("imported", zap.String("variable", n.Variable), zap.Int("line", n.Line), zap.String("kind", n.Kind), zap.String("text", n.Text))
		}
	}
}

type validateCmd struct {
	File    string `arg:"" optional:"" help:"Document, - for standard input. Default: what a step would read."`
	WorkDir string `placeholder:"DIR" default:"/var/lib/balena-migrate" help:"Work dir, for the default."`
	JSON    bool   `name:"json" help:"Write what is wrong as a JSON document, too."`
}

// Run implements the command. What is wrong ends it with exit code 2, every violation by its JSON pointer.
func (c validateCmd) Run(t terminal) error {
	files := host.At("/")
	found, err := find(files, c.File, c.WorkDir, t.in)
	if err != nil {
		return err
	}
	if found.data == nil {
		return fmt.Errorf("%w: found neither %s nor %s in %s and here", errInput, documentName, seedName, c.WorkDir)
	}
	in, err := found.migration(files)
	if err != nil {
		return err
	}
	out, err := newOutput(t, c.JSON)
	if err != nil {
		return err
	}
	return out.document(in)
}
