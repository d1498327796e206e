package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/device/shellvars"
)

// Exit codes; the README documents them.
const (
	exitConverged   = 0
	exitFailed      = 1
	exitUsage       = 2
	exitBlocked     = 3
	exitInterrupted = 4
	exitUnderWay    = 5
)

// terminal is the process's standard files.
type terminal struct {
	in  io.Reader
	out io.Writer
	err io.Writer
}

// grammar is the command line.
type grammar struct {
	Step    stepCmd    `cmd:"" help:"Run one step: look, say what is missing, do it, look again."`
	Migrate migrateCmd `cmd:"" help:"Run all steps on this host. Without --yes it stops before arm-boot."`
	Status  statusCmd  `cmd:"" help:"Say where this host stands, and how the last stage 2 ended."`
	Disarm  disarmCmd  `cmd:"" help:"Take arm-boot back: every byte of the boot configuration as it was."`
	Image   imageCmd   `cmd:"" help:"Work on image files, on a workstation too."`
	Report  reportCmd  `cmd:"" help:"Say where the devices of a fleet stand: table, web page, JSON, CSV, JUnit."`
	Fleet   fleetCmd   `cmd:"" help:"Take over a fleet of migdb."`
	Device  deviceCmd  `cmd:"" help:"Register devices in balena, wait for them, remove what was not used."`
	Config  configCmd  `cmd:"" help:"Make a document of the predecessor's configuration file, or check one."`
	Schema  schemaCmd  `cmd:"" help:"Print the JSON schema of a document, or the documents' names."`
	Version versionCmd `cmd:"" help:"Print the version."`
	Later   laterCmd   `cmd:"" name:"reboot-later" hidden:""`

	VersionFlag kong.VersionFlag `name:"version" help:"Print the version."`
}

// common are the options of every command that works on a host.
type common struct {
	JSON    bool   `name:"json" help:"Write exactly one JSON document to standard output."`
	Input   string `placeholder:"FILE" help:"Input document, - for standard input. Default: balena-migrate.json, else balena-migrate.conf, in the work dir, else here."`
	WorkDir string `placeholder:"DIR" help:"Where products and facts are kept. Default: /var/lib/balena-migrate below the root."`
	Root    string `placeholder:"DIR" default:"/" help:"Work on the system in this directory instead of the running one."`
}

// converging are the options of what changes something.
type converging struct {
	Check  bool `help:"Only say what would be done; write nothing."`
	Diff   bool `help:"Show files before and after."`
	Strict bool `help:"Treat warnings as blockers."`
}

// exitError carries the exit code of a command that has said all there is to say.
type exitError int

// Error implements error.
func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// run is the whole program but for the process: it returns the exit code.
func run(args []string, t terminal) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	var g grammar
	helped := false
	parser, err := kong.New(&g, kong.Name("balena-migrate"), kong.Writers(t.out, t.err), kong.UsageOnError(),
		kong.Description("Turn a running Linux device into a balenaOS device, step by step. Every step is idempotent, reads JSON and writes JSON facts."),
		kong.Exit(func(int) { helped = true }), // kong's own codes (80) are not ours
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}), kong.Bind(t), kong.Vars{"steps": strings.Join(stepNames(), ","), "version": "balena-migrate " + version})
	if err != nil {
		return report(t, args, "", err)
	}
	parser.Stdout, parser.Stderr = t.out, t.err
	parsed, err := parser.Parse(args)
	if helped {
		return exitConverged
	}
	if err != nil {
		return report(t, args, "", &usageError{err})
	}
	parsed.BindTo(ctx, (*context.Context)(nil))
	err = parsed.Run()
	var code exitError
	if errors.As(err, &code) {
		return int(code)
	}
	if err != nil {
		return report(t, args, parsed.Command(), err)
	}
	return exitConverged
}

// usageError is a command line that can't be understood.
type usageError struct{ err error }

// Error implements error.
func (e *usageError) Error() string { return e.err.Error() }

// report says what stopped a command before it had a result of its own. With --json that is a document as well.
func report(t terminal, args []string, command string, err error) int {
	explained := steps.Explain(err)
	var usage *usageError
	if errors.As(err, &usage) {
		explained.Hint = "balena-migrate --help"
	}
	if !slices.Contains(args, "--json") {
		fmt.Fprintf(t.err, "balena-migrate: %v\n", err)
		if explained.Hint != "" {
			fmt.Fprintf(t.err, "try: %s\n", explained.Hint)
		}
		return exitCode(err)
	}
	res := schema.NewResult(stepOf(command, args))
	res.Status, res.Failed, res.Error, res.Msg = schema.Failed, true, explained, explained.Message
	data, encErr := schema.Encode(res)
	if encErr != nil {
		fmt.Fprintf(t.err, "balena-migrate: %v\n", encErr)
		return exitFailed
	}
	if _, err := t.out.Write(data); err != nil {
		return exitFailed
	}
	return exitCode(err)
}

// stepOf names the step that was asked for, empty when it is none of ours.
func stepOf(command string, args []string) string {
	names := append(stepNames(), "disarm", "migrate")
	for _, a := range append([]string{command}, args...) {
		if slices.Contains(names, a) {
			return a
		}
	}
	return ""
}

// exitCode maps a failure to its code.
func exitCode(err error) int {
	var usage *usageError
	var invalid *schema.Invalid
	var refused *shellvars.Refused
	switch {
	case err == nil:
		return exitConverged
	case errors.As(err, &usage), errors.As(err, &invalid), errors.As(err, &refused), errors.Is(err, errInput):
		return exitUsage
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	}
	return exitFailed
}

type versionCmd struct{}

// Run implements the command.
func (versionCmd) Run(t terminal) error {
	_, err := fmt.Fprintln(t.out, "balena-migrate", version)
	return err
}

type schemaCmd struct {
	Name string `arg:"" optional:"" help:"Document, e.g. migration or result."`
}

// Run implements the command.
func (c schemaCmd) Run(t terminal) error {
	if c.Name == "" {
		for _, n := range schema.Names() {
			fmt.Fprintln(t.out, n)
		}
		return nil
	}
	text, err := schema.Text(c.Name)
	if err != nil {
		return &usageError{err}
	}
	_, err = t.out.Write(text)
	return err
}
