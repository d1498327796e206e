package configtxt

import (
	"slices"
	"strconv"
	"strings"
)

// Board is what the filters of config.txt ask for.
type Board struct {
	// Models are the model filters that are for it, such as "pi4" and "cm4".
	Models []string
	// Type is the board's number in its revision code (bits 4 to 11), -1 when it is not known.
	Type int
	// Revision is the board's, the last digit of its revision code; -1 with Type.
	Revision int
	// Serial is the board's serial number as /proc/cpuinfo has it, in hex.
	Serial string
	// Partition is the number of the partition that config.txt is on, 0 when it is not known.
	Partition int
}

// The kinds of filters. Filters of one kind replace each other.
const (
	kindModel     = "model"
	kindSerial    = "serial"
	kindTryboot   = "tryboot"
	kindPartition = "boot_partition"
	kindFirmware  = "firmware" // with the name of the filter behind it: only the firmware can tell
)

// kind is what a filter asks for. [none] is a model that no board is. Others have a value, or are compared with one:
// [gpio4=1], [boot_count>3].
func kind(filter string) string {
	name := filter
	if i := strings.IndexAny(filter, "=<>&:"); i >= 0 {
		name = filter[:i]
	}
	switch {
	case name == "board-type", isModelFilter(filter):
		return kindModel
	case filter == "tryboot":
		return kindTryboot
	case strings.HasPrefix(filter, "0x"):
		return kindSerial
	case name == kindPartition:
		return kindPartition
	}
	return kindFirmware + " " + name
}

// isModelFilter says whether a filter is [none] or asks for a model. Those that came after this was written begin like the
// known ones.
func isModelFilter(filter string) bool {
	return filter == "none" || strings.HasPrefix(filter, "pi") || strings.HasPrefix(filter, "cm")
}

func (b Board) matches(kind, filter string) Answer {
	switch kind {
	case kindModel:
		return b.isModel(filter)
	case kindTryboot:
		return No // an ordinary boot
	case kindSerial:
		return answer(sameNumber(filter, "0x"+b.Serial))
	case kindPartition:
		return b.isPartition(filter)
	}
	if strings.HasPrefix(filter, "HDMI:") {
		return Yes // says which port a setting is for; ours are for none
	}
	return Unknown
}

// isPartition is about the partition that config.txt is read from.
func (b Board) isPartition(filter string) Answer {
	n, err := strconv.Atoi(strings.TrimPrefix(filter, kindPartition+"="))
	if err != nil || b.Partition == 0 {
		return Unknown
	}
	return answer(n == b.Partition)
}

func (b Board) isModel(filter string) Answer {
	if number, ok := strings.CutPrefix(filter, "board-type="); ok {
		n, err := strconv.ParseInt(number, 0, 16)
		if err != nil || b.Type < 0 {
			return Unknown
		}
		return answer(int(n) == b.Type)
	}
	switch {
	case slices.Contains(b.Models, filter):
		return Yes
	case filter != "none" && len(b.Models) == 0:
		return Unknown
	}
	return No
}

func answer(yes bool) Answer {
	if yes {
		return Yes
	}
	return No
}

// sameNumber compares two numbers in hex, whatever zeros they begin with.
func sameNumber(a, b string) bool {
	x, errX := strconv.ParseUint(a, 0, 64)
	y, errY := strconv.ParseUint(b, 0, 64)
	return errX == nil && errY == nil && x == y
}

// model is a board by the beginning of what the device tree calls it.
type model struct {
	prefix  string
	filters []string
}

// models lists which model filters a board sees (Raspberry Pi documentation, "Model filters"); the first that fits holds.
// What a Compute Module 0 sees is not told there, so a filter for a board can't be told on it.
func models() []model {
	return []model{
		{"Raspberry Pi Compute Module 0", nil},
		{"Raspberry Pi 500", []string{"pi5", "pi500"}},
		{"Raspberry Pi 5 ", []string{"pi5"}},
		{"Raspberry Pi Compute Module 5", []string{"pi5", "cm5"}},
		{"Raspberry Pi 400", []string{"pi4", "pi400"}},
		{"Raspberry Pi 4 ", []string{"pi4"}},
		{"Raspberry Pi Compute Module 4S", []string{"pi4", "cm4s"}},
		{"Raspberry Pi Compute Module 4", []string{"pi4", "cm4"}},
		{"Raspberry Pi 3 Model B Plus", []string{"pi3", "pi3+"}},
		{"Raspberry Pi 3 Model A Plus", []string{"pi3", "pi3+"}},
		{"Raspberry Pi 3 ", []string{"pi3"}},
		{"Raspberry Pi Compute Module 3", []string{"pi3"}},
		{"Raspberry Pi 2 ", []string{"pi2"}},
		{"Raspberry Pi Zero 2", []string{"pi0", "pi0w", "pi02"}},
		{"Raspberry Pi Zero W", []string{"pi0", "pi0w"}},
		{"Raspberry Pi Zero", []string{"pi0"}},
		{"Raspberry Pi", []string{"pi1"}},
	}
}

// BoardOf tells the board by the device tree's name of the model, and the lines of /proc/cpuinfo.
func BoardOf(name, cpuinfo string) Board {
	b := Board{Type: -1, Revision: -1}
	for _, m := range models() {
		if strings.HasPrefix(strings.TrimRight(name, "\x00\n")+" ", m.prefix) {
			b.Models = m.filters
			break
		}
	}
	for line := range strings.SplitSeq(cpuinfo, "\n") {
		key, value, _ := strings.Cut(line, ":")
		switch value = strings.TrimSpace(value); strings.TrimSpace(key) {
		case "Serial":
			b.Serial = value
		case "Revision":
			b.Type, b.Revision = boardType(value)
		}
	}
	return b
}

// newStyle marks a revision code that has the board's number in it (Raspberry Pi documentation, "Revision codes").
const newStyle = 1 << 23

func boardType(code string) (number, revision int) {
	n, err := strconv.ParseUint(code, 16, 32)
	if err != nil || n&newStyle == 0 {
		return -1, -1
	}
	return int(n >> 4 & 0xff), int(n & 0xf)
}
