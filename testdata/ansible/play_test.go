package ansible

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-json"
)

// run is one run of ansible-playbook.
type run struct {
	code    int
	screen  string
	results []result
}

// result is what a task came to on a host: ok, failed, unreachable or skipped.
type result struct {
	State  string         `json:"state"`
	Host   string         `json:"host"`
	Task   string         `json:"task"`
	Result map[string]any `json:"result"`
}

// text returns a member of the result that has to be a text.
func (r result) text(t *testing.T, member string) string {
	t.Helper()
	s, ok := r.Result[member].(string)
	if !ok {
		t.Fatalf("%s of task %q is %v, want a text; result: %v", member, r.Task, r.Result[member], r.Result)
	}
	return s
}

// task returns the only result of a task.
func (r run) task(t *testing.T, name string) result {
	t.Helper()
	var found []result
	for _, one := range r.results {
		if strings.HasSuffix(one.Task, name) {
			found = append(found, one)
		}
	}
	if len(found) != 1 {
		t.Fatalf("task %q has %d results, want 1; the run's output:\n%s", name, len(found), r.screen)
	}
	return found[0]
}

// play runs a play, or a list of tasks, against the device, as the user free with sudo.
func (d *device) play(b bench, text string, args ...string) run {
	d.t.Helper()
	if text = strings.TrimSpace(text); !strings.HasPrefix(text, "- hosts:") {
		text = "- hosts: all\n  gather_facts: false\n  become: true\n  tasks:\n    " +
			strings.ReplaceAll(text, "\n", "\n    ") + "\n"
	}
	book := filepath.Join(d.t.TempDir(), "play.yml")
	if err := os.WriteFile(book, []byte(text), 0o600); err != nil {
		d.t.Fatal(err)
	}
	return d.playbook(b, book, args...)
}

// playbook runs a playbook file against the device, with nothing of the caller's own Ansible in the way.
func (d *device) playbook(b bench, book string, args ...string) run {
	d.t.Helper()
	record := filepath.Join(d.t.TempDir(), "record")
	cmd := d.command(b, book, record, args...)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		d.t.Fatalf("ansible-playbook: %v", err)
	}
	if strings.Contains(string(out), "NoneType") {
		d.t.Errorf("a failure is told as an exception that there was none of:\n%s", out)
	}
	return run{code: cmd.ProcessState.ExitCode(), screen: string(out), results: readRecord(d.t, record)}
}

func (d *device) environment(b bench, record string) []string {
	here, err := os.Getwd()
	if err != nil {
		d.t.Fatal(err)
	}
	return append(os.Environ(),
		"ANSIBLE_CONFIG="+filepath.Join(d.dir, "ansible.cfg"), "ANSIBLE_HOME="+filepath.Join(d.dir, "ansible"), "HOME="+d.dir,
		"ANSIBLE_LOCAL_TEMP="+filepath.Join(d.dir, "ansible", "tmp"), "ANSIBLE_NOCOLOR=1",
		"ANSIBLE_SSH_CONTROL_PATH_DIR="+filepath.Join(d.dir, "cp"), "ANSIBLE_FORCE_COLOR=0", "LC_ALL=C.UTF-8",
		"ANSIBLE_COLLECTIONS_PATH="+filepath.Join(here, "../../ansible/collections"),
		"ANSIBLE_CALLBACK_PLUGINS="+filepath.Join(here, "callback"), "ANSIBLE_CALLBACKS_ENABLED=record", "RECORD="+record,
		"BALENA_MIGRATE_BINARIES="+b.binaries)
}

// inventory names the device. Its short persistence lets no ControlMaster outlive the test for long.
func (d *device) inventory() string {
	d.t.Helper()
	path := filepath.Join(d.dir, "inventory.ini")
	text := fmt.Sprintf("device ansible_host=127.0.0.1 ansible_port=%d ansible_ssh_private_key_file=%s "+
		"ansible_ssh_common_args='-o UserKnownHostsFile=%s -o StrictHostKeyChecking=yes -F /dev/null'\n",
		d.port, filepath.Join(d.dir, "key"), filepath.Join(d.dir, "known_hosts"))
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		d.t.Fatal(err)
	}
	return path
}

// also is one more inventory, in which the device has a name, another than "device" perhaps, and variables.
func (d *device) also(t *testing.T, name, vars string) string {
	t.Helper()
	line := strings.Replace(d.read(d.inventory()), "device ", name+" ", 1)
	path := filepath.Join(t.TempDir(), "inventory.ini")
	if err := os.WriteFile(path, []byte(strings.TrimSpace(line)+" "+vars+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func readRecord(t *testing.T, path string) []result {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []result
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var one result
		if err := json.Unmarshal(lines.Bytes(), &one); err != nil {
			t.Fatal(err)
		}
		all = append(all, one)
	}
	return all
}
