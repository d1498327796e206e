package ansible

import (
	"encoding/json"
	"path/filepath"
	"testing"
)

// TestImport: Ansible itself reads the inventory that is made of a migdb database, and the passwords beside it, as meant.
func TestImport(t *testing.T) {
	b := newBench(t)
	dir := t.TempDir()
	inventory, secrets, word := filepath.Join(dir, "inventory.yml"), filepath.Join(dir, "secrets.yml"), source(t, "vault password\n")
	command(t, "", filepath.Join(b.binaries, "balena-migrate-linux-amd64"), "fleet", "import", "../golden/migdb", "--output", inventory, "--secrets-file", secrets)
	command(t, "", "ansible-vault", "encrypt", "--vault-password-file", word, secrets)
	ask := func(args ...string) map[string]any {
		t.Helper()
		out := command(t, "ANSIBLE_DEPRECATION_WARNINGS=0", append([]string{"ansible-inventory", "-i", inventory, "--vault-password-file", word}, args...)...)
		var list map[string]any
		if err := json.Unmarshal([]byte(out), &list); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return list
	}
	list := ask("--list")
	hosts := list["migdb_units"].(map[string]any)["hosts"].([]any)
	if len(hosts) != 2 || hosts[0] != "1001" || hosts[1] != "kiosk.north" {
		t.Errorf("group migdb_units has %v", hosts)
	}
	first := ask("--host", "1001")
	if first["ansible_port"] != 2222.0 || first["ansible_user"] != "pi" || first["balena_migrate_fleet"] != "acme/Gateways" {
		t.Errorf("host 1001 is %v", first)
	}
	// What looked like a template is a text, in the inventory and among the passwords.
	for host, want := range map[string]string{"1001": `canary pass"word`, "1002": "{{ canary }}"} {
		d := &device{t: t, dir: t.TempDir()}
		run := d.play(bench{}, `
- hosts: '`+host+`'
  connection: local
  gather_facts: false
  tasks:
    - name: Password
      ansible.builtin.debug:
        msg: "{{ ansible_password }}"
    - name: Failure
      ansible.builtin.debug:
        msg: "{{ hostvars['1004'].migdb_fail_msg }}"`, "-i", inventory, "-e", "@"+secrets, "--vault-password-file", word)
		if got := run.task(t, "Password").Result["msg"]; got != want {
			t.Errorf("the password of %s is %v, want %q", host, got, want)
		}
		if got := run.task(t, "Failure").Result["msg"]; got != "no space left on device: {{ 7 * 7 }}" {
			t.Errorf("the failure is %v, want it as it was", got)
		}
	}
}
