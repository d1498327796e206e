package schema

// DeviceReportName is the name and version of what the playbook keeps of each device in its results directory.
const DeviceReportName = "device-report/1"

// Fate is what became of a device, in one word.
type Fate string

// The fates, those that need a person first first.
const (
	FateLost     Fate = "lost"     // it does not answer since T
	FateFailed   Fate = "failed"   // a step failed
	FateBack     Fate = "back"     // it rebooted and is on its old system again
	FateBlocked  Fate = "blocked"  // it can't be migrated; nothing was touched
	FatePending  Fate = "pending"  // it is being worked on, or the run was interrupted
	FateReady    Fate = "ready"    // it can be migrated
	FateMigrated Fate = "migrated" // it left its old system for good
	FateOnline   Fate = "online"   // it is online in balena
)

// Fates lists them, those that need a person first first.
func Fates() []Fate {
	return []Fate{FateLost, FateFailed, FateBack, FateBlocked, FatePending, FateReady, FateMigrated, FateOnline}
}

// Trouble says whether a person has to look at the device.
func (f Fate) Trouble() bool {
	return f == FateLost || f == FateFailed || f == FateBack || f == FateBlocked
}

// DeviceReport is one device over all runs of the playbook. Times are RFC 3339 in UTC, by the controller's clock. It
// holds no secret.
type DeviceReport struct {
	Schema   string      `json:"schema"`
	Host     string      `json:"host"`
	Address  string      `json:"address"`
	Groups   []string    `json:"groups"`
	Fate     Fate        `json:"fate"`
	Reason   string      `json:"reason"`
	Since    string      `json:"since"`
	DeviceID string      `json:"device_id"`
	Facts    DeviceFacts `json:"facts"`
	Attempts []Attempt   `json:"attempts"`
	Dropped  int         `json:"attempts_dropped"`
}

// Last is the run that the device's fate comes from.
func (d *DeviceReport) Last() *Attempt { return &d.Attempts[len(d.Attempts)-1] }

// DeviceFacts is what matters of a device, sizes in bytes; empty or 0 where not known.
type DeviceFacts struct {
	Hostname     string `json:"hostname"`
	OS           string `json:"os"`
	OSID         string `json:"os_id"`
	OSVersion    string `json:"os_version"`
	Kernel       string `json:"kernel"`
	Arch         string `json:"arch"`
	Firmware     string `json:"firmware"`
	BootMethod   string `json:"boot_method"`
	DeviceType   string `json:"device_type"`
	Disk         string `json:"disk"`
	DiskModel    string `json:"disk_model"`
	DiskSize     int64  `json:"disk_bytes"`
	Memory       int64  `json:"memory_bytes"`
	MemoryNeed   int64  `json:"memory_need_bytes"`
	WriteKBs     int64  `json:"write_kb_s"`
	ImageVersion string `json:"image_version"`
	ImageSHA256  string `json:"image_sha256"`
	ImageSize    int64  `json:"image_bytes"`
}

// Attempt is one run of the playbook on a device. Outcome is the last word of stage 2 where it came back.
type Attempt struct {
	Run       string       `json:"run"`
	Started   string       `json:"started"`
	Ended     string       `json:"ended"`
	Check     bool         `json:"check"`
	Rehearsal bool         `json:"rehearsal"`
	Fate      Fate         `json:"fate"`
	Reason    string       `json:"reason"`
	Steps     []StepReport `json:"steps"`
	Outcome   *Outcome     `json:"outcome,omitempty"`
	// LeftBoot is the boot that the device was told to leave by its reboot into the migration.
	LeftBoot string `json:"left_boot,omitempty"`
}

// The states of a step in a report, beside Converged, BlockedBy and Failed.
const (
	StepRunning     = "running"
	StepUnreachable = "unreachable"
	StepInterrupted = "interrupted"
	StepSkipped     = "skipped"
)

// StepReport is one step of an attempt.
type StepReport struct {
	Name     string    `json:"name"`
	Status   string    `json:"status"`
	Changed  bool      `json:"changed"`
	Changes  int       `json:"changes"`
	Started  string    `json:"started"`
	Ended    string    `json:"ended"`
	Seconds  float64   `json:"seconds"`
	Blocked  []Blocked `json:"blocked"`
	Warnings []string  `json:"warnings"`
	Error    *Error    `json:"error,omitempty"`
	Evidence string    `json:"evidence,omitempty"`
}
