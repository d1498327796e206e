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
	"github.com/balena-community/balena-migrate/steps/status"
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

// TestAnotherWay: armed by config.txt, then by tryboot.txt and back, each leaves nothing of the other's, and disarming
// leaves every byte as it was.
func TestAnotherWay(t *testing.T) {
	d := hosttest.LoadDevice(t, "../../testdata/roots/pi5-rpios-13.txtar")
	d.Put(work+"/stage2.cpio.gz", "archive")
	in := schema.NewMigration()
	in.Facts.Initramfs = &schema.InitramfsFacts{Path: work + "/stage2.cpio.gz", Size: 7, SHA256: disarm.Sum([]byte("archive")), Modules: []string{}}
	before := tree(t, d.Root())
	armed := map[string]string{}
	for _, method := range []string{"raspberry-pi", "raspberry-pi-tryboot", "raspberry-pi", "auto"} {
		in.Config.Boot.Method = method
		res := converge(t, d.Host, armboot.Step{}, in)
		if !res.Changed {
			t.Errorf("%s changes nothing", method)
		}
		now := tree(t, d.Root())
		if was, ok := armed[res.Facts.Boot.Method]; ok && now != was {
			t.Errorf("%s leaves\n%s\nthe first time\n%s", method, now, was)
		}
		armed[res.Facts.Boot.Method] = now
		if want := map[string]string{"raspberry-pi": "", "raspberry-pi-tryboot": "0 tryboot"}[res.Facts.Boot.Method]; res.Facts.Boot.RestartArgument != want {
			t.Errorf("%s: restart with %q, want %q", res.Facts.Boot.Method, res.Facts.Boot.RestartArgument, want)
		}
	}
	if len(armed) != 2 {
		t.Errorf("armed by %d ways, want 2", len(armed))
	}
	converge(t, d.Host, armboot.Disarm{}, in)
	if after := tree(t, d.Root()); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

// TestTrybootIsOverWithTheBoot: in the next boot nothing is armed any more, and arming again is a change.
func TestTrybootIsOverWithTheBoot(t *testing.T) {
	d := hosttest.LoadDevice(t, "../../testdata/roots/pi5-rpios-13.txtar")
	d.Put(work+"/stage2.cpio.gz", "archive")
	in := schema.NewMigration()
	in.Facts.Initramfs = &schema.InitramfsFacts{Path: work + "/stage2.cpio.gz", Size: 7, SHA256: disarm.Sum([]byte("archive")), Modules: []string{}}
	stage := func(want, reason string) {
		t.Helper()
		s, err := status.Read(steptest.RunOn(d.Host).View(in))
		if err != nil || s.Stage != want || !strings.Contains(s.Reason, reason) {
			t.Errorf("stage %+v, %v; want %s with %q", s, err, want, reason)
		}
	}
	converge(t, d.Host, armboot.Step{}, in)
	stage("armed", "")
	d.Put("/proc/sys/kernel/random/boot_id", "another\n")
	stage("crashed", "boot.method to raspberry-pi")
	if res := converge(t, d.Host, armboot.Step{}, in); !res.Changed {
		t.Error("arming in the next boot changes nothing")
	}
	stage("armed", "")
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
