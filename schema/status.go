package schema

// StatusName is the name and version of the answer of `balena-migrate status`.
const StatusName = "status/1"

// Status is where a host stands. Stage tells it in one word: untouched, prepared, armed, rehearsed, aborted,
// crashed or migrated; Reason says why the last stage 2 came back.
type Status struct {
	Schema  string       `json:"schema"`
	Stage   string       `json:"stage"`
	Reason  string       `json:"reason"`
	BootID  string       `json:"boot_id"`
	Armed   bool         `json:"armed"`
	Reboot  *RebootFacts `json:"reboot,omitempty"`
	Outcome *Outcome     `json:"outcome,omitempty"`
	Log     string       `json:"log"`
	Failed  bool         `json:"failed"`
	Changed bool         `json:"changed"`
	Msg     string       `json:"msg"`
}
