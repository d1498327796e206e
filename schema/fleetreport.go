package schema

// FleetReportName is the name and version of `balena-migrate report --json`.
const FleetReportName = "fleet-report/1"

// FleetReport is a results directory as a whole.
type FleetReport struct {
	Schema  string         `json:"schema"`
	Made    string         `json:"made"`
	Counts  FateCounts     `json:"counts"`
	Causes  []Cause        `json:"causes"`
	Devices []DeviceReport `json:"devices"`
	Damaged []DamagedFile  `json:"damaged"`
}

// FateCounts is the number of devices per fate.
type FateCounts struct {
	Ready    int `json:"ready"`
	Blocked  int `json:"blocked"`
	Failed   int `json:"failed"`
	Migrated int `json:"migrated"`
	Online   int `json:"online"`
	Back     int `json:"back"`
	Lost     int `json:"lost"`
	Pending  int `json:"pending"`
}

// Cause is what keeps devices from where they should be, and which.
type Cause struct {
	Fate   Fate     `json:"fate"`
	Step   string   `json:"step"`
	Cause  string   `json:"cause"`
	Remedy string   `json:"remedy"`
	Hosts  []string `json:"hosts"`
}

// DamagedFile is a file of the results directory that is no device report.
type DamagedFile struct {
	File   string `json:"file"`
	Reason string `json:"reason"`
}
