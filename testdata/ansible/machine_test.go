package ansible

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/balena-community/balena-migrate/steps/host/hosttest"
)

// machine is a device on which all of the migration can be done: the steps work on a fake Debian in /fake, but for the
// reboot, which is real: it ends the namespaces of the device, and what is started after that is another boot.
type machine struct {
	*device
	builds bench // with the executable that works on /fake
	fake   *hosttest.Host
	inputs map[string]any // the role's variables
	boots  int
}

// onFake is what is installed on the device in the place of the executable. The controller prepares its image by it, too.
const onFake = `#!/bin/sh
[ -d /fake ] || exec %s "$@"
case "$1 $2" in
"step reboot"*) exec /usr/lib/balena-migrate "$@" ;;
"step "* | "status "*) exec /usr/lib/balena-migrate "$@" --root /fake ;;
esac
exec /usr/lib/balena-migrate "$@"
`

// bootable mounts as startup does, and reboots when init is told to (SIGINT, as sysvinit).
const bootable = `mount -t proc proc "$0/proc" && mount --bind "$0/etc/boot_id" "$0/proc/sys/kernel/random/boot_id" &&
mkdir -p "$0/fake/small" && mount -t tmpfs -o size=4m,mode=755 tmpfs "$0/fake/small" && trap 'exit 0' INT &&
{ chroot "$0" /usr/sbin/sshd -D -e -p "$1" -f /etc/ssh/test_config & wait; }`

// newMachine starts one, its sshd configured by some lines more.
func (b bench) newMachine(t *testing.T, lines string) *machine {
	t.Helper()
	m := &machine{device: b.stoppedDevice(t, lines), builds: bench{binaries: t.TempDir(), tree: b.tree}, fake: hosttest.Debian(t)}
	m.startup = bootable
	m.fake.Put("/srv/app/data", "canary-data")
	m.fake.Put("/etc/wpa_supplicant/wpa_supplicant.conf", "network={\n ssid=\"lab\"\n psk=\"canary-passphrase\"\n}\n")
	command(t, "", "cp", "-a", m.fake.Root(), filepath.Join(m.root, "fake"))
	command(t, "", "cp", filepath.Join(b.binaries, "balena-migrate-linux-amd64"), filepath.Join(m.root, "usr/lib/balena-migrate"))
	if err := os.WriteFile(filepath.Join(m.builds.binaries, "balena-migrate-linux-amd64"), fmt.Appendf(nil, onFake, filepath.Join(b.binaries, "balena-migrate-linux-amd64")), 0o755); err != nil {
		t.Fatal(err)
	}
	m.inputs = map[string]any{
		"balena_migrate_image": source(t, string(hosttest.Image(t))), "balena_migrate_binaries": m.builds.binaries,
		"balena_migrate_config_json": source(t, `{"apiEndpoint":"https://api.balena-cloud.com","vpnEndpoint":"vpn.balena-cloud.com",`+
			`"vpnPort":443,"registryEndpoint":"r","deltaEndpoint":"d","applicationId":1,"deviceType":"genericx86-64-ext",`+
			`"listenPort":48484,"appUpdatePollInterval":600000,"apiKey":"canary-key"}`),
		"balena_migrate_backup_definition": source(t, "- volume: app\n  items:\n    - source: /srv/app\n"),
		"balena_migrate_skip_checks":       []string{"api", "vpn", "memory"}, "balena_migrate_require_network": false,
		"balena_migrate_work_dir": "/fake/var/lib/balena-migrate", "balena_migrate_connect_timeout": 60,
		"balena_migrate_wait_timeout": 5, "balena_migrate_wait_interval": 1, "balena_migrate_reboot_delay": 1,
		"balena_migrate_results": filepath.Join(m.dir, "results"), "balena_migrate_image_cache": filepath.Join(m.dir, "prepared"),
	}
	m.boot()
	t.Cleanup(m.stop)
	return m
}

// boot starts the machine in a boot of its own.
func (m *machine) boot() {
	m.t.Helper()
	m.stop()
	m.boots++
	m.write("etc/boot_id", fmt.Sprintf("%08d-1111-4222-8333-444444444444\n", m.boots), 0o644)
	m.start()
}

// off waits until it has gone down by itself, and says whether that was its own doing.
func (m *machine) off() bool {
	m.t.Helper()
	if m.sshd == nil {
		return false
	}
	await(m.t, "the machine to go down", func() bool { return syscall.Kill(m.sshd.Process.Pid, 0) != nil || gone(m.sshd.Process.Pid) })
	m.stop()
	return true
}

// killDuring runs the playbook, and kills it with all of its processes once the device's file has a text, and begun a file
// of the device, if it has a name.
func (m *machine) killDuring(t *testing.T, text, begun string, more map[string]any) {
	t.Helper()
	m.t = t
	vars := confirm(more)
	for k, v := range m.inputs {
		if _, ok := vars[k]; !ok {
			vars[k] = v
		}
	}
	cmd := m.command(m.builds, migrate, filepath.Join(t.TempDir(), "record"), variables(t, vars)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	await(t, text, func() bool {
		data, err := os.ReadFile(filepath.Join(m.results(), "device.json"))
		_, gone := os.Stat(filepath.Join(m.root, begun))
		return err == nil && strings.Contains(string(data), text) && gone == nil
	})
	if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
}

// gone says whether a process has ended and only waits to be waited for.
func gone(pid int) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(data), ") Z ")
}

// migrate runs the playbook with the machine's own inputs.
func (m *machine) migrate(t *testing.T, more map[string]any, args ...string) run {
	t.Helper()
	vars := map[string]any{}
	for _, from := range []map[string]any{m.inputs, more} {
		for k, v := range from {
			vars[k] = v
		}
	}
	m.t = t
	r := m.playbook(m.builds, migrate, append(variables(t, vars), args...)...)
	for _, canary := range []string{"canary-key", "canary-passphrase", "canary-data"} {
		if strings.Contains(r.screen, canary) {
			t.Errorf("%s is on the screen", canary)
		}
	}
	return r
}
