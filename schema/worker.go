package schema

// WorkerName is the name and version of the note about a step that works on without its connection.
const WorkerName = "worker/1"

// Worker says what a detached step is doing. It is the answer of step --detach while the step is under way, and, in the
// work dir, the note by which a later call finds it. Times are RFC 3339 in UTC, by the device's clock. It holds no secret:
// of the configuration there is a digest in Key.
type Worker struct {
	Schema  string `json:"schema"`
	Step    string `json:"step"`
	Key     string `json:"key"`
	Started string `json:"started"`
	// Ended is set once the result is there, with the exit code; Fetched once somebody was given it.
	Ended   string `json:"ended"`
	Code    int    `json:"code"`
	Fetched bool   `json:"fetched"`
	// Progress is the newest word of a long change.
	Progress *WorkerProgress `json:"progress,omitempty"`
}

// WorkerProgress is how far a change is, in bytes; Total is 0 where nobody knows. Seconds are since the change began.
type WorkerProgress struct {
	What    string  `json:"what"`
	Done    int64   `json:"done"`
	Total   int64   `json:"total"`
	Seconds float64 `json:"seconds"`
}
