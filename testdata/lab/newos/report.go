package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"
)

// contentLimit bounds what of a file's text goes into the report, in bytes.
const contentLimit = 64 << 10

// report is what the new system found on its disk.
type report struct {
	Boot        string       `json:"boot"`        // device name of resin-boot
	Data        string       `json:"data"`        // device name of resin-data
	Config      configFile   `json:"config"`      // resin-boot/config.json
	Connections []fileState  `json:"connections"` // resin-boot/system-connections/*, by name
	Backup      fileState    `json:"backup"`      // resin-data/backup.tgz
	Log         fileState    `json:"log"`         // resin-data/migrate.log
	Outcome     contentState `json:"outcome"`     // resin-data/balena-migrate-outcome.json
	Firmware    firmware     `json:"firmware"`    // what EFI firmware has started, and what else it could
	Errors      []string     `json:"errors"`      // what went wrong in looking; empty on a good disk
}

// fileState is one file. The digest is empty when the file isn't there or can't be read.
type fileState struct {
	Name    string `json:"name"`
	Present bool   `json:"present"`
	Size    int64  `json:"size"`
	SHA256  string `json:"sha256"`
}

// configFile is config.json with the one key that says for which machine it is.
type configFile struct {
	fileState
	DeviceType string `json:"deviceType"`
}

// contentState is a small file with its text, at most contentLimit of it.
type contentState struct {
	fileState
	Content string `json:"content"`
}

func (f fileState) state() string {
	if !f.Present {
		return "absent"
	}
	return fmt.Sprintf("%d bytes", f.Size)
}

// networks counts the files that balenaOS would take over: it skips the samples (E31).
func (r report) networks() int {
	count := 0
	for _, file := range r.Connections {
		if !strings.HasSuffix(file.Name, ".ignore") {
			count++
		}
	}
	return count
}

// look loads the drivers, mounts resin-boot and resin-data read-only and describes them. It
// goes as far as it can: every error is part of the report.
func look() report {
	found := report{Connections: []fileState{}, Errors: []string{}}
	note := func(err error) bool {
		if err != nil {
			found.Errors = append(found.Errors, err.Error())
		}
		return err == nil
	}
	note(loadModules())
	devices, err := waitLabels("resin-boot", "resin-data")
	note(err)
	found.Boot, found.Data = devices["resin-boot"], devices["resin-data"]
	if found.Boot != "" && note(mountReadOnly(found.Boot, "/boot", "vfat")) {
		note(found.lookBoot("/boot"))
	}
	note(found.lookFirmware("/sys/firmware/efi"))
	if found.Data != "" && note(mountReadOnly(found.Data, "/data", "ext4")) {
		note(found.lookData("/data"))
	}
	return found
}

func (r *report) lookBoot(dir string) error {
	var err error
	if r.Config.fileState, err = stateOf(filepath.Join(dir, "config.json")); err != nil {
		return err
	}
	if r.Config.Present {
		text, err := os.ReadFile(filepath.Join(dir, "config.json"))
		if err != nil {
			return err
		}
		var config struct {
			DeviceType string `json:"deviceType"`
		}
		if err := json.Unmarshal(text, &config); err != nil {
			return fmt.Errorf("config.json: %w", err)
		}
		r.Config.DeviceType = config.DeviceType
	}
	entries, err := os.ReadDir(filepath.Join(dir, "system-connections"))
	if err != nil {
		return err
	}
	for _, entry := range entries {
		state, err := stateOf(filepath.Join(dir, "system-connections", entry.Name()))
		if err != nil {
			return err
		}
		r.Connections = append(r.Connections, state)
	}
	sort.Slice(r.Connections, func(i, j int) bool { return r.Connections[i].Name < r.Connections[j].Name })
	return nil
}

func (r *report) lookData(dir string) error {
	var err error
	if r.Backup, err = stateOf(filepath.Join(dir, "backup.tgz")); err != nil {
		return err
	}
	if r.Log, err = stateOf(filepath.Join(dir, "migrate.log")); err != nil {
		return err
	}
	outcome := filepath.Join(dir, "balena-migrate-outcome.json")
	if r.Outcome.fileState, err = stateOf(outcome); err != nil || !r.Outcome.Present {
		return err
	}
	file, err := os.Open(outcome)
	if err != nil {
		return err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, contentLimit))
	r.Outcome.Content = string(text)
	return err
}

// stateOf reads a whole file. One that isn't there is no error.
func stateOf(path string) (fileState, error) {
	state := fileState{Name: filepath.Base(path)}
	file, err := os.Open(path)
	if os.IsNotExist(err) {
		return state, nil
	}
	if err != nil {
		return state, err
	}
	defer file.Close()
	state.Present = true
	sum := sha256.New()
	if state.Size, err = io.Copy(sum, file); err != nil {
		return state, fmt.Errorf("read of %s: %w", path, err)
	}
	state.SHA256 = hex.EncodeToString(sum.Sum(nil))
	return state, nil
}
