// Package capacity counts what stage 2 will have: memory and processors.
package capacity

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/balena-community/balena-migrate/steps/host"
)

// Memory reads MemTotal (proc_meminfo(5)), in bytes.
func Memory(r host.Reader) (int64, error) { return meminfo(r, "MemTotal:") }

// Available reads MemAvailable, in bytes: what can be had without swapping.
func Available(r host.Reader) (int64, error) { return meminfo(r, "MemAvailable:") }

func meminfo(r host.Reader, name string) (int64, error) {
	data, err := r.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	for l := range strings.SplitSeq(string(data), "\n") {
		f := strings.Fields(l)
		if len(f) != 3 || f[0] != name || f[2] != "kB" {
			continue
		}
		if kb, err := strconv.ParseInt(f[1], 10, 43); err == nil && kb > 0 {
			return kb << 10, nil
		}
	}
	return 0, fmt.Errorf("/proc/meminfo: found no %s in kB", strings.TrimSuffix(name, ":"))
}

// Processors counts those that stage 2 will have, by the list of /sys/devices/system/cpu/online ("0-3,8"); where there
// is none it assumes so many that the need is not taken for too little.
func Processors(r host.Reader) int {
	data, err := r.ReadFile("/sys/devices/system/cpu/online")
	if err != nil {
		return 1 << 16
	}
	n := 0
	for part := range strings.SplitSeq(strings.TrimSpace(string(data)), ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		a, errA := strconv.ParseUint(first, 10, 16)
		b, errB := strconv.ParseUint(last, 10, 16)
		if errA != nil || errB != nil || b < a {
			return 1 << 16
		}
		n += int(b-a) + 1
	}
	return n
}
