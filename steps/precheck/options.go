package precheck

import (
	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/badblocks"
)

// askOptions refuses options that this version knows but does not carry out: silence would be taken for a yes.
func (l *look) askOptions() answer {
	var out []schema.Blocked
	c := l.Config
	for _, b := range l.newBoot {
		if b.Check == "options" {
			out = append(out, b)
		}
	}
	if limit := c.Disk.MaxBadBlocks; limit != "" {
		if _, err := badblocks.ParseLimit(limit); err != nil {
			out = append(out, schema.Blocked{Got: "disk.max_bad_blocks: " + limit, Want: "a count, or 0% to 100%", Remedy: "mend disk.max_bad_blocks"})
		}
	}
	if len(out) > 0 {
		return blockAll(out)
	}
	return pass("all can be carried out")
}
