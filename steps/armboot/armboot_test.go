package armboot_test

import (
	"context"
	"strings"
	"testing"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/disarm"
	"github.com/balena-community/balena-migrate/stage2/grubenv"
	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/armboot"
	"github.com/balena-community/balena-migrate/steps/device/boot"
	"github.com/balena-community/balena-migrate/steps/host/hosttest"
	"github.com/balena-community/balena-migrate/steps/status"
	"github.com/balena-community/balena-migrate/steps/steptest"
)

const work = "/var/lib/balena-migrate"

// ready is a machine on which everything before arm-boot has converged.
func ready(t *testing.T) (*hosttest.Host, *schema.Migration) {
	t.Helper()
	h := hosttest.Debian(t)
	h.Put(work+"/stage2.cpio.gz", "archive with a canary key")
	in := schema.NewMigration()
	in.Facts.Initramfs = &schema.InitramfsFacts{
		Path: work + "/stage2.cpio.gz", Size: 25, SHA256: disarm.Sum([]byte("archive with a canary key")), Modules: []string{},
	}
	return h, in
}

// bootFiles is the boot configuration as text.
func bootFiles(t *testing.T, h *hosttest.Host) string {
	t.Helper()
	var b strings.Builder
	entries, err := h.ReadDir("/boot/grub")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		data, err := h.ReadFile("/boot/grub/" + e.Name())
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString(e.Name() + "\n" + string(data) + "\n")
	}
	if _, err := h.Stat((boot.Grub{}).Archive(boot.Site{})); err == nil {
		b.WriteString("archive\n")
	}
	return b.String()
}

func TestArmThenDisarmLeavesEveryByteAsItWas(t *testing.T) {
	for name, custom := range map[string]string{"no custom.cfg": "", "custom.cfg of somebody else": "menuentry x {\n}"} {
		t.Run(name, func(t *testing.T) {
			h, in := ready(t)
			if custom != "" {
				h.Put("/boot/grub/custom.cfg", custom)
			}
			before := bootFiles(t, h)
			run := steptest.RunOn(h)
			res := steptest.Laws(t, armboot.Step{}, run, in, "canary")
			if f := res.Facts.Boot; f == nil || !f.Armed || f.Method != "grub" {
				t.Errorf("facts %+v", f)
			}
			text, _ := h.ReadFile("/boot/grub/custom.cfg")
			for _, want := range []string{
				"linux /boot/vmlinuz-" + hosttest.Release + " 'root=UUID=", "panic=10 rdinit=/balena-stage2",
				"initrd /boot/initrd.img-" + hosttest.Release + " " + boot.Grub{}.Archive(boot.Site{}), "--fs-uuid --set=root " + hosttest.RootUUID,
			} {
				if !strings.Contains(strings.ReplaceAll(string(text), "'", ""), strings.ReplaceAll(want, "'", "")) {
					t.Errorf("custom.cfg lacks %q:\n%s", want, text)
				}
			}
			steptest.Laws(t, armboot.Disarm{}, run, in, "canary")
			if after := bootFiles(t, h); after != before {
				t.Errorf("before:\n%s\nafter:\n%s", before, after)
			}
		})
	}
}

