// Package migdb reads the fleets of the predecessor: its database of unit files (S141, S142, F9), and makes an inventory for
// Ansible of them. A unit file is a piece of shell that migdb sourced; here it is read and never executed, see package
// shellvars.
package migdb

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/balena-community/balena-migrate/steps/device/shellvars"
)

// Unit is a device of migdb. State is the folder its file lies in, or would by its STATUS.
type Unit struct {
	ID, File, State        string
	Host, User, Options    string
	Port                   int
	App, Version           string
	Archive, Dir           string
	DeviceID, FailMessage  string
	password, passwordFrom string
}

// The states, which are migdb's folders (S141). A crash of migdb leaves units in tmp for ever (S156).
const (
	todo     = "units"
	started  = "process"
	done     = "done"
	failed   = "fail"
	stranded = "tmp"
)

// states are all of them, in the order of a unit's life.
var states = []string{todo, started, done, failed, stranded} //nolint:gochecknoglobals // a table

// known are the variables of unit files (F9). Those without a setter are migdb's own bookkeeping.
var known = map[string]func(*Unit, string) error{ //nolint:gochecknoglobals // a table
	"UNIT_ID": set(func(u *Unit) *string { return &u.ID }), "MIG_SSH_HOST": set(func(u *Unit) *string { return &u.Host }),
	"MIG_SSH_USER": set(func(u *Unit) *string { return &u.User }), "MIG_SSH_OPTS": set(func(u *Unit) *string { return &u.Options }),
	"MIG_APP": set(func(u *Unit) *string { return &u.App }), "MIG_BALENA_VER": set(func(u *Unit) *string { return &u.Version }),
	"MIG_CFG_ARCHIVE": set(func(u *Unit) *string { return &u.Archive }), "MIG_CFG_DIR": set(func(u *Unit) *string { return &u.Dir }),
	"DEVICE_ID": set(func(u *Unit) *string { return &u.DeviceID }), "FAIL_MSG": set(func(u *Unit) *string { return &u.FailMessage }),
	"MIG_SSH_PASSWD": set(func(u *Unit) *string { return &u.password }), "MIG_SSH_PORT": setPort, "STATUS": setStatus,
	"CREATE_TS": nil, "CREATE_ISOTS": nil, "DUE_TS": nil, "UNIT_OUTPUT_LOG": nil, "TRANSFER_FAIL_MSG": nil, "MIG_CONN_RETRIES": nil,
	"STATUS_TS": nil, "MIGRATED_ISOTS": nil, "DONE_ISOTS": nil, "FAIL_TS": nil,
}

func set(member func(*Unit) *string) func(*Unit, string) error {
	return func(u *Unit, value string) error {
		*member(u) = value
		return nil
	}
}

func setPort(u *Unit, value string) error {
	if value == "" {
		return nil
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 || n > 65535 {
		return errors.New("found no port, expected a number from 1 to 65535")
	}
	u.Port = n
	return nil
}

// setStatus tells the state of a unit file that lies in none of migdb's folders.
func setStatus(u *Unit, value string) error {
	if u.State != "" {
		return nil
	}
	state, ok := map[string]string{"": todo, "INIT": todo, "MIGRATED": started, "DONE": done, "FAIL": failed, "FAILED": failed}[value]
	if !ok {
		return errors.New("found an unknown status, expected INIT, MIGRATED, DONE or FAIL")
	}
	u.State = state
	return nil
}

// fileName is how migdb calls unit files, after a failure too (F9).
var fileName = regexp.MustCompile(`^(?:unit|fail)-(.+)-[^-]+$`)

// forbidden are characters that mean something in the name of an inventory's host or in a pattern of hosts.
const forbidden = " \t\n\r:,[]{}!&*?~/\\\"'"

// read reads a unit file. The warnings name variables that nothing is known of.
func read(data []byte, name string) (*Unit, []string, error) {
	file, err := shellvars.Read(data, name)
	if err == nil && len(file.Problems) > 0 {
		err = &shellvars.Refused{Source: name, Problems: file.Problems}
	}
	if err != nil {
		return nil, nil, err
	}
	u := &Unit{File: name}
	if dir := path.Base(path.Dir(name)); slices.Contains(states, dir) {
		u.State = dir
	}
	var warnings []string
	var problems []error
	for _, s := range file.Settings {
		setter, ok := known[s.Name]
		if !ok {
			warnings = append(warnings, fmt.Sprintf("%s:%d: unknown variable %s is left out", name, s.Line, s.Name))
		}
		if setter == nil {
			continue
		}
		if s.List != nil {
			problems = append(problems, fmt.Errorf("%s:%d: %s: found a list, expected one value", name, s.Line, s.Name))
		} else if err := setter(u, s.Value); err != nil {
			problems = append(problems, fmt.Errorf("%s:%d: %s: %w", name, s.Line, s.Name, err))
		}
		if s.Name == "MIG_SSH_PASSWD" {
			u.passwordFrom = fmt.Sprintf("%s:%d", name, s.Line)
		}
	}
	problems = append(problems, u.complete()...)
	return u, warnings, errors.Join(problems...)
}

// complete fills in what the file leaves to its name, and says what is missing (S147).
func (u *Unit) complete() []error {
	if u.ID == "" {
		if m := fileName.FindStringSubmatch(path.Base(u.File)); m != nil {
			u.ID = m[1]
		}
	}
	if u.State == "" {
		u.State = todo
	}
	var problems []error
	missing := func(name, value string) {
		if value == "" {
			problems = append(problems, fmt.Errorf("%s: found no %s, expected one in every unit", u.File, name))
		}
	}
	missing("UNIT_ID", u.ID)
	missing("MIG_SSH_HOST", u.Host)
	missing("MIG_APP", u.App)
	if strings.ContainsAny(u.ID, forbidden) || strings.HasPrefix(u.ID, "-") {
		problems = append(problems, fmt.Errorf("%s: found UNIT_ID %q, expected a name without spaces and any of :,[]{}!&*?~/", u.File, u.ID))
	}
	return problems
}
