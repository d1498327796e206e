package lab

import (
	"os"
	"strings"
	"testing"
	"time"
)

// TestUBootMigrates: a board that the real U-Boot starts comes back to its old system where stage 2 gives up, and where
// U-Boot can't load it at all, with every file of /boot as it was; then it migrates.
func TestUBootMigrates(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		board              UBoot
		program, method    string
		config, deviceType string // of config.json; and what the operator says, where nothing tells the board
	}{
		{board: Extlinux64(), program: "balena-migrate-linux-arm64", method: "extlinux", config: "generic-aarch64", deviceType: "generic-aarch64"},
		{board: BeagleBone(), program: "balena-migrate-linux-armv7", method: "uenv", config: "beaglebone-black"},
	} {
		t.Run(c.method, func(t *testing.T) {
			art, disk, err := BuildUBoot(t.Context(), c.board, testLog{t})
			if err != nil {
				t.Fatal(err)
			}
			in, err := art.WriteInputs(t.Context(), t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			config := strings.ReplaceAll(string(Config()), "genericx86-64-ext", c.config)
			if err := os.WriteFile(in.ConfigJSON, []byte(config), 0o600); err != nil {
				t.Fatal(err)
			}
			vm, err := art.StartUBoot(t.Context(), c.board, t.TempDir(), disk)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(vm.Kill)
			u := uBootTest{t, vm, strings.Replace(piDocument, `"image":{`, `"image":{"device_type":"`+c.deviceType+`",`, 1)}
			u.prepare(in, c.program)
			u.comesBack(c.method)
			u.migrates(c.config)
		})
	}
}

type uBootTest struct {
	*testing.T
	vm       *VM
	document string
}

const uBootFiles = "cd /boot && find . -type f | sort | xargs sha256sum && stat -c '%n %a %s' $(find . | sort)"

// prepare puts the tool and the operator's files onto the board.
func (u uBootTest) prepare(in Inputs, program string) {
	u.Helper()
	waitSSH(u.T, u.vm)
	run(u.T, u.vm, "mkdir -p /usr/local/sbin /var/lib/balena-migrate/input")
	putBinary(u.T, u.vm, program)
	for from, to := range map[string]string{in.Image: "balena.img.gz", in.ConfigJSON: "config.json", in.Definition: "backup.yml"} {
		if err := u.vm.Put(u.Context(), from, "/var/lib/balena-migrate/input/"+to); err != nil {
			u.Fatal(err)
		}
	}
}

// comesBack breaks what stage 2 needs, then what U-Boot needs.
func (u uBootTest) comesBack(method string) {
	u.Helper()
	before := run(u.T, u.vm, uBootFiles)
	for _, f := range []struct{ name, sabotage, stage, reason string }{
		{"no image", "mv /var/lib/balena-migrate/image.gz /root/", "aborted", "no such file"},
		{"no initramfs for U-Boot", "rm /boot/balena-migrate.img", "crashed", "did not get it started"},
	} {
		began := time.Now()
		id := u.reboots(f.sabotage)
		if err := u.vm.WaitNewBoot(u.Context(), id, BootTimeout); err != nil {
			u.Fatalf("%s: %v; console:\n%s", f.name, err, tail(u.T, u.vm))
		}
		u.Logf("%s: back after %.1f s", f.name, time.Since(began).Seconds())
		if s := u.result("status"); s.Stage != f.stage || !strings.Contains(s.Reason, f.reason) {
			u.Errorf("%s: status %s: %q, want %s with %q", f.name, s.Stage, s.Reason, f.stage, f.reason)
		}
		if line := run(u.T, u.vm, "cat /proc/cmdline"); strings.Contains(line, "rdinit") {
			u.Errorf("%s: stage 2's arguments in the old system: %s", f.name, line)
		}
		if f.stage == "crashed" {
			u.result("disarm")
		}
		if after := run(u.T, u.vm, uBootFiles); after != before {
			u.Errorf("%s: /boot before:\n%s\nafter:\n%s", f.name, before, after)
		}
		run(u.T, u.vm, "[ ! -e /root/image.gz ] || mv /root/image.gz /var/lib/balena-migrate/")
	}
	if got := run(u.T, u.vm, "/usr/local/sbin/balena-migrate step precheck --json --input - <<'EOF'\n"+u.document+"\nEOF\n"); !strings.Contains(got, `"boot_method": "`+method+`"`) {
		u.Errorf("precheck does not find %s: %s", method, got)
	}
}

// migrates arms and waits for the new system.
func (u uBootTest) migrates(deviceType string) {
	u.Helper()
	from, began := u.vm.ConsoleSize(), time.Now()
	u.reboots("")
	report, err := u.vm.WaitNewOS(u.Context(), from, BootTimeout)
	if err != nil {
		u.Fatalf("%v; console:\n%s", err, tail(u.T, u.vm))
	}
	u.Logf("from arming to the new system %.1f s", time.Since(began).Seconds())
	if report.Config.DeviceType != deviceType || report.Networks() == 0 || report.Backup.Size == 0 || len(report.Errors) > 0 {
		u.Errorf("the new system found %+v", report)
	}
	if err := u.vm.WaitExit(u.Context(), BootTimeout); err != nil {
		u.Fatal(err)
	}
}

func (u uBootTest) result(command string) answer {
	u.Helper()
	return result(u.T, u.vm, "/usr/local/sbin/balena-migrate "+command, u.document)
}

// reboots arms, breaks and reboots; the id is that of the boot which ends.
func (u uBootTest) reboots(sabotage string) string {
	u.Helper()
	id, err := u.vm.BootID(u.Context())
	if err != nil {
		u.Fatal(err)
	}
	if res := u.result("migrate --yes"); res.Status != "converged" {
		u.Fatalf("migrate: %s", res.Msg)
	}
	run(u.T, u.vm, "set -e; "+sabotage+"\nsync; /usr/local/sbin/balena-migrate step reboot --json --input - >/dev/null <<'EOF'\n"+u.document+"\nEOF\n")
	return id
}
