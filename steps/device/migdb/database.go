package migdb

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/balena-community/balena-migrate/steps/host"
)

// maxUnit is the most that a unit file may have, in bytes: real ones have some hundred.
const maxUnit = 1 << 20

// Fleet is what was read of one or more sources.
type Fleet struct {
	Units []*Unit
	// Warnings name what is left out, by file and line.
	Warnings []string
}

// Read reads unit files and databases: folders with units, process, done, fail and tmp in them, or in their db. All that is
// wrong with any of them is said at once.
func Read(files host.Reader, sources []string) (*Fleet, error) {
	f := &Fleet{}
	var problems []error
	for _, source := range sources {
		names, err := unitFiles(files, source)
		if err != nil {
			problems = append(problems, err)
		}
		for _, name := range names {
			if err := f.add(files, name); err != nil {
				problems = append(problems, err)
			}
		}
	}
	if len(problems) == 0 && len(f.Units) == 0 {
		return nil, fmt.Errorf("%s: found no unit files, expected some", strings.Join(sources, ", "))
	}
	return f, errors.Join(problems...)
}

// unitFiles lists what is to be read for a source.
func unitFiles(files host.Reader, source string) ([]string, error) {
	info, err := files.Stat(source)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{source}, nil
	}
	if inner, err := files.Stat(path.Join(source, "db")); err == nil && inner.IsDir() {
		source = path.Join(source, "db")
	}
	var names []string
	found := false
	for _, state := range states {
		entries, err := files.ReadDir(path.Join(source, state))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		found = true
		for _, e := range entries {
			if fileName.MatchString(e.Name()) && !e.IsDir() {
				names = append(names, path.Join(source, state, e.Name()))
			}
		}
	}
	if !found {
		return nil, fmt.Errorf("%s: found no database, expected the folders %s", source, strings.Join(states, ", "))
	}
	return names, nil
}

func (f *Fleet) add(files host.Reader, name string) error {
	file, err := files.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxUnit+1))
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	if len(data) > maxUnit {
		return fmt.Errorf("%s: found more than 1 MiB, expected a unit file", name)
	}
	u, warnings, err := read(data, name)
	f.Warnings = append(f.Warnings, warnings...)
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(f.Units, func(o *Unit) bool { return o.ID == u.ID }); i >= 0 {
		return fmt.Errorf("%s: found unit %s in %s too, expected each once; remove the one that is out of date", name, u.ID, f.Units[i].File)
	}
	f.Units = append(f.Units, u)
	return nil
}
