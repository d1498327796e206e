package flashplan

// What stage 2 leaves in the old system's work dir, and on the new system's data partition under these names too.
const (
	OutcomeName = "outcome.json"
	LogName     = "stage2.log"
	// ImageStamp and BackupStamp let stage 1 believe that these are still as it made them; stage 2 removes the one of what
	// it found damaged.
	ImageStamp  = "image.stamp.json"
	BackupStamp = "backup.stamp.json"
	// NewOutcome and NewLog are their names on resin-data, where balenaOS has files of its own (F13).
	NewOutcome = "balena-migrate-outcome.json"
	NewLog     = "migrate.log"
)
