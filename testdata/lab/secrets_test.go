package lab

import (
	"strings"
	"testing"
)

// argumentsFile is where watchArguments writes.
const argumentsFile = "/root/arguments"

// watchArguments keeps every process's arguments as a look four times a second finds them, where only root can read it.
func watchArguments(t *testing.T, vm *VM) {
	t.Helper()
	run(t, vm, "systemd-run --quiet --unit=lab-arguments --property=UMask=0077 "+
		"sh -c 'while sleep 0.25; do cat /proc/[0-9]*/cmdline; done >"+argumentsFile+" 2>/dev/null'")
}

// wantSecretsKept looks for every key of the guest and the operator where others than root could read it: in arguments, in
// files, in the journal (which has the command lines of sudo).
func wantSecretsKept(t *testing.T, vm *VM) {
	t.Helper()
	secrets := append(Secrets(), Canary)
	seen := run(t, vm, "systemctl stop lab-arguments && cat "+argumentsFile+" && rm "+argumentsFile)
	if !strings.Contains(seen, "balena-migrate\x00step\x00") {
		t.Errorf("no step among %d bytes of arguments", len(seen))
	}
	for _, secret := range secrets {
		if strings.Contains(seen, secret) {
			t.Errorf("the secret %q was an argument of a process", secret)
		}
	}
	// The secrets go in as a file: as an argument of this command they would be in the journal.
	const look = `umask 077; cat >/root/secrets; p=/var/lib/balena-migrate
	echo known; grep -rlFf /root/secrets $p
	echo readable; find $p -path $p/bin -prune -o -type f -perm -o=r -print
	find /tmp /var/tmp /var/log /run /home /boot -xdev -type f -perm -o=r -exec grep -lFf /root/secrets {} +
	echo journal; journalctl --no-pager --all | grep -Ff /root/secrets
	echo lines; journalctl --no-pager --all | grep -c sudo
	rm /root/secrets`
	res, err := vm.ssh(t.Context(), "root", look, strings.NewReader(strings.Join(secrets, "\n")+"\n"))
	if err != nil || res.Code != 0 {
		t.Fatalf("search for secrets: %v %+v", err, res)
	}
	known, rest, _ := strings.Cut(strings.TrimPrefix(res.Stdout, "known\n"), "readable\n")
	readable, rest, _ := strings.Cut(rest, "journal\n")
	journal, lines, found := strings.Cut(rest, "lines\n")
	if !strings.Contains(known, "/input/config.json") || !found || strings.TrimSpace(lines) == "0" {
		t.Errorf("the search finds nothing where something is: %q", res.Stdout)
	}
	if readable != "" {
		t.Errorf("anybody can read:\n%s", readable)
	}
	if journal != "" {
		t.Errorf("secrets in the journal:\n%s", journal)
	}
}
