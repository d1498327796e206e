package scale

import (
	"fmt"
	"strings"
	"time"
)

// Fault is what is wrong with a device.
type Fault string

// The faults. Each names when it shows.
const (
	Sound        Fault = ""
	Unreachable  Fault = "unreachable"        // every connection is refused
	AuthRefused  Fault = "login refused"      // the server knows no such key
	SmallDisk    Fault = "small disk"         // the image does not fit
	DamagedImage Fault = "damaged image"      // bits flip in the image after it was copied
	WrongArch    Fault = "wrong architecture" // uname -m says riscv64
	Dropped      Fault = "dropped"            // the connection breaks in the middle of build-initramfs, and all later ones
	Killed       Fault = "killed"             // kill -9 in the middle of build-initramfs
	CameBack     Fault = "came back"          // stage 2 aborts
	Crashed      Fault = "crashed"            // stage 2 leaves no word
	Lost         Fault = "lost"               // nothing answers after the reboot
)

// Faults are all of them, those of one step beside each other.
func Faults() []Fault {
	return []Fault{SmallDisk, Unreachable, CameBack, Killed, AuthRefused, DamagedImage, Crashed, Dropped, WrongArch, Lost}
}

// Spread gives part of n devices a fault each, all faults in turn, evenly over the fleet and not on its first device.
func Spread(n, part int) func(i int) Fault {
	every := n / part
	return func(i int) Fault {
		if i%every != every/2 || i/every >= part {
			return Sound
		}
		return Faults()[i/every%len(Faults())]
	}
}

// inStep is the step in the middle of which a fault strikes, and how long after its start.
func (f Fault) inStep() (string, time.Duration) {
	if f == Dropped || f == Killed {
		return "build-initramfs", 50 * time.Millisecond
	}
	return "", 0
}

// Event is one thing that happened to a device.
type Event struct {
	At time.Time
	// Kind is refused, login-refused, login, begin, end, dropped, killed, reboot, left, back or silent.
	Kind string
	// Step is the step of begin and end; Code the exit code of end.
	Step string
	Code int
}

// story is the journal in a line, without the sessions that are no step.
func (d *Device) story() string {
	var words []string
	for _, e := range d.Journal() {
		switch {
		case e.Kind == "end" && e.Step != "":
			words = append(words, fmt.Sprintf("%s=%d", e.Step, e.Code))
		case e.Kind != "begin" && e.Kind != "end":
			words = append(words, e.Kind)
		}
	}
	return strings.Join(words, " ")
}

func sprint(a any) string { return fmt.Sprint(a) }
