package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// FileState is one file on the new system's disk. SHA256 is in hex, Size in bytes.
type FileState struct {
	Name    string `json:"name"`
	Present bool   `json:"present"`
	Size    int64  `json:"size"`
	SHA256  string `json:"sha256"`
}

// NewOSReport is what the new system (newos/report.go) found on its disk when it booted.
type NewOSReport struct {
	Boot   string `json:"boot"` // device name of resin-boot, such as vda1
	Data   string `json:"data"` // device name of resin-data
	Config struct {
		FileState
		DeviceType string `json:"deviceType"`
	} `json:"config"`
	Connections []FileState `json:"connections"` // system-connections, by name, samples (*.ignore) too
	Backup      FileState   `json:"backup"`      // resin-data/backup.tgz
	Log         FileState   `json:"log"`         // resin-data/migrate.log
	Outcome     struct {
		FileState
		Content string `json:"content"`
	} `json:"outcome"` // resin-data/balena-migrate-outcome.json
	Firmware struct {
		Current string   `json:"current"` // the entry that EFI firmware has started; empty with a BIOS
		Entries []string `json:"entries"` // those of BootOrder
		All     int      `json:"all"`     // how many there are
	} `json:"firmware"`
	Errors []string `json:"errors"` // what went wrong in looking
}

// Networks returns how many networks the new system would take over: all that the migration has put there.
func (r NewOSReport) Networks() int {
	count := 0
	for _, c := range r.Connections {
		if strings.HasPrefix(c.Name, "resin-wifi-") && c.Present && c.Size > 0 {
			count++
		}
	}
	return count
}

// Missing says what of the operator's and of the guest's did not arrive: nothing after a good migration. A config.json came
// with the machine's host name. The backup is compared with a SHA-256 in hex, or only has to be there when that is empty.
func (r NewOSReport) Missing(config []byte, hostname, backup string) []string {
	config, err := named(config, hostname)
	if err != nil {
		return []string{err.Error()}
	}
	sum := sha256.Sum256(config)
	var missing []string
	for _, want := range []struct {
		ok   bool
		what string
	}{
		{r.Config.SHA256 == hex.EncodeToString(sum[:]), fmt.Sprintf("the config.json with the host name: %+v", r.Config)},
		{r.Config.DeviceType == "genericx86-64-ext", fmt.Sprintf("the device type in config.json: %q", r.Config.DeviceType)},
		{r.Networks() == len(Networks()), fmt.Sprintf("%d networks: %+v", len(Networks()), r.Connections)},
		{r.Backup.Size > 0 && (backup == "" || r.Backup.SHA256 == backup), fmt.Sprintf("the backup %s: %+v", backup, r.Backup)},
		{r.Log.Size > 0, fmt.Sprintf("the log: %+v", r.Log)},
		{strings.Contains(r.Outcome.Content, `"migrated"`), "the outcome migrated: " + r.Outcome.Content},
		{len(r.Errors) == 0, "a disk without errors: " + strings.Join(r.Errors, "; ")},
	} {
		if !want.ok {
			missing = append(missing, want.what)
		}
	}
	return missing
}

var newOSMarker = regexp.MustCompile(`NEWOS-BOOTED (\{.*\}) NEWOS-END`)

// WaitNewOS waits until the new system reports on the console, from an offset on. It then switches
// the machine off by itself.
func (vm *VM) WaitNewOS(ctx context.Context, from int64, timeout time.Duration) (NewOSReport, error) {
	var report NewOSReport
	match, err := vm.WaitConsole(ctx, newOSMarker, from, timeout)
	if err != nil {
		return report, err
	}
	if err := json.Unmarshal([]byte(match[1]), &report); err != nil {
		return report, fmt.Errorf("report of the new system: %w", err)
	}
	return report, nil
}
