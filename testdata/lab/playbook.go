package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"
)

// Project returns the root of the checkout.
func Project() (string, error) {
	_, file, _, ok := runtime.Caller(0)
	if !ok || !filepath.IsAbs(file) {
		return "", errors.New("place of the checkout unknown: built with -trimpath, expected without")
	}
	return filepath.Abs(filepath.Join(filepath.Dir(file), "..", ".."))
}

// Config is a config.json as balena makes them for a fleet of the new system's device type. Its apiKey is Canary.
func Config() []byte {
	return []byte(`{"apiEndpoint":"https://api.balena-cloud.com","vpnEndpoint":"vpn.balena-cloud.com","vpnPort":443,` +
		`"registryEndpoint":"registry2.balena-cloud.com","deltaEndpoint":"https://delta.balena-cloud.com",` +
		`"applicationId":1234567,"deviceType":"genericx86-64-ext","listenPort":48484,"appUpdatePollInterval":600000,` +
		`"apiKey":"` + Canary + `"}`)
}

// named is a config.json as it arrives from a machine of that name, which goes along.
func named(config []byte, hostname string) ([]byte, error) {
	var members map[string]any
	if err := json.Unmarshal(config, &members); err != nil {
		return nil, err
	}
	members["hostname"] = hostname
	return json.MarshalIndent(members, "", "  ")
}

// Canary is the key in Config; it may never show up anywhere.
const Canary = "canary-provisioning-key"

// Definition is the backup definition for DataDirs.
const Definition = `- volume: app
  items:
    - source: /srv/app
- volume: db
  items:
    - source: /srv/db
`

// Inputs are the operator's files, made by WriteInputs in a folder.
type Inputs struct {
	Dir, Image, ConfigJSON, Definition string
}

// WriteInputs writes what an operator brings: config.json, the backup definition and the image (a gzip, as downloaded).
func (a Artifacts) WriteInputs(ctx context.Context, dir string) (Inputs, error) {
	in := Inputs{
		Dir: dir, Image: filepath.Join(dir, "balena.img.gz"), ConfigJSON: filepath.Join(dir, "config.json"),
		Definition: filepath.Join(dir, "backup.yml"),
	}
	if err := os.WriteFile(in.ConfigJSON, Config(), 0o600); err != nil {
		return in, err
	}
	if err := os.WriteFile(in.Definition, []byte(Definition), 0o600); err != nil {
		return in, err
	}
	out, err := os.Create(in.Image)
	if err != nil {
		return in, err
	}
	defer out.Close()
	zip := exec.CommandContext(ctx, "gzip", "-1", "-c", a.Image)
	zip.Stdout, zip.Stderr = out, os.Stderr
	return in, zip.Run()
}

// Vars are the role's variables for a run in the lab: balena can't be reached from here.
func (in Inputs) Vars() map[string]any {
	return map[string]any{
		"balena_migrate_image": in.Image, "balena_migrate_config_json": in.ConfigJSON, "balena_migrate_backup_definition": in.Definition,
		"balena_migrate_skip_checks": []string{"api", "vpn"}, "balena_migrate_reboot_delay": 1, "balena_migrate_wait_timeout": 420,
	}
}

// endOfPlay is how long a playbook may take to end once it is interrupted.
const endOfPlay = 10 * time.Second

// Playbook runs ansible/migrate.yml of the checkout against a machine that the inventory calls "lab", see RunPlaybook.
func (vm *VM) Playbook(ctx context.Context, out io.Writer, in Inputs, vars map[string]any, args ...string) error {
	all := in.Vars()
	for k, v := range vars {
		all[k] = v
	}
	return RunPlaybook(ctx, out, in.Dir, map[string]*VM{"lab": vm}, all, args...)
}

// RunPlaybook runs ansible/migrate.yml of the checkout against machines by their names in the inventory, as the user pi,
// from a folder that gets the inventory and the results. The end of ctx interrupts it as Ctrl-C would.
func RunPlaybook(ctx context.Context, out io.Writer, dir string, machines map[string]*VM, vars map[string]any, args ...string) error {
	project, err := Project()
	if err != nil {
		return err
	}
	all := map[string]any{"balena_migrate_binaries": filepath.Join(project, "dist")}
	for k, v := range vars {
		all[k] = v
	}
	hosts := map[string]any{}
	for name, vm := range machines {
		hosts[name] = vm.inventory()
	}
	inventory, err := json.Marshal(map[string]any{"all": map[string]any{"hosts": hosts, "vars": all}})
	if err != nil {
		return err
	}
	name := filepath.Join(dir, "inventory.json") // JSON is YAML
	if err := os.WriteFile(name, inventory, 0o600); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "ansible-playbook", append([]string{"-i", name, filepath.Join(project, "ansible", "migrate.yml")}, args...)...)
	cmd.Cancel, cmd.WaitDelay = func() error { return cmd.Process.Signal(os.Interrupt) }, endOfPlay
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, out, out
	cmd.Env = append(os.Environ(), "ANSIBLE_NOCOLOR=1", "ANSIBLE_LOCALHOST_WARNING=False", "LC_ALL=C.UTF-8")
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("ansible-playbook: %w", err)
	}
	return nil
}

// inventory is what Ansible has to know to reach the machine.
func (vm *VM) inventory() map[string]any {
	return map[string]any{
		"ansible_host": "127.0.0.1", "ansible_port": vm.Port, "ansible_user": "pi", "ansible_ssh_private_key_file": vm.key,
		"ansible_ssh_common_args": "-F /dev/null -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o KexAlgorithms=curve25519-sha256",
	}
}
