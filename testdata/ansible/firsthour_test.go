package ansible

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/balena-community/balena-migrate/schema"
)

// operator is a newcomer: a fresh checkout, an inventory of three devices beside their files, and README.md's commands. One of
// the devices can be migrated, one can't, and one is not there.
type operator struct {
	t        *testing.T
	checkout string
	machine  *machine
	env      []string
}

// readme returns the commands of the first block of shell below a heading of README.md, without what they say of themselves.
func readme(t *testing.T, file, heading string) []string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("../..", file))
	if err != nil {
		t.Fatal(err)
	}
	_, text, found := strings.Cut(string(data), "\n"+heading+"\n")
	if !found {
		t.Fatalf("%s has no heading %q", file, heading)
	}
	text = regexp.MustCompile("(?s)\n```[a-z]+\n.*?\n```\n").ReplaceAllString(text, "\n")
	block := regexp.MustCompile("(?s)\n```\n(.*?)\n```\n").FindStringSubmatch(text)
	if block == nil {
		t.Fatalf("%s has no block of commands below %q", file, heading)
	}
	var all []string
	for _, line := range strings.Split(block[1], "\n") {
		command, _, _ := strings.Cut(line, " # ")
		if command = strings.TrimSpace(command); command != "" {
			all = append(all, command)
		}
	}
	return all
}

