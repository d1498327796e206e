package schema

// ResultName is the name and version of the document every step writes.
const ResultName = "result/1"

// The states a run can end in.
const (
	Converged = "converged"
	BlockedBy = "blocked"
	Failed    = "failed"
)

// Result is what a step answers, and at the same time a valid input of the next step. Failed, Changed, Msg,
// Warnings and Diff mean what they mean to Ansible.
type Result struct {
	Schema   string       `json:"schema"`
	Step     string       `json:"step"`
	Status   string       `json:"status"`
	Changed  bool         `json:"changed"`
	Check    bool         `json:"check"`
	Failed   bool         `json:"failed"`
	Msg      string       `json:"msg"`
	Changes  []ChangeNote `json:"changes"`
	Blocked  []Blocked    `json:"blocked"`
	Warnings []string     `json:"warnings"`
	Diff     []Diff       `json:"diff,omitempty"`
	Error    *Error       `json:"error,omitempty"`
	Steps    []StepNote   `json:"steps,omitempty"`
	Facts    Facts        `json:"facts"`
	Config   Config       `json:"config"`
}

// NewResult returns the empty result of a step.
func NewResult(step string) *Result {
	return &Result{
		Schema: ResultName, Step: step, Changes: []ChangeNote{}, Blocked: []Blocked{}, Warnings: []string{}, Config: DefaultConfig(),
	}
}

// ChangeNote is one change in words: what was done (or would be), and to what.
type ChangeNote struct {
	Action string `json:"action"`
	Target string `json:"target"`
}

// Blocked says why a step can't be done here, and what would help.
type Blocked struct {
	Check  string `json:"check"`
	Got    string `json:"got"`
	Want   string `json:"want"`
	Remedy string `json:"remedy"`
}

// Diff is one file before and after, in the form Ansible shows.
type Diff struct {
	Before       string `json:"before"`
	After        string `json:"after"`
	BeforeHeader string `json:"before_header"`
	AfterHeader  string `json:"after_header"`
}

// Error is a failure of the program or of its input. Hint is what the reader can do.
type Error struct {
	Message string `json:"message"`
	Hint    string `json:"hint"`
}

// StepNote is a step's outcome inside the result of migrate.
type StepNote struct {
	Step    string `json:"step"`
	Status  string `json:"status"`
	Changed bool   `json:"changed"`
}
