// Package steptest holds the laws that every step obeys.
package steptest

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/host"
)

// Laws converges a step that has something to do and can do it, and checks: check mode writes nothing and announces
// what the run then does; the run converges; a second run changes nothing, writes nothing and gives the same facts;
// the result is valid against its schema and none of the canaries is in it. It returns the first run's result.
func Laws(t *testing.T, s steps.Step, run steps.Run, in *schema.Migration, canaries ...string) *schema.Result {
	t.Helper()
	run.Diff = true
	dirs := []string{run.Device.Root()}
	if run.Files.Root() != "/" && run.Files.Root() != run.Device.Root() {
		dirs = append(dirs, run.Files.Root())
	}
	if run.Files.Root() == "/" {
		dirs = append(dirs, run.WorkDir)
	}
	before := snapshot(t, dirs)
	check := run
	check.Check = true
	announced := converge(t, s, check, in, canaries)
	if after := snapshot(t, dirs); after != before {
		t.Errorf("%s: check mode wrote:\n%s", s.Name(), difference(before, after))
	}
	first := converge(t, s, run, in, canaries)
	if !first.Changed || !announced.Changed {
		t.Errorf("%s: changed: check said %v, run said %v; the laws want a step with something to do", s.Name(), announced.Changed, first.Changed)
	}
	if !reflect.DeepEqual(announced.Changes, first.Changes) {
		t.Errorf("%s: check announced %v, the run did %v", s.Name(), announced.Changes, first.Changes)
	}
	before = snapshot(t, dirs)
	second := converge(t, s, run, in, canaries)
	if second.Changed || len(second.Changes) > 0 {
		t.Errorf("%s: second run changed %v", s.Name(), second.Changes)
	}
	if after := snapshot(t, dirs); after != before {
		t.Errorf("%s: second run wrote:\n%s", s.Name(), difference(before, after))
	}
	if !reflect.DeepEqual(first.Facts, second.Facts) {
		t.Errorf("%s: facts differ between runs:\n%+v\n%+v", s.Name(), first.Facts, second.Facts)
	}
	return first
}

func converge(t *testing.T, s steps.Step, run steps.Run, in *schema.Migration, canaries []string) *schema.Result {
	t.Helper()
	res, err := run.Converge(context.Background(), s, in)
	if err != nil || res.Status != schema.Converged {
		t.Fatalf("%s: status %s, error %v, blocked %v", s.Name(), res.Status, err, res.Blocked)
	}
	Valid(t, res, canaries...)
	return res
}

// Valid checks a result against its schema and looks for canaries.
func Valid(t *testing.T, res *schema.Result, canaries ...string) {
	t.Helper()
	data, err := schema.Encode(res)
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Decode(data, "result of "+res.Step, "result", schema.NewResult("")); err != nil {
		t.Error(err)
	}
	for _, c := range canaries {
		if strings.Contains(string(data), c) {
			t.Errorf("result of %s holds the secret %q", res.Step, c)
		}
	}
}

// RunOn is a run on a host that serves as device and as the caller's files, work dir in its usual place.
func RunOn(h host.Host) steps.Run {
	return steps.Run{Device: h, Files: h, WorkDir: "/var/lib/balena-migrate", Version: "test", Self: "/self"}
}

// large is the size from which on a file is a disk, whose time has to do for its content.
const large = 1 << 30

// snapshot is a text that changes with any name, mode, link, content or inode below the directories.
func snapshot(t *testing.T, dirs []string) string {
	t.Helper()
	var b strings.Builder
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
			if os.IsNotExist(err) {
				return nil
			}
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, "%s %s %d", name, info.Mode(), info.ModTime().UnixNano())
			if info.Mode().IsRegular() && info.Size() < large {
				data, err := os.ReadFile(name)
				if err != nil {
					return err
				}
				fmt.Fprintf(&b, " %d %x", info.Size(), sha256.Sum256(data))
			}
			b.WriteByte('\n')
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

func difference(before, after string) string {
	had := map[string]bool{}
	for _, l := range strings.Split(before, "\n") {
		had[l] = true
	}
	var out []string
	for _, l := range strings.Split(after, "\n") {
		if !had[l] {
			out = append(out, l)
		}
	}
	return strings.Join(out, "\n")
}
