package capacity_test

import (
	"testing"

	"github.com/balena-community/balena-migrate/steps/device/capacity"
	"github.com/balena-community/balena-migrate/steps/host/hosttest"
)

func TestMemory(t *testing.T) {
	for text, want := range map[string]int64{
		"MemFree: 1 kB\nMemTotal:         981464 kB\n": 981464 << 10,
		"MemTotal: 981464\n":                           0,
		"MemTotal: -5 kB\n":                            0,
		"MemTotal: 9223372036854775807 kB\n":           0,
		"":                                             0,
	} {
		h := hosttest.New(t, map[string]string{"/proc/meminfo": text})
		if got, err := capacity.Memory(h); got != want || (err == nil) != (want > 0) {
			t.Errorf("%q: %d, %v, want %d", text, got, err, want)
		}
	}
}

func TestProcessors(t *testing.T) {
	for text, want := range map[string]int{"0\n": 1, "0-3\n": 4, "0-1,4,6-7\n": 5, "": 1 << 16, "3-1": 1 << 16, "all": 1 << 16} {
		h := hosttest.New(t, map[string]string{"/sys/devices/system/cpu/online": text})
		if got := capacity.Processors(h); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}
