package lab

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// bootState is the boot configuration: every byte and mode in /boot/grub but GRUB's own modules, and what lies in /boot.
const bootState = `cd /boot && ls -A1 . grub && sha256sum grub/grub.cfg grub/grubenv && stat -c '%n %a %U %s' grub/grub.cfg grub/grubenv`

// flipImage turns one bit of a compressed byte in the middle; size and times stay, so stage 1 can't see it.
const flipImage = "f=/var/lib/balena-migrate/image.gz; touch -r $f /root/t; s=$(($(stat -c %s $f)/2)); b=$(od -An -tu1 -j$s -N1 $f); " +
	`printf "\\$(printf %o $((b ^ 1)))" | dd of=$f bs=1 seek=$s conv=notrunc status=none; touch -r /root/t $f`

// failure is a migration that fails left of the line.
type failure struct {
	name string
	// sabotage is a command on the guest, run when all is armed.
	sabotage string
	// prepare, when set, is what happens between arming and stage 2 in place of a reboot.
	restart func(o *Options)
	// again reboots once more for real; without, the boot configuration as it was stands for it.
	again bool
	// keep is what stage 2 has to leave free, in MiB; 64 if 0.
	keep int
	// rehearse sends a run without a flash.
	rehearse bool
	// slow is for lab-all: a variant of another that every run shows.
	slow bool
	// stage and reason are what status must say afterwards.
	stage, reason string
}

// failures are in two halves, each for a machine of its own.
func failures() [][]failure {
	const (
		image  = "/var/lib/balena-migrate/image.gz"
		custom = "/boot/grub/custom.cfg"
	)
	fault := func(what string) string { return "sed -i 's,rdinit=,balena.fault=" + what + " rdinit=,' " + custom }
	return [][]failure{{
		{
			name: "image byte flipped", stage: "aborted", reason: "chunk", again: true, sabotage: flipImage,
		},
		{name: "image file deleted", stage: "aborted", reason: "no such file", sabotage: "rm " + image},
		{
			// What stage 2 would read in place is not the file any more, though its bytes are still there.
			name: "image moved on the disk", stage: "aborted", reason: "run build-initramfs again",
			sabotage: "cp -p " + image + " /root/copy && mv /root/copy " + image,
		},
		{name: "stage 2 panics", stage: "aborted", reason: "panic: fault asked for in verify", sabotage: fault("panic@verify")},
		{name: "stage 2 dies", stage: "crashed", reason: "got as far as", sabotage: fault("exit@verify"), again: true, slow: true},
	}, {
		{name: "rehearsal", stage: "rehearsed", rehearse: true, again: true},
		{name: "stage 2 dies at once", stage: "crashed", reason: "left no word", sabotage: fault("exit@modules"), again: true, slow: true},
		{name: "too little memory", stage: "aborted", reason: "memory", keep: 224, restart: func(o *Options) { o.MemMiB = 288 }},
		{name: "another disk serial", stage: "aborted", reason: `serial "OTHER"`, restart: func(o *Options) { o.Serial = "OTHER" }},
	}}
}

// TestComesBack: whatever fails before the first write ends in the old system, with the boot configuration byte for byte
// as it was and status naming the cause; and the boot after that is the old system again.
func TestComesBack(t *testing.T) {
	t.Parallel()
	art := build(t, Bookworm)
	faulty := buildFaults(t)
	for i, half := range failures() {
		t.Run(fmt.Sprint("machine ", i+1), func(t *testing.T) {
			t.Parallel()
			in := inputs(t, art)
			opt := Options{Dir: t.TempDir(), Disk: art.Disks[Bookworm], CPUs: 1}
			owner := machine{t, art, opt} // a subtest's machine would end with it
			vm := prepared(t, art, opt, in, faulty)
			before := run(t, vm, bootState)
			for _, f := range half {
				if f.slow && os.Getenv("BALENA_LAB_ALL") == "" {
					continue
				}
				ok := t.Run(f.name, func(t *testing.T) { vm = comeBack(t, owner, vm, f, before) })
				if !ok {
					t.Fatalf("stopped after %q; console:\n%s", f.name, tail(t, vm))
				}
			}
			if i == 0 {
				viaPlaybook(t, vm, in, before)
			}
		})
	}
}

// prepared is a machine with the tool and the operator's files on it.
func prepared(t *testing.T, art Artifacts, opt Options, in Inputs, faulty string) *VM {
	t.Helper()
	vm := start(t, art, opt)
	waitSSH(t, vm)
	if err := vm.Put(t.Context(), faulty, "/usr/local/sbin/balena-migrate"); err != nil {
		t.Fatal(err)
	}
	run(t, vm, "chmod 755 /usr/local/sbin/balena-migrate && mkdir -p /var/lib/balena-migrate/input")
	for from, to := range map[string]string{in.Image: "balena.img.gz", in.ConfigJSON: "config.json", in.Definition: "backup.yml"} {
		if err := vm.Put(t.Context(), from, "/var/lib/balena-migrate/input/"+to); err != nil {
			t.Fatal(err)
		}
	}
	return vm
}

