package armboot_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/disarm"
	"github.com/balena-community/balena-migrate/steps/armboot"
	"github.com/balena-community/balena-migrate/steps/host"
	"github.com/balena-community/balena-migrate/steps/host/hosttest"
	"github.com/balena-community/balena-migrate/steps/reboot"
	"github.com/balena-community/balena-migrate/steps/status"
	"github.com/balena-community/balena-migrate/steps/steptest"
)

// onLVM is a machine on which everything before arm-boot has converged.
func onLVM(t *testing.T) (*hosttest.Host, *schema.Migration) {
	t.Helper()
	d := hosttest.LoadDevice(t, "../../testdata/roots/x86-debian-12-lvm.txtar")
	in := schema.NewMigration()
	pack(d.Host, in, "archive")
	return d.Host, in
}

func pack(h *hosttest.Host, in *schema.Migration, content string) {
	h.Put(work+"/stage2.cpio.gz", content)
	in.Facts.Initramfs = &schema.InitramfsFacts{
		Path: work + "/stage2.cpio.gz", Size: int64(len(content)), SHA256: disarm.Sum([]byte(content)), Modules: []string{},
	}
}

// By kexec nothing on the disk changes but the record, and the kernel has what arm-boot says.
func TestKexec(t *testing.T) {
	h, in := onLVM(t)
	boot := bootFiles(t, h)
	res := steptest.Laws(t, armboot.Step{}, steptest.RunOn(h), in)
	if f := res.Facts.Boot; f.Method != "kexec" || !f.Armed || len(f.Files) != 0 {
		t.Errorf("facts %+v", f)
	}
	if len(h.Kexecs) != 1 || h.Kexecs[0].Initramfs != work+"/stage2.cpio.gz" || !strings.HasSuffix(h.Kexecs[0].Args, "rdinit=/balena-stage2") {
		t.Errorf("loaded %+v", h.Kexecs)
	}
	if after := bootFiles(t, h); after != boot {
		t.Errorf("boot files before:\n%s\nafter:\n%s", boot, after)
	}
	steptest.Laws(t, armboot.Disarm{}, steptest.RunOn(h), in)
	if data, _ := h.ReadFile(host.KexecLoaded); string(data) != "0\n" {
		t.Errorf("still loaded: %q", data)
	}
}

// What is loaded is told by its content and its boot, and by the kernel; anything else is loaded anew.
func TestKexecIsLoadedAgain(t *testing.T) {
	for name, change := range map[string]func(h *hosttest.Host, in *schema.Migration){
		"another archive": func(h *hosttest.Host, in *schema.Migration) { pack(h, in, "another") },
		"another kernel": func(h *hosttest.Host, _ *schema.Migration) {
			h.Put("/boot/vmlinuz-6.1.0-37-amd64", strings.Repeat("\x00", 0x202)+"HdrS newer")
		},
		"other arguments":  func(_ *hosttest.Host, in *schema.Migration) { in.Config.Boot.Debug = true },
		"another boot":     func(h *hosttest.Host, _ *schema.Migration) { h.Put("/proc/sys/kernel/random/boot_id", "another\n") },
		"unloaded by hand": func(h *hosttest.Host, _ *schema.Migration) { h.Put(host.KexecLoaded, "0\n") },
		"no record":        func(h *hosttest.Host, _ *schema.Migration) { _ = h.Remove(work + "/" + disarm.RecordName) },
	} {
		t.Run(name, func(t *testing.T) {
			h, in := onLVM(t)
			converge(t, h, armboot.Step{}, in)
			change(h, in)
			res := converge(t, h, armboot.Step{}, in)
			if !res.Changed || len(h.Kexecs) != 2 {
				t.Errorf("loaded %d times, changes %+v", len(h.Kexecs), res.Changes)
			}
		})
	}
}

// A run that is stopped after the record was written must not be taken for one that has loaded: what is there before is
// unloaded first.
func TestKexecUnloadsBeforeTheRecord(t *testing.T) {
	h, in := onLVM(t)
	converge(t, h, armboot.Step{}, in)
	pack(h, in, "another")
	res := converge(t, h, armboot.Step{}, in)
	var order []string
	for _, c := range res.Changes {
		order = append(order, c.Action)
	}
	if got := strings.Join(order, ", "); got != "unload, write, load for kexec" {
		t.Errorf("changes %s", got)
	}
}

