package host

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A watchdog that is not there, or does not take the time it was said to take, must not run on: nobody would feed it.
func TestWatchdogIsNotArmedForAnyTime(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"kmsg", "watchdog0"} {
		if err := os.MkdirAll(filepath.Join(dir, "dev"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "dev", name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r := At(dir)
	read := func(name string) string {
		data, err := r.ReadFile("/dev/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	if w := r.armForReboot("/dev/watchdog0", 10*time.Minute); w != nil || read("watchdog0") != "V" {
		t.Errorf("armed %v, and the watchdog got %q", w, read("watchdog0"))
	}
	if text := read("kmsg"); !strings.HasPrefix(text, "<5>balena-migrate: rebooting without a watchdog: /dev/watchdog0 takes 0s, not 10m0s\n") {
		t.Errorf("the kernel's log has %q", text)
	}
	if w := r.armForReboot("/dev/watchdog7", 10*time.Minute); w != nil || !strings.Contains(read("kmsg"), "watchdog7: no such file") {
		t.Errorf("armed %v, and the kernel's log has %q", w, read("kmsg"))
	}
}
