package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
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
	Errors []string `json:"errors"` // what went wrong in looking
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
