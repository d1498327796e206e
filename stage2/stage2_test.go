package stage2

import (
	"bytes"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/disarm"
	"github.com/balena-community/balena-migrate/stage2/flashplan"
	"github.com/balena-community/balena-migrate/steps/host/hosttest"
)

func TestMigration(t *testing.T) {
	l := newLab(t)
	l.start()
	if l.k.ended != "reboot" {
		t.Fatalf("ended by %q\n%s", l.k.ended, l.log.bytes())
	}
	if !bytes.Equal(l.diskBytes(t, len(l.image)), l.image) {
		t.Error("the disk is not the image")
	}
	for name, want := range map[string]string{
		"/dev/parts/vda1-new/config.json":                      `{"apiKey":"` + secret + `"}`,
		"/dev/parts/vda1-new/system-connections/resin-wifi-01": "[wifi-security]\npsk=" + secret + "\n",
		"/dev/parts/vda2-new/backup.tgz":                       "backup",
		"/dev/parts/vda1-new/EFI/BOOT/grub.cfg":                "set default=boot\n",
		"/dev/parts/vda1-new/grub/grub.cfg":                    "set default=boot\n",
	} {
		if got, err := l.h.ReadFile(name); string(got) != want {
			t.Errorf("%s: %q %v", name, got, err)
		}
	}
	if o := l.outcomeAt(t, "/dev/parts/vda2-new/"+flashplan.NewOutcome); o.Verdict != schema.OutcomeMigrated {
		t.Errorf("outcome %+v", o)
	}
	text, err := l.h.ReadFile("/dev/parts/vda2-new/" + flashplan.NewLog)
	if err != nil || !strings.Contains(string(text), "point of no return") {
		t.Errorf("log %q %v", text, err)
	}
	if strings.Contains(string(l.log.bytes()), secret) {
		t.Error("the log holds a secret")
	}
}

// TestFailuresLeftOfTheLine: each ends in the old system, with the boot configuration as it was, the reason readable,
// and not a byte of the disk written.
func TestFailuresLeftOfTheLine(t *testing.T) {
	image := oldRoot + workDir + "/image.gz"
	tests := []struct {
		name, reason, ended string
		breakIt             func(t *testing.T, l *lab)
	}{
		{"image flipped", "image chunk", "reboot", func(t *testing.T, l *lab) {
			data, _ := l.h.ReadFile(image)
			data[len(data)/4] ^= 1
			l.h.Put(image, string(data))
		}},
		{"image deleted", "no such file", "reboot", func(_ *testing.T, l *lab) { _ = l.h.Remove(image) }},
		{"image cut", "bytes, expected", "reboot", func(_ *testing.T, l *lab) { l.h.Put(image, "short") }},
		{"backup changed", "backup: SHA-256", "reboot", func(_ *testing.T, l *lab) { l.h.Put(oldRoot+workDir+"/backup.tgz", "backuq") }},
		{"config.json changed", "SHA-256", "reboot", func(_ *testing.T, l *lab) { l.h.Put(flashplan.ConfigJSON, "{}") }},
		{"boot file changed", "SHA-256", "reboot", func(_ *testing.T, l *lab) { l.h.Put(flashplan.BootFiles+"/1-grub.cfg", "set default=boox\n") }},
		{"no memory", "memory", "reboot", func(_ *testing.T, l *lab) {
			l.h.Put("/proc/meminfo", "MemTotal: 200000 kB\nMemAvailable: 100000 kB\n")
		}},
		{"other serial", "serial", "reboot", func(_ *testing.T, l *lab) {
			l.h.Put("/sys/devices/pci0000:00/0000:00:03.0/virtio1/block/vda/serial", "OTHER\n")
		}},
		{"no memory even without the old initramfs", "memory: 97 MiB are available", "reboot", func(t *testing.T, l *lab) {
			l.h.Put("/proc/meminfo", "MemTotal: 200000 kB\nMemAvailable: 100000 kB\n")
			l.h.Put("/usr/lib/modules/x.ko", "the old system's")
			l.h.Link("/lib64", "dev/parts/vda1/var/lib")
			t.Cleanup(func() {
				for _, gone := range []string{"/usr", "/lib", "/lib64", "/init", "/boot"} {
					if _, err := l.h.Lstat(gone); err == nil {
						t.Errorf("%s is still in memory", gone)
					}
				}
			})
		}},
		{"no vfat", "vfat", "reboot", func(_ *testing.T, l *lab) { l.h.Put("/proc/filesystems", "\text4\n") }},
		{"disk busy", "busy", "reboot", func(_ *testing.T, l *lab) { l.k.openErr = syscall.EBUSY }},
		{"other kernel", "kernel", "reboot", func(_ *testing.T, l *lab) { l.h.Put("/proc/sys/kernel/osrelease", "5.10\n") }},
		{"record damaged", "armed.json", "exec /init", func(_ *testing.T, l *lab) { l.h.Put(oldRoot+workDir+"/"+disarm.RecordName, "junk") }},
	}
	// What is damaged is not to be taken for good by its size and times again.
	forgets := map[string]string{"image flipped": flashplan.ImageStamp, "backup changed": flashplan.BackupStamp}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newLab(t)
			stamps := []string{flashplan.ImageStamp, flashplan.BackupStamp}
			for _, name := range stamps {
				l.h.Put(oldRoot+workDir+"/"+name, "{}")
			}
			tt.breakIt(t, l)
			before := l.diskBytes(t, 16<<20)
			l.start()
			if l.k.ended != tt.ended {
				t.Errorf("ended by %q, want %q\n%s", l.k.ended, tt.ended, l.log.bytes())
			}
			o := l.outcomeAt(t, oldRoot+workDir+"/"+flashplan.OutcomeName)
			if o.Verdict != schema.OutcomeAborted || !strings.Contains(o.Reason, tt.reason) {
				t.Errorf("outcome %s in %s: %s", o.Verdict, o.Phase, o.Reason)
			}
			if !bytes.Equal(before, l.diskBytes(t, 16<<20)) {
				t.Error("the disk was written to")
			}
			if tt.ended == "reboot" {
				l.wantDisarmed(t)
			}
			for _, name := range stamps {
				if _, err := l.h.Stat(oldRoot + workDir + "/" + name); (err != nil) != (name == forgets[tt.name]) {
					t.Errorf("stamp %s: %v, forgotten is %q", name, err, forgets[tt.name])
				}
			}
		})
	}
}