// buildFaults makes a build that can be told to fail (build tag faults).
func buildFaults(t *testing.T) string {
	t.Helper()
	project, err := Project()
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "balena-migrate")
	cmd := exec.Command("go", "build", "-tags", "faults", "-trimpath", "-ldflags", "-s -w", "-o", out, "./cmd/balena-migrate")
	cmd.Dir, cmd.Env = project, append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return out
}

// comeBack arms, breaks, reboots, and looks at what became of the machine.
func comeBack(t *testing.T, m machine, vm *VM, f failure, before string) *VM {
	t.Helper()
	doc := documentWith(fmt.Sprintf(`"flash":%v,"min_free_mb":%d`, !f.rehearse, max(f.keep, 64)))
	if res := result(t, vm, "balena-migrate migrate --yes", doc); res.Status != "converged" {
		t.Fatalf("migrate: %s", res.Msg)
	}
	if s := status(t, vm); s.Stage != "armed" {
		t.Fatalf("not armed: %+v", s)
	}
	if f.sabotage != "" {
		run(t, vm, f.sabotage+" && sync")
	}
	id, err := vm.BootID(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if f.restart != nil {
		vm = m.powerCycle(vm, f.restart)
	} else if res := result(t, vm, "balena-migrate step reboot", doc); res.Status != "converged" {
		t.Fatalf("reboot: %s", res.Msg)
	}
	if err := vm.WaitNewBoot(t.Context(), id, BootTimeout); err != nil {
		t.Fatal(err)
	}
	t.Logf("back after %.1f s", time.Since(began).Seconds())
	wantOldSystem(t, vm, f, before)
	if f.restart != nil {
		vm = m.powerCycle(vm, func(*Options) {}) // as it was
		waitSSH(t, vm)
	} else if f.again {
		if err := vm.Reboot(t.Context(), BootTimeout); err != nil {
			t.Fatal(err)
		}
	}
	if line := run(t, vm, "cat /proc/cmdline"); strings.Contains(line, "rdinit") {
		t.Errorf("one boot later stage 2 was started again: %s", line)
	}
	return vm
}

func wantOldSystem(t *testing.T, vm *VM, f failure, before string) {
	t.Helper()
	s := status(t, vm)
	if s.Stage != f.stage || !strings.Contains(s.Reason, f.reason) {
		t.Errorf("status %s: %q, want %s with %q", s.Stage, s.Reason, f.stage, f.reason)
	}
	if s.Stage == "crashed" { // nobody was there to put it back; GRUB has cleared the one-shot all the same
		if res := result(t, vm, "balena-migrate disarm", document(true)); res.Status != "converged" {
			t.Errorf("disarm: %s", res.Msg)
		}
	}
	if after := run(t, vm, bootState); after != before {
		t.Errorf("boot configuration before:\n%s\nafter:\n%s", before, after)
	}
	if state := run(t, vm, "systemctl is-system-running --wait || true"); state != "running" {
		t.Errorf("the old system is %s", state)
	}
}

// status asks the tool where the machine stands.
func status(t *testing.T, vm *VM) answer {
	t.Helper()
	return result(t, vm, "balena-migrate status", document(true))
}

// machine is one that several subtests share: it lives as long as the test that owns it.
type machine struct {
	owner *testing.T
	art   Artifacts
	opt   Options
}

// powerCycle switches the machine off and on again, changed.
func (m machine) powerCycle(vm *VM, change func(*Options)) *VM {
	m.owner.Helper()
	if err := vm.Stop(m.owner.Context(), 2*time.Minute); err != nil {
		m.owner.Fatal(err)
	}
	change(&m.opt)
	return start(m.owner, m.art, m.opt)
}

// viaPlaybook shows what an operator sees when a device comes back: its play fails, with stage 2's reason.
func viaPlaybook(t *testing.T, vm *VM, in Inputs, before string) {
	t.Helper()
	vars := map[string]any{"balena_migrate_confirm": true, "balena_migrate_options": map[string]any{"stage2": map[string]any{"min_free_mb": 4096}}}
	vars["balena_migrate_skip_checks"] = []string{"api", "vpn", "memory"}
	var out bytes.Buffer
	err := vm.Playbook(t.Context(), &out, in, vars)
	if err == nil || !strings.Contains(out.String(), "Back on the old system") || !strings.Contains(out.String(), "stage2.min_free_mb") {
		t.Errorf("playbook: %v\n%s", err, out.String())
	}
	if after := run(t, vm, bootState); after != before {
		t.Errorf("boot configuration before:\n%s\nafter:\n%s", before, after)
	}
	fmt.Fprintln(os.Stderr, out.String()[max(0, out.Len()-1200):])
}
