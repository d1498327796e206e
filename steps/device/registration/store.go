// Package registration keeps a fleet's devices registered in balena, once each, by a name that survives reruns (E7–E10,
// E14, E15).
//
// A directory of the controller holds one config.json per fleet, for every one that is asked for leaves another provisioning
// key with balena (E10), and for each device its record and its own config.json. uuid and key of a device are chosen and on
// the disk before balena hears of them. So a request whose answer is lost, or a run that is killed, is followed by the same
// request, and what is registered already is recognised as ours. S152: the predecessor left a device in the cloud for every
// migration that failed; Remove takes such a one away, and refuses one that was ever heard of.
//
// All files in the directory hold keys, and are for their owner alone.
package registration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps/host"
)

// Store is the directory.
type Store struct {
	Files host.Host
	// Dir is its absolute path. It is made when something is to be kept.
	Dir string
}

const (
	recordName = "registration.json"
	configName = "config.json"
	private    = 0o600
	own        = 0o700
	// maxName bounds file names, in bytes: 255 is what file systems take.
	maxName = 200
	// lockPause is how often a lock that another process has is tried.
	lockPause = 50 * time.Millisecond
)

// ErrName is wrapped by the error for a name that no device can have here.
var ErrName = errors.New("no name for a device")

// deviceDir is the folder of a device. Whatever its name has, it lies in the directory and is not hidden.
func (s *Store) deviceDir(name string) (string, error) {
	file := strings.ReplaceAll(url.QueryEscape(name), "+", "%20")
	if strings.HasPrefix(file, ".") {
		file = "%2E" + file[1:]
	}
	if file == "" || len(file) > maxName {
		return "", fmt.Errorf("%w: found one of %d bytes, expected 1 to %d", ErrName, len(file), maxName)
	}
	return filepath.Join(s.Dir, "devices", file), nil
}

// ConfigJSON is the path of a device's own config.json.
func (s *Store) ConfigJSON(name string) (string, error) {
	dir, err := s.deviceDir(name)
	return filepath.Join(dir, configName), err
}

// open makes a folder of the directory and takes it for this process alone; it waits for others.
func (s *Store) open(ctx context.Context, dir string) (func(), error) {
	for _, d := range []string{s.Dir, filepath.Dir(dir), dir} {
		if err := s.Files.MkdirAll(d, own); err != nil {
			return nil, err
		}
	}
	for {
		unlock, err := s.Files.Lock(dir)
		if !errors.Is(err, host.ErrBusy) {
			return unlock, err
		}
		if err := host.Sleep(ctx, lockPause); err != nil {
			return nil, fmt.Errorf("%s: in use by another process: %w", dir, err)
		}
	}
}

// Load returns the record of a device, nil if there is none.
func (s *Store) Load(name string) (*schema.Registration, error) {
	dir, err := s.deviceDir(name)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, recordName)
	data, err := s.Files.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	rec := &schema.Registration{}
	if err := schema.Decode(data, path, "registration", rec); err != nil {
		return nil, err
	}
	if rec.Name != name {
		return nil, fmt.Errorf("%s: found the registration of %q, expected that of %q", path, rec.Name, name)
	}
	return rec, nil
}

// save makes a record durable.
func (s *Store) save(rec *schema.Registration) error {
	dir, err := s.deviceDir(rec.Name)
	if err != nil {
		return err
	}
	data, err := schema.Encode(rec)
	if err != nil {
		return err
	}
	return s.Files.WriteFile(filepath.Join(dir, recordName), data, private)
}

// keep writes a file where it differs, and says whether it did.
func (s *Store) keep(path string, data []byte) (bool, error) {
	have, err := s.Files.ReadFile(path)
	if err == nil && bytes.Equal(have, data) {
		return false, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	return true, s.Files.WriteFile(path, data, private)
}
