package schema

import "github.com/goccy/go-json"

// ConfigImportName is the name and version of the document that an imported configuration file gives.
const ConfigImportName = "config-import/1"

// What became of a variable.
const (
	ImportMapped   = "mapped"   // it means what it meant
	ImportChanged  = "changed"  // it means something else, or works where it did not
	ImportUnused   = "unused"   // it decides nothing
	ImportObsolete = "obsolete" // nothing here needs it
)

// ConfigImport is a configuration file of the predecessor as a document of ours. No values but those in the document are
// in it.
type ConfigImport struct {
	Schema string `json:"schema"`
	Source string `json:"source"`
	// Document is a valid migration/1 that has only what the file decides.
	Document  json.RawMessage `json:"document"`
	Variables []ImportNote    `json:"variables"`
}

// ImportNote is what became of a variable: the members of the configuration it went to, and a word on what is different.
type ImportNote struct {
	Variable string   `json:"variable"`
	Line     int      `json:"line"`
	Column   int      `json:"column"`
	Kind     string   `json:"kind"`
	Keys     []string `json:"keys"`
	Text     string   `json:"text"`
}