func TestKexecBlocked(t *testing.T) {
	for check, change := range map[string]func(h *hosttest.Host, in *schema.Migration){
		"memory": func(h *hosttest.Host, _ *schema.Migration) {
			h.Put("/proc/meminfo", "MemTotal: 100000 kB\nMemAvailable: 30000 kB\n")
		},
		"order": func(h *hosttest.Host, _ *schema.Migration) { h.Put(work+"/stage2.cpio.gz", "damaged") },
		"boot-loader": func(h *hosttest.Host, _ *schema.Migration) {
			h.Put(work+"/"+disarm.RecordName, `{"schema":"armed/1","method":"grub","boot_id":"x","files":[{"restore":"remove","path":"/boot/x","fs_uuid":"","fs_type":"",`+
				`"fs_path":"/x","existed":false,"mode":384,"original":null,"armed_sha256":"`+strings.Repeat("0", 64)+`"}]}`)
		},
	} {
		h, in := onLVM(t)
		change(h, in)
		res, err := steptest.RunOn(h).Converge(context.Background(), armboot.Step{}, in)
		if err != nil || res.Status != schema.BlockedBy || res.Blocked[0].Check != check || len(h.Kexecs) > 0 {
			t.Errorf("%s: %s %v %+v", check, res.Status, err, res.Blocked)
		}
	}
	h, in := onLVM(t)
	run := steptest.RunOn(h)
	run.Files = hosttest.Existing(t, "/") // --root
	run.WorkDir = h.Root() + work
	if res, err := run.Converge(context.Background(), armboot.Step{}, in); err != nil || res.Blocked[0].Check != "root" {
		t.Errorf("another root: %v %+v", err, res)
	}
}

// Status follows kexec: what is loaded ends with its boot, whichever way; what stage 2 leaves is in /boot, for it can't
// reach the work dir.
func TestStatusOfKexec(t *testing.T) {
	h, in := onLVM(t)
	stage := func(want, reason string) *schema.Status {
		t.Helper()
		s, err := status.Read(steptest.RunOn(h).View(in))
		if err != nil || s.Stage != want || !strings.Contains(s.Reason, reason) {
			t.Errorf("stage %q (%s), %v; want %q (%s)", s.Stage, s.Reason, err, want, reason)
		}
		return s
	}
	restart := func(id string) {
		h.Put("/proc/sys/kernel/random/boot_id", id+"\n")
		h.Put(host.KexecLoaded, "0\n")
	}
	converge(t, h, armboot.Step{}, in)
	stage("armed", "")
	restart("second")
	stage("prepared", "started anew")
	h.Put(host.KexecLoaded, "1\n") // somebody else's
	if s := stage("prepared", "started anew"); s.Armed {
		t.Error("armed by what somebody else has loaded")
	}
	in.Facts = converge(t, h, armboot.Step{}, in).Facts
	converge(t, h, reboot.Step{}, in)
	if got := h.Spawned[0]; !strings.Contains(got, "--kexec") {
		t.Errorf("spawned %s", got)
	}
	restart("third")
	h.Clock = h.Clock.Add(time.Hour)
	stage("crashed", "left no word")
	out, err := schema.Encode(schema.Outcome{
		Schema: schema.OutcomeName, Verdict: schema.OutcomeAborted, Phase: "verify", Reason: "chunk 3", Phases: []schema.PhaseNote{},
	})
	if err != nil {
		t.Fatal(err)
	}
	h.Put("/boot/balena-migrate/outcome.json", string(out))
	h.Put("/boot/balena-migrate/stage2.log", "why\n")
	if s := stage("aborted", "chunk 3"); s.Log != "/boot/balena-migrate/stage2.log" {
		t.Errorf("log at %q", s.Log)
	}
	converge(t, h, armboot.Step{}, in) // an old outcome must not be mistaken for the coming one's
	stage("armed", "")
}
