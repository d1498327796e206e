package stage2

import "context"

// phaseAttempts is how often a phase right of the line is tried.
const phaseAttempts = 5

// phase is a part of the sequence.
type phase struct {
	name string
	run  func(*machine, context.Context) error
}

// left is everything before the first write, in order.
func left() []phase {
	return []phase{
		{"plan", (*machine).readPlan},
		{"modules", (*machine).loadModules},
		{"old system", (*machine).mountOld},
		{"disarm", (*machine).disarm},
		{"disk", (*machine).findDisk},
		{"boot entries", (*machine).oldPartitions},
		{"memory", (*machine).checkMemory},
		{"secure", (*machine).secure},
		{"verify", (*machine).verify},
		{"bad blocks", (*machine).scan},
		{"rehearsal", (*machine).rehearse}, // ends here when stage2.flash is false
		{"release", (*machine).release},
	}
}

// right is everything after it. Each phase can be run again from what is in memory.
func right() []phase {
	return []phase{
		{"flash", (*machine).flash},
		{"partitions", (*machine).findPartitions},
		{"firmware", (*machine).firmware},
		{"configure", (*machine).configure},
		{"data", (*machine).writeData},
		{"report", (*machine).report},
	}
}
