package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/device/migdb"
	"github.com/balena-community/balena-migrate/steps/host"
)

type fleetCmd struct {
	Import fleetImportCmd `cmd:"" help:"Make an Ansible inventory of a migdb database or of its unit files. Nothing of them is executed."`
}

type fleetImportCmd struct {
	Source      []string `arg:"" help:"migdb's database folder, or unit files."`
	Output      string   `short:"o" placeholder:"FILE" help:"The inventory, inventory.yml for example. Default: standard output."`
	SecretsFile string   `placeholder:"FILE" help:"Where the units' ssh passwords go, for you to encrypt with ansible-vault."`
	Force       bool     `help:"Overwrite files that differ."`
}

// Run implements the command. Nothing is written when anything is wrong with any unit.
func (c fleetImportCmd) Run(t terminal) error {
	files := host.At("/")
	sources := make([]string, len(c.Source))
	for i, s := range c.Source {
		var err error
		if sources[i], err = filepath.Abs(s); err != nil {
			return err
		}
	}
	fleet, err := migdb.Read(files, sources)
	if errors.Is(err, fs.ErrNotExist) {
		return steps.WithHint(fmt.Errorf("%w: %w", errInput, err), "name migdb's database folder, or unit files")
	}
	if err != nil {
		return steps.WithHint(fmt.Errorf("%w: %w", errInput, err), "mend these units, or name only the files of the others")
	}
	for _, w := range fleet.Warnings {
		fmt.Fprintf(t.err, "balena-migrate: %s\n", w)
	}
	if with := fleet.WithPassword(); len(with) > 0 && c.SecretsFile == "" {
		return steps.WithHint(fmt.Errorf("%w: found ssh passwords in %s, expected none without --secrets-file", errInput, strings.Join(with, ", ")),
			"name a file for them with --secrets-file, then encrypt it with ansible-vault: they don't belong in an inventory")
	}
	return c.write(files, fleet, t)
}

func (c fleetImportCmd) write(files host.Host, fleet *migdb.Fleet, t terminal) error {
	inventory, err := migdb.Inventory(fleet)
	if err != nil {
		return fmt.Errorf("%w: %w", errInput, err)
	}
	secrets, err := migdb.Secrets(fleet)
	if err != nil {
		return err
	}
	if c.Output != "" && filepath.Clean(c.Output) == filepath.Clean(c.SecretsFile) {
		return &usageError{errors.New("--output and --secrets-file name the same file")}
	}
	both := map[string][]byte{c.Output: inventory, c.SecretsFile: secrets}
	for _, name := range []string{c.SecretsFile, c.Output} {
		if err := c.free(files, name, both[name]); err != nil {
			return err
		}
	}
	if secrets != nil {
		if err := deliver(files, c.SecretsFile, secrets, t.out); err != nil {
			return err
		}
	}
	return deliver(files, c.Output, inventory, t.out)
}

// free says whether a file may be written: one that differs may hold a person's own work.
func (c fleetImportCmd) free(files host.Reader, name string, data []byte) error {
	if name == "" || data == nil || c.Force {
		return nil
	}
	abs, err := filepath.Abs(name)
	if err != nil {
		return err
	}
	old, err := files.ReadFile(abs)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !bytes.Equal(old, data):
		return steps.WithHint(fmt.Errorf("%w: %s is there already and differs", errInput, name), "choose another file, or overwrite it with --force")
	}
	return nil
}
