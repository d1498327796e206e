package configtxt

import (
	"fmt"
	"strconv"
	"strings"
)

// Autoboot is what autoboot.txt makes the firmware do on an ordinary boot (Raspberry Pi documentation, "autoboot.txt"). It
// lies on the first FAT partition.
type Autoboot struct {
	// Partition is the number of the partition that is started, 0 for the one that autoboot.txt is on.
	Partition int
	// TrybootAB has the firmware read config.txt on a trial as well, and not tryboot.txt: what is tried is a partition.
	TrybootAB bool
}

// maxAutoboot is how much of autoboot.txt the firmware reads, in bytes.
const maxAutoboot = 512

// ReadAutoboot parses autoboot.txt. It knows the filters [all], [none] and [tryboot]; a setting behind another, or a
// partition that is no number, is an error.
func ReadAutoboot(text string) (Autoboot, error) {
	var a Autoboot
	if len(text) > maxAutoboot {
		return a, fmt.Errorf("autoboot.txt: found %d bytes, expected at most %d", len(text), maxAutoboot)
	}
	filter := "all"
	for raw := range strings.Lines(text) {
		line := strings.TrimSpace(raw)
		if section, ok := strings.CutPrefix(line, "["); ok {
			filter = strings.TrimSuffix(section, "]")
			continue
		}
		key, value := split(line)
		if filter == "none" || filter == "tryboot" || line == "" || line[0] == '#' {
			continue
		}
		if filter != "all" {
			return a, fmt.Errorf("autoboot.txt: found %s behind the filter [%s], expected [all], [none] or [tryboot]", key, filter)
		}
		if err := a.set(key, value); err != nil {
			return a, err
		}
	}
	return a, nil
}

func (a *Autoboot) set(key, value string) error {
	n, err := strconv.Atoi(value)
	switch key {
	case "boot_partition":
		if err != nil || n < 0 {
			return fmt.Errorf("autoboot.txt: found boot_partition=%s, expected the number of a partition", value)
		}
		a.Partition = n
	case "tryboot_a_b":
		a.TrybootAB = n == 1
	}
	return nil
}
