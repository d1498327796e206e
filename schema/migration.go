package schema

// MigrationName is the name and version of the input document.
const MigrationName = "migration/1"

// Migration is the document every step reads: what is wanted, and the facts known so far.
type Migration struct {
	Schema string `json:"schema"`
	Config Config `json:"config"`
	Facts  Facts  `json:"facts"`
}

// NewMigration returns an empty input document with the default configuration.
func NewMigration() *Migration {
	return &Migration{Schema: MigrationName, Config: DefaultConfig()}
}