func (l *lab) wantDisarmed(t *testing.T) {
	t.Helper()
	for name, want := range l.boot {
		if got, err := l.h.ReadFile(oldRoot + "/boot/grub/" + name); string(got) != want {
			t.Errorf("%s is not as it was: %v", name, err)
		}
	}
	for _, gone := range []string{"/boot/grub/custom.cfg", workDir + "/" + disarm.RecordName} {
		if _, err := l.h.Stat(oldRoot + gone); err == nil {
			t.Errorf("%s is still there", gone)
		}
	}
}

// Without the old root there is nothing to be disarmed and nowhere to leave word: the old init may know better.
func TestNoOldRootHandsOver(t *testing.T) {
	l := newLab(t)
	l.h.Put("/dev/vda1", "nothing that is known")
	l.start()
	if l.k.ended != "exec /init" {
		t.Errorf("ended by %q", l.k.ended)
	}
}

// A host without an initramfs has no /init: the old system goes on on its own root.
func TestNoInitSwitchesRoot(t *testing.T) {
	l := newLab(t)
	if err := l.h.Remove("/init"); err != nil {
		t.Fatal(err)
	}
	l.h.Put(oldRoot+workDir+"/"+disarm.RecordName, "junk") // not disarmed: a reboot would only lead here again
	l.start()
	if want := "switch /dev/vda1 /sbin/init"; l.k.ended != want {
		t.Errorf("ended by %q, want %q", l.k.ended, want)
	}
}

// Where nothing of the old system can be reached, a reboot is all that is left.
func TestNothingToReturnTo(t *testing.T) {
	l := newLab(t)
	if err := l.h.Remove("/init"); err != nil {
		t.Fatal(err)
	}
	l.h.Put("/dev/vda1", "nothing that is known")
	l.start()
	if l.k.ended != "reboot" {
		t.Errorf("ended by %q, want a reboot", l.k.ended)
	}
}

func TestNoPlanHandsOver(t *testing.T) {
	l := newLab(t)
	l.h.Put(flashplan.Plan, "junk")
	l.start()
	if l.k.ended != "exec /init" {
		t.Errorf("ended by %q", l.k.ended)
	}
}