func newOperator(t *testing.T, b bench) *operator {
	t.Helper()
	o := &operator{t: t, checkout: filepath.Join(t.TempDir(), "balena-migrate"), machine: b.newMachine(t, "")}
	other := b.newDevice(t)
	command(t, "", "sh", "-c", `mkdir "$0" && cd ../.. && git ls-files -z --cached --others --exclude-standard |
		tar --null --ignore-failed-read -T - -c | tar -x -C "$0"`, o.checkout)
	m := o.machine
	known := m.read(filepath.Join(m.dir, "known_hosts")) + other.read(filepath.Join(other.dir, "known_hosts"))
	for name, text := range map[string]string{
		"known_hosts": known, "inventory.yml": fmt.Sprintf(fleet, m.port, m.dir, other.port, other.dir, freePort(t)), "word": "a word\n",
		"config.json": m.read(m.inputs["balena_migrate_config_json"].(string)), "balena.img": m.read(m.inputs["balena_migrate_image"].(string)),
		"backup.yml": m.read(m.inputs["balena_migrate_backup_definition"].(string)), "other.yml": "balena_migrate_wifi: none\n",
	} {
		if err := os.WriteFile(filepath.Join(o.checkout, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	home := filepath.Join(m.dir, "home")
	o.env = append(os.Environ(), "HOME="+home, "ANSIBLE_HOME="+home, "ANSIBLE_LOCAL_TEMP="+home+"/tmp", "LC_ALL=C.UTF-8", "GOFLAGS=-mod=mod",
		"ANSIBLE_SSH_CONTROL_PATH_DIR="+filepath.Join(m.dir, "cp"), "ANSIBLE_NOCOLOR=1", "GOCACHE="+goEnv(t, "GOCACHE"), "GOMODCACHE="+goEnv(t, "GOMODCACHE"))
	return o
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	return strings.TrimSpace(command(t, "", "go", "env", name))
}

// fleet is an inventory after ansible/inventory.example.yml. What is beyond that comes from the devices being trees.
const fleet = `
all:
  vars:
    ansible_host: 127.0.0.1
    ansible_user: free
    ansible_ssh_common_args: -F /dev/null -o StrictHostKeyChecking=yes -o UserKnownHostsFile={{ inventory_dir }}/known_hosts
    balena_migrate_config_json: config.json
    balena_migrate_image: balena.img
    balena_migrate_backup_definition: backup.yml
    balena_migrate_connect_timeout: 1
    balena_migrate_skip_checks: [api, vpn, memory]
    balena_migrate_require_network: false
    balena_migrate_reboot_delay: 1
    balena_migrate_wait_timeout: 4
    balena_migrate_wait_interval: 1
  hosts:
    gateway-1:
      ansible_port: %d
      ansible_ssh_private_key_file: %s/key
      balena_migrate_work_dir: /fake/var/lib/balena-migrate
    old-1:
      ansible_port: %d
      ansible_ssh_private_key_file: %s/key
      balena_migrate_binaries: "{{ inventory_dir }}/real"
    gone-1:
      ansible_port: %d
`

// run runs a command line as it stands, in the checkout, without a terminal.
func (o *operator) run(t *testing.T, line string) (int, string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-c", line)
	cmd.Dir, cmd.Env = o.checkout, o.env
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if strings.Contains(string(out), "canary-key") || strings.Contains(string(out), "canary-passphrase") {
		t.Errorf("%s: a key is on the screen", line)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// want runs a command line that has to end with an exit code and to say things, whatever the lines are broken at.
func (o *operator) want(t *testing.T, line string, code int, texts ...string) {
	t.Helper()
	got, out := o.run(t, line)
	words := strings.Join(strings.Fields(out), " ")
	for _, text := range texts {
		if !strings.Contains(words, text) {
			t.Errorf("%s: it does not say %q:\n%s", line, text, out)
		}
	}
	if got != code {
		t.Errorf("%s: exit code %d, want %d:\n%s", line, got, code, out)
	}
}

// build runs README.md's make. The devices are trees, so what was made for them then works on the fake Debian in the tree.
func (o *operator) build(t *testing.T, line string) {
	t.Helper()
	o.want(t, line, 0)
	o.env = append(o.env, "PATH="+filepath.Join(o.checkout, "bin")+":"+os.Getenv("PATH"))
	made, real := filepath.Join(o.checkout, "dist/balena-migrate-linux-amd64"), filepath.Join(o.checkout, "real/balena-migrate-linux-amd64")
	command(t, "", "mkdir", filepath.Dir(real))
	command(t, "", "mv", made, real)
	if err := os.WriteFile(made, fmt.Appendf(nil, onFake, real), 0o755); err != nil {
		t.Fatal(err)
	}
	command(t, "", "cp", real, filepath.Join(o.machine.root, "usr/lib/balena-migrate"))
}

// TestFirstHour is an operator's first hour, with the commands of README.md as they stand there.
func TestFirstHour(t *testing.T) {
	t.Parallel()
	lines := readme(t, "README.md", "## A fleet")
	if len(lines) != 4 || !strings.HasPrefix(lines[0], "make build dist && export PATH=") {
		t.Fatalf("README.md's commands for a fleet are %q: the test below knows four", lines)
	}
	o := newOperator(t, newBench(t))
	o.build(t, lines[0])
	t.Run("mistakes", func(t *testing.T) { testMistakes(t, o, lines[1]) })
	if err := os.RemoveAll(filepath.Join(o.checkout, "results")); err != nil {
		t.Fatal(err)
	}
	blocked := "old-1 blocked kernel: found "
	o.want(t, lines[1], 2, "gateway-1 ready can be migrated", blocked, "gone-1 lost does not answer:", "see that it is on and in the network")
	o.want(t, lines[2], 2, "gateway-1 ready prepared as far as build-initramfs", "Set balena_migrate_confirm to go on", "old-1 blocked")
	o.want(t, lines[3], 2, "gateway-1 migrated", "old-1 blocked")
	if !o.machine.off() {
		t.Fatal("the device did not go down")
	}
	o.want(t, lines[3]+" --limit gateway-1", 0, "gateway-1 migrated", "changed=0")
	t.Run("reports", func(t *testing.T) { testFirstReports(t, o) })
}

// testMistakes are the usual ones: none looks like a run that went well, and each says what helps.
func testMistakes(t *testing.T, o *operator, dry string) {
	one := dry + " --limit gateway-1"
	for _, c := range []struct {
		line string
		code int
		want []string
	}{
		{"ansible-playbook ansible/migrate.yml --check", 2, []string{"No device is in all", "-i that has devices"}},
		{strings.Replace(dry, "inventory.yml", "inventry.yml", 1), 2, []string{"Unable to parse", "No device is in all"}},
		{dry + " -e balena_migrate_hosts=gatewys", 2, []string{"No device is in gatewys"}},
		{"ansible-playbook ansible/migrate.yml -i gateway-1, --check -e ansible_connection=local -e balena_migrate_image=balena.imgg", 2,
			[]string{"balena.imgg is not on the controller: looked in " + o.checkout + ";", "balena-migrate report " + o.checkout + "/results"}},
		{one + " -e balena_migrate_rehaerse=true", 2, []string{"gateway-1 failed balena_migrate_rehaerse is no variable of the role; balena_migrate_rehearse is"}},
		{one + " -e balena_migrate_image=balena.imgg", 2, []string{"gateway-1 failed balena.imgg is not on the controller: looked in"}},
		{one + " -e balena_migrate_config_json=conf.json", 2, []string{"gateway-1 failed conf.json is not on the controller: looked in"}},
		{one + " -e ansible_user=asked", 2, []string{"gateway-1 failed Missing sudo password; set ansible_become_password", "-K"}},
		{one + " -e ansible_user=nobody-1", 2, []string{"gateway-1 lost does not answer", "see ansible_user, and ansible_ssh_private_key_file"}},
		{one + " -e 'ansible_ssh_common_args=\"-F /dev/null -o StrictHostKeyChecking=yes -o UserKnownHostsFile=/dev/null -o ControlPath=none\"'", 2,
			[]string{"gateway-1 lost", "host key, then take it into known_hosts"}},
		{"ansible-vault encrypt -v --vault-password-file word other.yml && " + one + " -e @other.yml", 1, []string{"no vault secrets"}},
	} {
		o.want(t, c.line, c.code, c.want...)
	}
	if r := o.report(t, "gateway-1"); r.Fate != schema.FateLost {
		t.Errorf("the device's file says %s: %s", r.Fate, r.Reason)
	}
}

// report reads a device's file.
func (o *operator) report(t *testing.T, host string) *schema.DeviceReport {
	t.Helper()
	name, r := filepath.Join(o.checkout, "results", host+".json"), &schema.DeviceReport{}
	if err := schema.Decode([]byte(o.machine.read(name)), name, "device-report", r); err != nil {
		t.Fatal(err)
	}
	return r
}

func testFirstReports(t *testing.T, o *operator) {
	lines := readme(t, "README.md", "### Who stands where")
	if len(lines) != 4 {
		t.Fatalf("README.md's reports are %q: the test knows four", lines)
	}
	o.want(t, lines[0], 0, "3 devices: 1 lost, 1 blocked, 1 migrated", "remedy:")
	o.want(t, lines[1], 0)
	o.want(t, lines[2], 0, `"migrated": 1`)
	o.want(t, lines[3], 3)
	o.want(t, "grep -c '<testcase' fleet.xml && grep -q gateway-1 fleet.html && balena-migrate report results --csv", 0, "old-1")
}

// TestReadmeCommands: what the READMEs tell to run agrees with each other, and the example inventory with the role.
func TestReadmeCommands(t *testing.T) {
	role := strings.Join(readme(t, "ansible/roles/migrate/README.md", "## Quick start"), "\n")
	for _, line := range readme(t, "README.md", "## A fleet")[1:] {
		order := regexp.MustCompile(`^(ansible-playbook) (ansible/migrate.yml) (-i inventory.yml)`).ReplaceAllString(line, "$1 $3 $2")
		if order = strings.TrimSuffix(order, " -f 50"); !strings.Contains(role, order) {
			t.Errorf("the role's README does not have %q; it has:\n%s", order, role)
		}
	}
	example, err := os.ReadFile("../../ansible/inventory.example.yml")
	if err != nil {
		t.Fatal(err)
	}
	defaults, err := os.ReadFile("../../ansible/roles/migrate/defaults/main.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range regexp.MustCompile(`balena_migrate_\w+`).FindAllString(string(example), -1) {
		if !strings.Contains(string(defaults), "\n"+name+":") {
			t.Errorf("the example inventory has %s, which is no variable of the role", name)
		}
	}
	if !net.ParseIP("192.0.2.11").Equal(net.ParseIP(regexp.MustCompile(`ansible_host: (\S+)`).FindStringSubmatch(string(example))[1])) {
		t.Error("the example's addresses are not for documentation only (RFC 5737)")
	}
}
