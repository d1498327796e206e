package stage2

import (
	"bytes"
	"strings"
	"testing"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/disarm"
	"github.com/balena-community/balena-migrate/stage2/flashplan"
	"github.com/balena-community/balena-migrate/steps/host/hosttest"
)

// newKexec is a machine that kexec has started stage 2 on, with its root in layers: image and backup came along, and of the
// old system only /boot can be mounted, on the disk's one partition here.
func newKexec(t *testing.T, change func(p *schema.FlashPlan)) *lab {
	t.Helper()
	l := newLab(t)
	for from, to := range map[string]string{"image.gz": flashplan.Image, "backup.tgz": flashplan.Backup} {
		data, err := l.h.ReadFile(oldRoot + workDir + "/" + from)
		if err != nil {
			t.Fatal(err)
		}
		l.h.Put(to, string(data))
		remove(t, l.h, oldRoot+workDir+"/"+from)
	}
	remove(t, l.h, oldRoot+workDir+"/"+disarm.RecordName)
	remove(t, l.h, "/init")
	plan, err := flashplan.Load(l.h)
	if err != nil {
		t.Fatal(err)
	}
	plan.Kexec, plan.Layered, plan.Alone = true, true, true
	plan.Root = schema.FileSystem{Device: "dm-0", Type: "ext4", UUID: "99999999-2222-4333-8444-555555555555", Mount: "/"}
	plan.WorkDir = "/balena-migrate"
	plan.Image.FSType, plan.Image.FSUUID, plan.Image.Path = flashplan.Carried, "", flashplan.Image
	plan.Backup.FSType, plan.Backup.FSUUID, plan.Backup.Path = flashplan.Carried, "", flashplan.Backup
	change(plan)
	put(t, l.h, flashplan.Plan, plan)
	return l
}

func remove(t *testing.T, h *hosttest.Host, name string) {
	t.Helper()
	if err := h.Remove(name); err != nil {
		t.Fatal(err)
	}
}

const kexecOutcome = oldRoot + "/balena-migrate/" + flashplan.OutcomeName

func TestKexecMigration(t *testing.T) {
	for name, change := range map[string]func(p *schema.FlashPlan){
		"with a place for its word": func(*schema.FlashPlan) {},
		"without":                   func(p *schema.FlashPlan) { p.WorkFS = schema.FileSystem{} },
	} {
		l := newKexec(t, change)
		l.start()
		if l.k.ended != "reboot" || !bytes.Equal(l.diskBytes(t, len(l.image)), l.image) {
			t.Errorf("%s: ended by %q\n%s", name, l.k.ended, l.log.bytes())
		}
		if got, err := l.h.ReadFile("/dev/parts/vda2-new/backup.tgz"); string(got) != "backup" {
			t.Errorf("%s: backup %q %v", name, got, err)
		}
	}
}

