package stage2

import "context"

// phaseAttempts is how often a phase right of the line is tried.
const phaseAttempts = 5

// phase is a part of the sequence.
type phase struct {
	name string
	run  func(*machine, context.Context) error
	// watched says that it fails by itself when nothing moves any more.
	watched bool
}

// left is everything before the first write, in order.
func left() []phase {
	return []phase{
		{name: "plan", run: (*machine).readPlan},
		{name: "modules", run: (*machine).loadModules},
		{name: "old system", run: (*machine).mountOld},
		{name: "disarm", run: (*machine).disarm},
		{name: "disk", run: (*machine).findDisk},
		{name: "boot entries", run: (*machine).oldPartitions},
		{name: "memory", run: (*machine).checkMemory},
		{name: "secure", run: (*machine).secure},
		{name: "verify", run: (*machine).verify},
		{name: "bad blocks", run: (*machine).scan},
		{name: "rehearsal", run: (*machine).rehearse}, // ends here when stage2.flash is false
		{name: "release", run: (*machine).release},
	}
}

// right is everything after it. Each phase can be run again from what is in memory.
func right() []phase {
	return []phase{
		{name: "flash", run: (*machine).flash, watched: true},
		{name: "boot code", run: (*machine).installBootCode},
		{name: "partitions", run: (*machine).findPartitions},
		{name: "firmware", run: (*machine).firmware},
		{name: "configure", run: (*machine).configure},
		{name: "data", run: (*machine).writeData},
		{name: "report", run: (*machine).report},
	}
}
