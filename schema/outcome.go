package schema

// OutcomeName is the name and version of stage 2's last word.
const OutcomeName = "outcome/1"

// The verdicts stage 2 can leave. Started is the word of a stage 2 that never got further.
const (
	OutcomeStarted   = "started"
	OutcomeAborted   = "aborted"
	OutcomeRehearsed = "rehearsed"
	OutcomeMigrated  = "migrated"
	OutcomeStranded  = "stranded"
)

// Outcome is what stage 2 leaves on the old system (started, aborted, rehearsed) or on the new one's data
// partition (migrated, stranded). Times are seconds since stage 2 started.
type Outcome struct {
	Schema  string      `json:"schema"`
	Verdict string      `json:"verdict"`
	Phase   string      `json:"phase"`
	Reason  string      `json:"reason"`
	BootID  string      `json:"boot_id"`
	Version string      `json:"version"`
	Phases  []PhaseNote `json:"phases"`
	// Warnings are what went wrong without keeping the migration from its end.
	Warnings []string `json:"warnings,omitempty"`
	// Memory in bytes, as stage 2 saw it.
	MemoryTotal int64 `json:"memory_total_bytes"`
	MemoryFree  int64 `json:"memory_free_bytes"`
}

// PhaseNote is one phase of stage 2 and how long it took, in seconds.
type PhaseNote struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"`
}
