package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/alecthomas/kong"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps"
	reports "github.com/balena-community/balena-migrate/steps/device/report"
	"github.com/balena-community/balena-migrate/steps/host"
)

type reportCmd struct {
	Dir        string   `arg:"" help:"The results directory of the playbook."`
	Table      bool     `xor:"format" help:"A table for the terminal. This is the default."`
	JSON       bool     `name:"json" xor:"format" help:"One fleet-report/1 document."`
	HTML       bool     `name:"html" xor:"format" help:"One web page that needs neither network nor server."`
	JUnit      bool     `name:"junit" xor:"format" help:"JUnit XML for continuous integration."`
	CSV        csvStyle `name:"csv" xor:"format" placeholder:"migdb" help:"CSV; --csv=migdb has the columns of migdb-stats."`
	Output     string   `short:"o" placeholder:"FILE" help:"Write to this file instead of standard output."`
	StrictExit bool     `help:"Exit with 3 when a device or a file needs a person, with 4 when the work is not through."`
}

// csvStyle is an option with an optional value: --csv or --csv=migdb.
type csvStyle struct {
	set   bool
	migdb bool
}

// IsBool lets the option stand alone.
func (csvStyle) IsBool() bool { return true }

// Decode implements kong.MapperValue.
func (s *csvStyle) Decode(ctx *kong.DecodeContext) error {
	s.set = true
	if ctx.Scan.Peek().Type != kong.FlagValueToken {
		return nil
	}
	if text := fmt.Sprint(ctx.Scan.Pop().Value); text != "migdb" {
		return fmt.Errorf("found %q, expected migdb or no value", text)
	}
	s.migdb = true
	return nil
}

// Run implements the command. A report that could be made is a success, whatever it says, unless --strict-exit is given;
// damaged files are named on standard error as well.
func (c reportCmd) Run(t terminal) error {
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return err
	}
	files := host.At("/")
	fleet, err := reports.Read(files, dir, time.Now())
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, reports.ErrEmpty):
		return steps.WithHint(fmt.Errorf("%w: %w", errInput, err), "name the folder that the playbook keeps: balena_migrate_results, by default results beside the inventory")
	case err != nil:
		return err
	}
	for _, d := range fleet.Damaged {
		fmt.Fprintf(t.err, "balena-migrate: %s\n", reports.Clean(d.File+": "+d.Reason))
	}
	if err := c.write(files, fleet, t); err != nil {
		return err
	}
	if code := reports.Verdict(fleet); c.StrictExit && code != 0 {
		return exitError(code)
	}
	return nil
}

func (c reportCmd) write(files host.Host, fleet *schema.FleetReport, t terminal) error {
	var b bytes.Buffer
	colour := c.Output == "" && isTerminal(t.out) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	if err := c.render(&b, fleet, colour); err != nil {
		return err
	}
	return deliver(files, c.Output, b.Bytes(), t.out)
}

// deliver writes to a file, for its owner alone, or to out when none is named.
func deliver(files host.Host, name string, data []byte, out io.Writer) error {
	if name == "" {
		_, err := out.Write(data)
		return err
	}
	abs, err := filepath.Abs(name)
	if err != nil {
		return err
	}
	return files.WriteFile(abs, data, 0o600)
}

func (c reportCmd) render(w io.Writer, fleet *schema.FleetReport, colour bool) error {
	switch {
	case c.JSON:
		data, err := schema.Encode(fleet)
		if err != nil {
			return err
		}
		_, err = w.Write(data)
		return err
	case c.HTML:
		return reports.HTML(w, fleet)
	case c.JUnit:
		return reports.JUnit(w, fleet)
	case c.CSV.migdb:
		return reports.MigDB(w, fleet)
	case c.CSV.set:
		return reports.CSV(w, fleet)
	}
	return reports.Table(w, fleet, colour)
}
