package armboot_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/disarm"
	"github.com/balena-community/balena-migrate/steps/armboot"
	"github.com/balena-community/balena-migrate/steps/host/hosttest"
	"github.com/balena-community/balena-migrate/steps/steptest"
)

// TestEveryDevice: on each machine of testdata/roots whose boot loader has a back end, arming twice changes nothing the
// second time, and disarming leaves every file as it was; on each other, nothing is touched and what was found is named.
func TestEveryDevice(t *testing.T) {
	for _, file := range hosttest.Devices(t, "../../testdata/roots") {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			d := hosttest.LoadDevice(t, file)
			d.Put(work+"/stage2.cpio.gz", "archive")
			in := schema.NewMigration()
			in.Facts.Initramfs = &schema.InitramfsFacts{Path: work + "/stage2.cpio.gz", Size: 7, SHA256: disarm.Sum([]byte("archive")), Modules: []string{}}
			before := tree(t, d.Root())
			blocked := strings.Join(d.Blocked, " ")
			if blocked == "boot-loader" || blocked == "grubenv" || blocked == "secure-boot" {
				res, err := steptest.RunOn(d.Host).Converge(context.Background(), armboot.Step{}, in)
				if err != nil || res.Status != schema.BlockedBy || res.Blocked[0].Check != blocked {
					t.Errorf("%s %v %+v, want it blocked by %s", res.Status, err, res.Blocked, blocked)
				}
			} else {
				first := converge(t, d.Host, armboot.Step{}, in)
				armed := tree(t, d.Root())
				second := converge(t, d.Host, armboot.Step{}, in)
				if !first.Changed || armed == before || second.Changed || tree(t, d.Root()) != armed {
					t.Errorf("arming changed %v, arming again %v", first.Changes, second.Changes)
				}
				converge(t, d.Host, armboot.Disarm{}, in)
			}
			if after := tree(t, d.Root()); after != before {
				t.Errorf("before:\n%s\nafter:\n%s", before, after)
			}
		})
	}
}

// tree is every file with its mode and content, and every link; disks are too large to be read, and nobody writes there.
func tree(t *testing.T, root string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(root, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || strings.HasPrefix(name, filepath.Join(root, "dev")) {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		b.WriteString(strings.TrimPrefix(name, root) + " " + info.Mode().String())
		if info.Mode().IsRegular() {
			data, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			sum := sha256.Sum256(data)
			b.WriteString(" " + hex.EncodeToString(sum[:]))
		}
		b.WriteString("\n")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}
