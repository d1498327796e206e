package stage2

import (
	"context"
	"fmt"
	"time"

	"github.com/balena-community/balena-migrate/stage2/badblocks"
)

const (
	// scanLimit bounds the test for bad blocks, within leftLimit.
	scanLimit = 40 * time.Minute
	// loudBlocks is how many bad blocks are logged by their place.
	loudBlocks = 20
)

// scan reads the disk where it will be written, if the operator asked for it, and gives up on a medium that has more bad
// blocks than allowed (S31, S130): the old system still runs on it, and so it goes on.
func (m *machine) scan(ctx context.Context) error {
	if m.plan.MaxBadBlocks == "" {
		return nil
	}
	limit, err := badblocks.ParseLimit(m.plan.MaxBadBlocks)
	if err != nil {
		return err
	}
	f, err := m.Open("/dev/" + m.disk.Name)
	if err != nil {
		return err
	}
	defer f.Close()
	buf := m.ring
	if len(buf) == 0 {
		buf = make([]byte, 1<<20)
	}
	found := 0
	report, err := badblocks.Test{
		Disk: f, Size: m.img.Index().RawSize, Limit: limit, Time: scanLimit, Buf: buf, Progress: m.log.meter(),
		Bad: func(off int64, err error) {
			if found++; found <= loudBlocks {
				m.log.printf("bad block at %d: %v", off, err)
			}
		},
	}.Run(ctx)
	if err != nil {
		return fmt.Errorf("%w (disk.max_bad_blocks: %s)", err, m.plan.MaxBadBlocks)
	}
	m.log.printf("bad blocks: %d of %d, %s are allowed", report.Bad, report.Blocks, m.plan.MaxBadBlocks)
	return nil
}
