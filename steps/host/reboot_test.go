package host

import (
	"strings"
	"testing"
)

// The argument of the restart is left where systemd looks for it, and nowhere where nobody would pass it on.
func TestPassArgument(t *testing.T) {
	r := At(t.TempDir())
	if err := r.passArgument("0 tryboot"); err == nil || !strings.Contains(err.Error(), "init other than systemd") {
		t.Errorf("without systemd: %v", err)
	}
	if err := r.MkdirAll("/run/systemd/system", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := r.passArgument(""); err != nil {
		t.Error(err)
	}
	if _, err := r.Stat(rebootParam); err == nil {
		t.Error("no argument was left as one")
	}
	if err := r.passArgument("0 tryboot"); err != nil {
		t.Fatal(err)
	}
	if data, err := r.ReadFile(rebootParam); err != nil || string(data) != "0 tryboot\n" {
		t.Errorf("%q, %v", data, err)
	}
}
