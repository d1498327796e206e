package ansible

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestCollection builds the collection, installs it elsewhere and runs its playbook from there.
func TestCollection(t *testing.T) {
	dir := t.TempDir()
	command(t, "", "ansible-galaxy", "collection", "build", "--output-path", dir, "../../ansible")
	tarballs, err := filepath.Glob(filepath.Join(dir, "balena_community-migrate-*.tar.gz"))
	if err != nil || len(tarballs) != 1 {
		t.Fatalf("built %v, %v; want one tarball", tarballs, err)
	}
	files := "\n" + command(t, "", "tar", "-tzf", tarballs[0])
	for _, want := range []string{"plugins/action/step.py", "plugins/modules/wait.py", "roles/migrate/meta/argument_specs.yml", "playbooks/migrate.yml", "README.md"} {
		if !strings.Contains(files, "\n"+want+"\n") {
			t.Errorf("the tarball lacks %s; it has:%s", want, files)
		}
	}
	for _, no := range []string{"\nmigrate.yml\n", "\ncollections/", "__pycache__"} {
		if strings.Contains(files, no) {
			t.Errorf("the tarball has %q", strings.TrimSpace(no))
		}
	}
	command(t, "", "ansible-galaxy", "collection", "install", "--offline", "-p", filepath.Join(dir, "to"), tarballs[0])
	env := "ANSIBLE_COLLECTIONS_PATH=" + filepath.Join(dir, "to")
	tasks := command(t, env, "ansible-playbook", "-i", "somewhere,", "balena_community.migrate.migrate", "--list-tasks")
	if !strings.Contains(tasks, "Look whether the device can be migrated") {
		t.Errorf("the installed playbook has the tasks:\n%s", tasks)
	}
}

// TestDocumentation: each action's arguments are described, as ansible-doc shows them.
func TestDocumentation(t *testing.T) {
	env := "ANSIBLE_COLLECTIONS_PATH=../../ansible/collections"
	for module, want := range map[string]string{"step": "awaited", "push": "mode", "wait": "old_boot_id", "summary": "results", "device": "token_file", "gate": "max_fail_percentage"} {
		if doc := command(t, env, "ansible-doc", "balena_community.migrate."+module); !strings.Contains(doc, want) {
			t.Errorf("ansible-doc of %s lacks %s:\n%s", module, want, doc)
		}
	}
	if doc := command(t, env, "ansible-doc", "-t", "role", "balena_community.migrate.migrate"); !strings.Contains(doc, "balena_migrate_confirm") {
		t.Errorf("ansible-doc of the role lacks balena_migrate_confirm:\n%s", doc)
	}
}
