package scale

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/goccy/go-json"
	"go.yaml.in/yaml/v3"
)

// measured is how many devices the table is of; forks are the workers, so that each task is one round.
const measured, forks = 40, 50

// way is one way to have all devices run something. Where most is said, it is held to so many times the processor time that
// ansible.builtin.raw takes for what step runs.
type way struct {
	name, task, env string
	most            float64
}

// noTTY is for raw: these devices have no terminals.
const noTTY = "ANSIBLE_SSH_USETTY=False"

// roleStep is a task of the role, as far as it matters here.
type roleStep struct {
	Step     map[string]any            `yaml:"balena_community.migrate.step"`
	Register string                    `yaml:"register"`
	Defaults map[string]map[string]any `yaml:"module_defaults"`
	Block    []roleStep                `yaml:"block"`
}

// roleTask is the step of a backup exactly as the role has it: with the configuration of its variables, the facts of a real
// precheck, and the report of the device on the controller's disk.
func roleTask(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(role + "/tasks/main.yml")
	if err != nil {
		t.Fatal(err)
	}
	var tasks []roleStep
	if err := yaml.Unmarshal(data, &tasks); err != nil {
		t.Fatal(err)
	}
	for _, one := range tasks[0].Block {
		if one.Step["name"] != "backup" {
			continue
		}
		args, err := json.Marshal(one.Step)
		if err != nil {
			t.Fatal(err)
		}
		defaults, err := json.Marshal(map[string]any{stepModule: tasks[0].Defaults[stepModule]})
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%s: %s\n  register: %s\n  module_defaults: %s", stepModule, args, one.Register, defaults)
	}
	t.Fatal("the role has no backup")
	return ""
}

const role, stepModule = "../../ansible/roles/migrate", "balena_community.migrate.step"

// bareTask is a step with nothing to carry and no report, for what the action itself costs.
const bareTask = "balena_community.migrate.step: {name: backup}"

// The two of raw that all others are told in: the cheapest there is, and the one whose device does what it does for a step.
const raw, rawStep = 1, 2

func ways(t *testing.T) []way {
	t.Helper()
	same, err := json.Marshal(stepCommand)
	if err != nil {
		t.Fatal(err)
	}
	return []way{
		{"ansible.builtin.debug, no connection", "ansible.builtin.debug: {msg: none}", "", 0},
		{"ansible.builtin.raw", "ansible.builtin.raw: /bin/true", noTTY, 0},
		{"ansible.builtin.raw, of the step's own command", "ansible.builtin.raw: " + string(same), noTTY, 0},
		{"balena_community.migrate.step, as the role runs it", roleTask(t), "", 1.3},
		{"the same without configuration, facts and report", bareTask, "", 1.3},
		{"ansible.builtin.command, pipelining", "ansible.builtin.command: /bin/true", "ANSIBLE_PIPELINING=1", 0},
		{"ansible.builtin.command", "ansible.builtin.command: /bin/true", "", 0},
	}
}

// TestController prints what a device and step costs the controller in each way, all in one run and taking turns, best of
// three. It is (T(6 tasks) − T(1 task)) / 5 / devices, with connections that are open already. The devices are on the same
// processors, and while one of them works Ansible asks each millisecond whether it is ready: so a step is held to a raw that
// waits for the same work.
func TestController(t *testing.T) {
	c := newController(t)
	f := c.controllers(t, measured)
	facts, err := os.ReadFile("../golden/precheck-x86-debian-11-emmc.json")
	if err != nil {
		t.Fatal(err)
	}
	args := append(c.vars(t, nil), "-e", `{"balena_migrate_result": {"facts": `+string(facts)+"}}")
	all := ways(t)
	c.play(t, f, c.book(t, bareTask, 1), args...) // installs, and connects
	wall, cpu := make([]time.Duration, len(all)), make([]time.Duration, len(all))
	floor, work := time.Hour, time.Hour
	for range rounds() {
		for i, w := range all {
			one, six := c.timed(t, f, w, 1, args), c.timed(t, f, w, 6, args)
			wall[i], cpu[i] = best(wall[i], (six.wall-one.wall)/5/measured), best(cpu[i], (six.cpu-one.cpu)/5/measured)
		}
		idle := f.rounds(t, "true", 5)
		floor = min(floor, idle/5/measured)
		work = min(work, (f.rounds(t, stepCommand, 5)-idle)/5/measured)
	}
	t.Logf("ms per device and task: %d devices, %d forks, all on this machine's processors\n%-52s %8s %10s", measured, forks, "", "wall", "processor")
	t.Logf("%-52s %8.1f", "ssh alone, ControlPersist", ms(floor))
	for i, w := range all {
		t.Logf("%-52s %8.1f %10.1f   %.2f, %.2f times raw; %.2f, %.2f times raw of the step's command", w.name, ms(wall[i]), ms(cpu[i]),
			ms(wall[i])/ms(wall[raw]), ms(cpu[i])/ms(cpu[raw]), ms(wall[i])/ms(wall[rawStep]), ms(cpu[i])/ms(cpu[rawStep]))
		if ratio := ms(cpu[i]) / ms(cpu[rawStep]); w.most > 0 && ratio > w.most {
			t.Errorf("%s costs the controller %.2f times the processor time of %s, want at most %.1f", w.name, ratio, all[rawStep].name, w.most)
		}
	}
	t.Logf("%-52s %8.1f", "the device's own part of a step", ms(work))
}

