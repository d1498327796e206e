package ansible

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/balena-community/balena-migrate/schema"
)

// losing is what sshd runs in the place of every command: the first time it is asked for something the connection is lost
// before anything is done, the second time after all of it is done, with the answer.
const losing = `#!/bin/sh
name=$(printf %s "$SSH_ORIGINAL_COMMAND" | sed 's/BECOME-SUCCESS-[a-z]*//g; s/--run-id [0-9a-f]*//g' | sha256sum | cut -c1-32)
mkdir -p /lost
times=$(cat "/lost/$name" 2>/dev/null || echo 0)
echo $((times + 1)) >"/lost/$name"
read -r pid name state sshd rest <"/proc/$PPID/stat" # its parent is the shell that sshd starts
case $times in
0) kill -9 "$sshd"; exit ;;
1) sh -c "$SSH_ORIGINAL_COMMAND" >/dev/null 2>&1; kill -9 "$sshd"; exit ;;
esac
exec sh -c "$SSH_ORIGINAL_COMMAND"
`

// TestDrops: a migration in which every single command to the device is lost twice, once on the way there and once on the
// way back, comes to the same end as any other.
func TestDrops(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	m := b.newMachine(t, "ForceCommand /bin/losing\n")
	m.write("bin/losing", losing, 0o755)
	if err := os.Mkdir(filepath.Join(m.root, "lost"), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(m.root, "lost"), 0o777); err != nil {
		t.Fatal(err)
	}
	run := m.migrate(t, confirm(map[string]any{"balena_migrate_reboot_delay": 12, "balena_migrate_wait_timeout": 30}))
	if run.code != 0 {
		t.Fatalf("exit code %d:\n%s", run.code, run.screen)
	}
	r := m.report(t)
	want(t, r, schema.FateMigrated, "", "copy:converged", "image:converged", "copy:converged", "precheck:converged",
		"prepare-image:converged", "collect-wifi:converged", "backup:converged", "build-initramfs:converged", "arm-boot:converged",
		"reboot:converged", "wait:converged")
	for _, s := range r.Last().Steps {
		if long := strings.Contains("prepare-image backup build-initramfs arm-boot", s.Name); long && !s.Changed {
			t.Errorf("%s changed nothing, though the device was changed for this run", s.Name)
		}
	}
	lost, err := os.ReadDir(filepath.Join(m.root, "lost"))
	if err != nil || len(lost) < 15 {
		t.Errorf("%d different commands were lost, %v; want all of a migration's", len(lost), err)
	}
	if left := m.find("fake/var/lib/balena-migrate"); strings.Contains(left, ".part") || strings.Contains(left, ".balena-new") {
		t.Errorf("on the device is left:\n%s", left)
	}
	m.off()
}