func TestRehearsal(t *testing.T) {
	for after, ended := range map[string]string{"continue": "exec /init", "reboot": "reboot"} {
		l := newLab(t)
		plan, err := flashplan.Load(l.h)
		if err != nil {
			t.Fatal(err)
		}
		plan.Stage2.Flash, plan.Stage2.AfterNoFlash = false, after
		put(t, l.h, flashplan.Plan, plan)
		before := l.diskBytes(t, 16<<20)
		l.start()
		if l.k.ended != ended || !bytes.Equal(before, l.diskBytes(t, 16<<20)) {
			t.Errorf("%s: ended by %q", after, l.k.ended)
		}
		o := l.outcomeAt(t, oldRoot+workDir+"/"+flashplan.OutcomeName)
		if o.Verdict != schema.OutcomeRehearsed || o.MemoryFree == 0 {
			t.Errorf("outcome %+v", o)
		}
		l.wantDisarmed(t)
	}
}

func TestWritesThatFailForAWhileAreTriedAgain(t *testing.T) {
	l := newLab(t)
	var failures atomic.Int64 // workers write at the same time
	l.k.writeErr = func(int64) error {
		if failures.Add(1) <= 4 {
			return syscall.EIO
		}
		return nil
	}
	l.start()
	if l.k.ended != "reboot" || !bytes.Equal(l.diskBytes(t, len(l.image)), l.image) {
		t.Errorf("ended by %q\n%s", l.k.ended, l.log.bytes())
	}
}

// A disk that says yes and keeps something else must be found out by the read-back.
func TestSilentCorruptionIsFoundAndMended(t *testing.T) {
	l := newLab(t)
	var lost atomic.Bool
	l.k.writeErr = func(off int64) error {
		if off == 5<<20 && lost.CompareAndSwap(false, true) {
			return errLost
		}
		return nil
	}
	l.start()
	if l.k.ended != "reboot" || !bytes.Equal(l.diskBytes(t, len(l.image)), l.image) {
		t.Errorf("ended by %q\n%s", l.k.ended, l.log.bytes())
	}
	if !strings.Contains(string(l.log.bytes()), "differs") {
		t.Errorf("nothing was noticed:\n%s", l.log.bytes())
	}
}

func TestStranded(t *testing.T) {
	l := newLab(t)
	l.k.writeErr = func(off int64) error {
		if off >= 5<<20 {
			return syscall.EIO
		}
		return nil
	}
	l.start()
	if l.k.ended != "reboot" || l.outcome.Verdict != schema.OutcomeStranded || l.k.clock < hold {
		t.Errorf("ended by %q after %s: %+v", l.k.ended, l.k.clock, l.outcome)
	}
	if !strings.Contains(l.outcome.Reason, "input/output error") {
		t.Errorf("reason %q", l.outcome.Reason)
	}
}

// S23: the log partition has the log whatever becomes of the migration, and nothing depends on it.
func TestLogPartition(t *testing.T) {
	for name, broken := range map[string]bool{"there": false, "gone": true} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			const uuid = "99999999-2222-4333-8444-555555555555"
			plan, err := flashplan.Load(l.h)
			if err != nil {
				t.Fatal(err)
			}
			plan.Log = &schema.FileSystem{Device: "vdb", Type: "ext4", UUID: uuid}
			put(t, l.h, flashplan.Plan, plan)
			if !broken {
				l.h.Put("/sys/devices/pci0000:00/0000:00:09.0/virtio9/block/vdb/size", "1\n")
				l.h.Link("/sys/block/vdb", "../devices/pci0000:00/0000:00:09.0/virtio9/block/vdb")
				l.h.Link("/sys/class/block/vdb", "../../devices/pci0000:00/0000:00:09.0/virtio9/block/vdb")
				l.h.Put("/dev/vdb", string(hosttest.Superblock(t, uuid, "log")))
				l.h.Put("/dev/parts/vdb/x", "")
				l.h.Put("/dev/parts/vdb-new/x", "")
			}
			l.start()
			if l.k.ended != "reboot" || l.outcome.Verdict != schema.OutcomeMigrated {
				t.Fatalf("ended by %q: %+v", l.k.ended, l.outcome)
			}
			text, err := l.h.ReadFile("/dev/parts/vdb-new/" + flashplan.NewLog)
			if broken == (err == nil) || !broken && !strings.Contains(string(text), "migration is complete") {
				t.Errorf("log %q %v", text, err)
			}
		})
	}
}