// Left of the line each failure ends in a reboot, with the reason where the old system finds it, and nothing else written.
func TestKexecFailures(t *testing.T) {
	for _, tt := range []struct {
		name, reason string
		change       func(p *schema.FlashPlan)
		breakIt      func(l *lab)
	}{
		{name: "image flipped", reason: "image chunk", breakIt: func(l *lab) {
			data, _ := l.h.ReadFile(flashplan.Image)
			data[len(data)/4] ^= 1
			l.h.Put(flashplan.Image, string(data))
		}},
		{name: "image cut", reason: "5 bytes, expected", breakIt: func(l *lab) { l.h.Put(flashplan.Image, "short") }},
		{name: "image left out", reason: "no such file", breakIt: func(l *lab) { _ = l.h.Remove(flashplan.Image) }},
		{name: "backup changed", reason: "backup: SHA-256", breakIt: func(l *lab) { l.h.Put(flashplan.Backup, "backuq") }},
		{name: "no memory", reason: "memory", breakIt: func(l *lab) {
			l.h.Put("/proc/meminfo", "MemTotal: 200000 kB\nMemAvailable: 100000 kB\n")
		}},
		{name: "other serial", reason: `did not appear within 1m0s: vda: serial "OTHER"`, breakIt: func(l *lab) {
			l.h.Put("/sys/devices/pci0000:00/0000:00:03.0/virtio1/block/vda/serial", "OTHER\n")
		}},
		{name: "two of a kind", reason: "can't be told from each other", breakIt: func(l *lab) {
			l.h.Link("/sys/block/vdb", "../devices/pci0000:00/0000:00:03.0/virtio1/block/vda")
			l.h.Link("/sys/class/block/vdb", "../../devices/pci0000:00/0000:00:03.0/virtio1/block/vda")
			l.h.Link("/dev/vdb", "vda")
		}},
		{name: "rehearsal", change: func(p *schema.FlashPlan) { p.Stage2.Flash = false }, breakIt: func(*lab) {}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.change == nil {
				tt.change = func(*schema.FlashPlan) {}
			}
			l := newKexec(t, tt.change)
			tt.breakIt(l)
			before := l.diskBytes(t, 16<<20)
			l.start()
			if l.k.ended != "reboot" || !bytes.Equal(before, l.diskBytes(t, 16<<20)) {
				t.Errorf("ended by %q\n%s", l.k.ended, l.log.bytes())
			}
			want := schema.OutcomeAborted
			if tt.reason == "" {
				want = schema.OutcomeRehearsed
			}
			if o := l.outcomeAt(t, kexecOutcome); o.Verdict != want || !strings.Contains(o.Reason, tt.reason) {
				t.Errorf("outcome %+v", o)
			}
			l.wantUntouched(t)
		})
	}
}

// wantUntouched: the boot loader was never touched, and what others armed there is not ours.
func (l *lab) wantUntouched(t *testing.T) {
	t.Helper()
	if got, err := l.h.ReadFile(oldRoot + "/boot/grub/grubenv"); err != nil || !strings.Contains(string(got), "next_entry=\n") {
		t.Errorf("grubenv %q %v", got, err)
	}
}

// Where the work dir can be mounted, as on btrfs, the record there is removed and the word left beside it.
func TestKexecWithWorkDir(t *testing.T) {
	l := newKexec(t, func(p *schema.FlashPlan) {
		p.WorkDir, p.Layered, p.WorkFS.Type = workDir, false, "btrfs"
		p.Root = p.WorkFS
	})
	record := oldRoot + workDir + "/" + disarm.RecordName
	put(t, l.h, record, schema.Armed{Schema: schema.ArmedName, Method: "kexec", BootID: "before", Files: []schema.ArmedFile{}, Loaded: disarm.Sum(nil)})
	l.h.Put(flashplan.Image, "short")
	l.start()
	if o := l.outcomeAt(t, oldRoot+workDir+"/"+flashplan.OutcomeName); o.Verdict != schema.OutcomeAborted || l.k.ended != "reboot" {
		t.Errorf("outcome %+v, ended by %q", o, l.k.ended)
	}
	if _, err := l.h.Stat(record); err == nil {
		t.Error("the record is still there")
	}
	if got := l.k.options["btrfs"]; got != "subvolid=5" { // else the paths of the plan are those of the default subvolume
		t.Errorf("mounted with %q", got)
	}
}

// Whatever is wrong with what stage 2 was told, a reboot leads back, and nothing is handed over to.
func TestKexecWithoutItsFileSystem(t *testing.T) {
	l := newKexec(t, func(p *schema.FlashPlan) { p.WorkFS.UUID = "88888888-2222-4333-8444-555555555555" })
	l.h.Put("/init", "") // not ours: the archive is all there is
	l.start()
	if l.k.ended != "reboot" || !strings.Contains(string(l.log.bytes()), "not on any of") {
		t.Errorf("ended by %q\n%s", l.k.ended, l.log.bytes())
	}
}
