package precheck

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps/host/hosttest"
)

// device makes a described machine ready for precheck.
func device(t *testing.T, file string) (*hosttest.Device, *schema.Migration) {
	t.Helper()
	d := hosttest.LoadDevice(t, file)
	d.FreeBytes = 2 << 30
	d.Reachable = []string{"api.balena-cloud.com:443", "cloudlink.balena-cloud.com:443", "vpn.balena-cloud.com:443"}
	d.Put(configName, strings.Replace(goodConfig, "genericx86-64-ext", d.Slug, 1))
	sparse(t, d.Root(), imageFile, 51<<20, map[int64][]byte{0: gzipped(t, imageHead(440<<20))})
	return d, input()
}

// TestDevices: one machine per device and system of the inventory (S43 to S49, P22 to P26, E5). Its facts are the golden
// ones, and what can't be migrated yet is blocked by exactly the checks that its file names, each saying what helps.
func TestDevices(t *testing.T) {
	for _, file := range hosttest.Devices(t, rootsDir) {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			d, in := device(t, file)
			res := converge(t, d.Host, in)
			if got := names(res.Blocked); strings.Join(got, " ") != strings.Join(d.Blocked, " ") {
				t.Errorf("blocked by %v, want %v: %+v", got, d.Blocked, res.Blocked)
			}
			for _, b := range res.Blocked {
				if b.Got == "" || b.Want == "" || b.Remedy == "" {
					t.Errorf("a blocker that does not help: %+v", b)
				}
			}
			wantGolden(t, "precheck-"+d.Name+".json", res)
		})
	}
}

func wantGolden(t *testing.T, name string, res *schema.Result) {
	t.Helper()
	got, err := schema.Encode(res.Facts)
	if err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join(goldenDir, name)
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("facts are\n%s\nwant those of %s\n%s", got, golden, want)
	}
}
