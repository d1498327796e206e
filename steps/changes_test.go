package steps_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/host/hosttest"
)

// A diff shows text, and neither secrets nor bytes that a terminal would obey.
func TestDiffs(t *testing.T) {
	canary := []byte("psk=canary\n")
	cases := map[string]struct {
		change steps.Differ
		want   schema.Diff
	}{
		"text": {
			steps.WriteFile{Path: "/f", Before: []byte("old\n"), Data: []byte("new\n")},
			schema.Diff{BeforeHeader: "/f", AfterHeader: "/f", Before: "old\n", After: "new\n"},
		},
		"new file": {
			steps.WriteFile{Path: "/f", Data: []byte("new\n")},
			schema.Diff{BeforeHeader: "/f", AfterHeader: "/f", After: "new\n"},
		},
		"secret": {
			steps.WriteFile{Path: "/f", Before: canary, Data: canary, Secret: true},
			schema.Diff{
				BeforeHeader: "/f", AfterHeader: "/f",
				Before: "(content not shown: it holds secrets)\n", After: "(content not shown: it holds secrets)\n",
			},
		},
		"not UTF-8": {
			steps.WriteFile{Path: "/f", Data: []byte("\xff\xfe")},
			schema.Diff{BeforeHeader: "/f", AfterHeader: "/f", After: "(2 bytes of binary data)\n"},
		},
		"binary": {
			steps.WriteFile{Path: "/f", Before: []byte("a\x00b"), Data: []byte("x")},
			schema.Diff{BeforeHeader: "/f", AfterHeader: "/f", Before: "(3 bytes of binary data)\n", After: "x"},
		},
		"removed": {
			steps.Remove{Path: "/f", Before: []byte("old\n")},
			schema.Diff{BeforeHeader: "/f", AfterHeader: "(removed)", Before: "old\n"},
		},
		"removed secret": {
			steps.Remove{Path: "/f", Before: canary, Secret: true},
			schema.Diff{BeforeHeader: "/f", AfterHeader: "(removed)", Before: "(content not shown: it holds secrets)\n"},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got := c.change.Diff()
			if got != c.want {
				t.Errorf("%+v, want %+v", got, c.want)
			}
			if strings.Contains(fmt.Sprint(got), "canary") {
				t.Errorf("the diff holds the secret: %+v", got)
			}
		})
	}
}

// A diff is in the result only when it was asked for.
func TestDiffOnlyOnDemand(t *testing.T) {
	write := steps.WriteFile{Path: "/f", Data: []byte("new\n"), Mode: 0o600}
	for _, on := range []bool{false, true} {
		res, err := converge(t, script(changes(write, nothing("a")), steps.Plan{}), func(r *steps.Run) { r.Diff = on })
		if err != nil || len(res.Diff) != map[bool]int{false: 0, true: 1}[on] {
			t.Errorf("diff %v: %v, %v", on, res.Diff, err)
		}
	}
}

// Changes happen where they say: on the device or among the caller's files.
func TestChangesInTheirPlace(t *testing.T) {
	device, files := hosttest.New(t, nil), hosttest.New(t, nil)
	target := steps.Target{Device: device, Files: files}
	for place, h := range map[steps.Place][2]*hosttest.Host{steps.OnDevice: {device, files}, steps.InFiles: {files, device}} {
		apply := func(c steps.Change) {
			t.Helper()
			if err := c.Apply(context.Background(), target); err != nil {
				t.Fatalf("%s: %v", c.Note(), err)
			}
		}
		apply(steps.Mkdir{Place: place, Path: "/d", Mode: 0o700})
		apply(steps.WriteFile{Place: place, Path: "/d/f", Data: []byte("x"), Mode: 0o640})
		info, err := os.Stat(filepath.Join(h[0].Root(), "d/f"))
		if err != nil || info.Mode() != 0o640 {
			t.Errorf("place %v: %v, %v", place, info, err)
		}
		if _, err := h[1].Stat("/d"); !os.IsNotExist(err) {
			t.Errorf("place %v: it is in the other place, too: %v", place, err)
		}
		apply(steps.Remove{Place: place, Path: "/d/f"})
		apply(steps.Remove{Place: place, Path: "/d"})
	}
}