func rounds() int { return 3 }

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// best is the least that is not nothing: a run beside others can take any longer, and the one task less.
func best(a, b time.Duration) time.Duration {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}

// stepCommand is what the step action runs, without Ansible.
const stepCommand = `echo '{"schema":"migration/1"}' | /` + workDir + `/bin/balena-migrate step backup --json --input - --detach 5s --run-id a --work-dir /` + workDir

// controllers are devices with this machine's own programs, Python among them, read-only. They keep their process 1.
func (c *controller) controllers(t *testing.T, n int) *Fleet {
	t.Helper()
	f := c.devices(t, 0, nil)
	f.Linger = time.Hour
	for i := range n {
		d := &Device{Name: fmt.Sprintf("c%d", i), kind: "controller"}
		d.Root = filepath.Join(f.Dir, d.Name)
		for _, dir := range []string{"usr", "etc", "proc", "dev", "tmp", "root", "home/admin", "var/tmp", "run"} {
			if err := os.MkdirAll(filepath.Join(d.Root, dir), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		for _, name := range []string{"bin", "sbin", "lib", "lib64"} {
			if err := os.Symlink("usr/"+name, filepath.Join(d.Root, name)); err != nil {
				t.Fatal(err)
			}
		}
		if err := nodes(d.Root); err != nil {
			t.Fatal(err)
		}
		f.Add(d)
	}
	f.inventory(t)
	more := "ansible_user=root\nansible_python_interpreter=/usr/bin/python3\n"
	name := filepath.Join(f.Dir, "inventory.ini")
	text, err := os.ReadFile(name)
	if err == nil {
		err = os.WriteFile(name, []byte(strings.Replace(string(text), "ansible_user=admin\n", more, 1)), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// book is a playbook with n times the same task, in a role that has the variables of the real one.
func (c *controller) book(t *testing.T, task string, n int) string {
	t.Helper()
	dir := t.TempDir()
	ours, err := filepath.Abs(role)
	if err == nil {
		err = os.MkdirAll(filepath.Join(dir, "roles/measure/tasks"), 0o755)
	}
	for _, part := range []string{"defaults", "vars"} {
		if err == nil {
			err = os.Symlink(filepath.Join(ours, part), filepath.Join(dir, "roles/measure", part))
		}
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "roles/measure/tasks/main.yml"), []byte(strings.Repeat("- name: Do\n  "+task+"\n", n)), 0o600)
	}
	name := filepath.Join(dir, "book.yml")
	if err == nil {
		err = os.WriteFile(name, []byte("- name: Measure\n  hosts: all\n  gather_facts: false\n  roles: [measure]\n"), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return name
}

func (c *controller) timed(t *testing.T, f *Fleet, w way, n int, args []string) run {
	t.Helper()
	if name, value, ok := strings.Cut(w.env, "="); ok {
		t.Setenv(name, value)
		defer os.Unsetenv(name)
	}
	r := c.play(t, f, c.book(t, w.task, n), args...)
	if r.code != 0 {
		t.Fatalf("%s: exit code %d\n%s", w.name, r.code, r.screen)
	}
	return r
}

// rounds runs a command on all devices at once, n times, and returns how long that took, connections being open.
func (f *Fleet) rounds(t *testing.T, command string, n int) time.Duration {
	t.Helper()
	sockets := f.sockets(t)
	round := func() {
		var all sync.WaitGroup
		for _, d := range f.Devices {
			all.Go(func() {
				cmd := exec.Command("ssh", "-F", "/dev/null", "-i", f.Key(), "-o", "UserKnownHostsFile="+f.KnownHosts(), "-o", "ControlMaster=auto",
					"-o", "ControlPersist=60", "-o", "ControlPath="+sockets+"/f%h", "-p", sprint(f.Port()), "root@"+d.Address, command)
				if out, err := cmd.Output(); err != nil {
					t.Errorf("ssh %s: %v %s", d.Address, err, out)
				}
			})
		}
		all.Wait()
	}
	round()
	began := time.Now()
	for range n {
		round()
	}
	return time.Since(began)
}