func TestDisarmAfterGRUBTookTheEntry(t *testing.T) {
	h, in := ready(t)
	before := bootFiles(t, h)
	converge(t, h, armboot.Step{}, in)
	data, _ := h.ReadFile("/boot/grub/grubenv")
	env, err := grubenv.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	env.Set("next_entry", "") // what grub.cfg does: set next_entry= ; save_env next_entry
	data, _ = env.Bytes()
	h.Put("/boot/grub/grubenv", string(data))
	converge(t, h, armboot.Disarm{}, in)
	if after := bootFiles(t, h); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

func converge(t *testing.T, h *hosttest.Host, s steps.Step, in *schema.Migration) *schema.Result {
	t.Helper()
	res, err := steptest.RunOn(h).Converge(context.Background(), s, in)
	if err != nil || res.Status != schema.Converged {
		t.Fatalf("%s: %v %v", s.Name(), err, res.Blocked)
	}
	return res
}

func TestBlockers(t *testing.T) {
	tests := []struct {
		name, check string
		breakIt     func(h *hosttest.Host)
	}{
		{"32-bit EFI", "boot-loader", func(h *hosttest.Host) { h.Put("/sys/firmware/efi/fw_platform_size", "32\n") }},
		{"no GRUB", "boot-loader", func(h *hosttest.Host) { _ = h.Remove("/boot/grub/grub.cfg") }},
		{"grub.cfg without one-shot", "boot-loader", func(h *hosttest.Host) { h.Put("/boot/grub/grub.cfg", "custom.cfg") }},
		{"damaged grubenv", "grubenv", func(h *hosttest.Host) { h.Put("/boot/grub/grubenv", "short") }},
		{"btrfs", "grubenv", func(h *hosttest.Host) {
			h.Put("/proc/self/mountinfo", "22 1 0:30 /@ / rw - btrfs /dev/vda1 rw\n")
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, in := ready(t)
			tt.breakIt(h)
			res, err := steptest.RunOn(h).Converge(context.Background(), armboot.Step{}, in)
			if err != nil || res.Status != schema.BlockedBy {
				t.Fatalf("%s %v", res.Status, err)
			}
			for _, b := range res.Blocked {
				if b.Check != tt.check || b.Remedy == "" {
					t.Errorf("blocked by %+v, want %s", b, tt.check)
				}
			}
			if _, err := h.Stat(work + "/" + disarm.RecordName); err == nil {
				t.Error("a record was written")
			}
		})
	}
}

func TestBootArmFalseLeavesEverythingAlone(t *testing.T) {
	h, in := ready(t)
	in.Config.Boot.Arm = false
	before := bootFiles(t, h)
	if res := converge(t, h, armboot.Step{}, in); res.Changed || len(res.Warnings) != 1 {
		t.Errorf("changed %v, warnings %v", res.Changed, res.Warnings)
	}
	if after := bootFiles(t, h); after != before {
		t.Error("the boot configuration changed")
	}
}

func TestStatusFollowsTheMigration(t *testing.T) {
	h, in := ready(t)
	stage := func(want string) *schema.Status {
		t.Helper()
		s, err := status.Read(steptest.RunOn(h).View(in))
		if err != nil {
			t.Fatal(err)
		}
		if s.Stage != want {
			t.Errorf("stage %q (%s), want %q", s.Stage, s.Reason, want)
		}
		return s
	}
	stage("prepared")
	converge(t, h, armboot.Step{}, in)
	stage("armed")
	// The loader took the entry, and nothing was heard of stage 2.
	h.Put("/proc/sys/kernel/random/boot_id", "another\n")
	h.Put("/boot/grub/grubenv", hosttest.Grubenv("next_entry=\n"))
	stage("crashed")
	// Stage 2 came back with a reason.
	out, err := schema.Encode(schema.Outcome{
		Schema: schema.OutcomeName, Verdict: schema.OutcomeAborted, Phase: "disk", Reason: "another disk", Phases: []schema.PhaseNote{},
	})
	if err != nil {
		t.Fatal(err)
	}
	h.Put(work+"/outcome.json", string(out))
	if s := stage("aborted"); s.Reason != "another disk" {
		t.Errorf("reason %q", s.Reason)
	}
	// Armed again, the old outcome must not be mistaken for the coming one's.
	converge(t, h, armboot.Step{}, in)
	stage("armed")
}

// Where memory is too short for the old system's initramfs, ours is the only one.
func TestAlone(t *testing.T) {
	h, in := ready(t)
	in.Facts.Initramfs.Alone = true
	steptest.Laws(t, armboot.Step{}, steptest.RunOn(h), in, "canary")
	text, err := h.ReadFile("/boot/grub/custom.cfg")
	if err != nil || !strings.Contains(string(text), "initrd "+(boot.Grub{}).Archive(boot.Site{})+"\n") || strings.Contains(string(text), "initrd.img") {
		t.Errorf("%v\n%s", err, text)
	}
}
