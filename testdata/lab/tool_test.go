package lab

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// document is the input of a run by hand on the guest.
func document(flash bool) string { return documentWith(fmt.Sprintf(`"flash":%v`, flash)) }

// documentWith has these members in the section stage2.
func documentWith(stage2 string) string {
	return fmt.Sprintf(`{"schema":"migration/1","config":{"image":{"path":"/var/lib/balena-migrate/input/balena.img.gz"},`+
		`"balena":{"config_json":"/var/lib/balena-migrate/input/config.json"},"backup":{"definition":"/var/lib/balena-migrate/input/backup.yml"},`+
		`"checks":{"skip":["api","vpn"]},"reboot":{"delay_s":1},"stage2":{%s}}}`, stage2)
}

// secondRuns runs every step by hand, twice: the second time each has nothing to do. (The first may have: run by hand the
// tool is another file than the one that Ansible installs.) reboot is left out, it would.
func secondRuns(t *testing.T, vm *VM) {
	t.Helper()
	putBinary(t, vm, "balena-migrate-linux-amd64")
	commands := []string{
		"step precheck", "step prepare-image", "step collect-wifi", "step backup", "step build-initramfs", "step arm-boot", "disarm",
	}
	// The controller made the image ready: what lies on the device is that.
	doc := strings.Replace(document(true), "input/balena.img.gz", "image.gz", 1)
	script := "cat >/root/m.json <<'EOF'\n" + doc + "\nEOF\n" // one script: a login takes seconds
	for _, c := range commands {
		once := "balena-migrate " + c + " --json --input /root/m.json || :\n"
		script += once + once
	}
	answers := json.NewDecoder(strings.NewReader(run(t, vm, script)))
	for _, c := range commands {
		for turn := 1; turn <= 2; turn++ {
			var a answer
			if err := answers.Decode(&a); err != nil {
				t.Fatalf("%s, run %d: %v", c, turn, err)
			}
			if a.Status != "converged" || !strings.HasSuffix(c, a.Step) || turn == 2 && a.Changed {
				t.Errorf("%s, run %d: %+v", c, turn, a)
			}
		}
	}
}

// answer is what the tests look at in a result or a status.
type answer struct {
	Step, Status, Msg, Stage, Reason string
	Changed, Armed                   bool
}

// result runs a command of the tool on the guest, with input on its standard input.
func result(t *testing.T, vm *VM, command, input string) answer {
	t.Helper()
	res, err := vm.SSH(t.Context(), fmt.Sprintf("%s --json --input - <<'EOF'\n%s\nEOF\n", command, input))
	if err != nil {
		t.Fatal(err)
	}
	var a answer
	if err := json.Unmarshal([]byte(res.Stdout), &a); err != nil {
		t.Fatalf("%s: %v\n%s%s", command, err, res.Stdout, res.Stderr)
	}
	for _, secret := range append(Secrets(), Canary) {
		if strings.Contains(res.Stdout+res.Stderr, secret) {
			t.Errorf("%s gives the secret %q away", command, secret)
		}
	}
	return a
}

func putBinary(t *testing.T, vm *VM, name string) {
	t.Helper()
	project, err := Project()
	if err != nil {
		t.Fatal(err)
	}
	if err := vm.Put(t.Context(), filepath.Join(project, "dist", name), "/usr/local/sbin/balena-migrate.new"); err != nil {
		t.Fatal(err)
	}
	run(t, vm, "chmod 755 /usr/local/sbin/balena-migrate.new && mv /usr/local/sbin/balena-migrate.new /usr/local/sbin/balena-migrate")
}
