package stage2

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/flashplan"
	"github.com/balena-community/balena-migrate/stage2/inplace"
	"github.com/balena-community/balena-migrate/steps/host"
	"github.com/balena-community/balena-migrate/steps/host/hosttest"
)

// partStart is where the fake disk's partition begins; below in the file system is where the image's first part lies.
const partStart = 1 << 20

// beyondLab is a lab whose image lies in three parts on the disk: the first within the area that is written, the others
// beyond, in the wrong order; and the backup beyond too. In the old file system they are files full of holes: what is
// read through it is only what has to be.
type beyondLab struct {
	*lab
	gz     []byte
	placed map[string][]schema.Extent
}

func newBeyondLab(t *testing.T) *beyondLab {
	t.Helper()
	l := &beyondLab{lab: newLab(t), placed: map[string][]schema.Extent{}}
	l.h.Put("/sys/devices/pci0000:00/0000:00:03.0/virtio1/block/vda/vda1/start", "2048\n")
	gz, err := l.h.ReadFile(oldRoot + workDir + "/image.gz")
	if err != nil {
		t.Fatal(err)
	}
	l.gz = gz
	n := int64(len(gz))
	l.place(t, "image.gz", gz, []schema.Extent{
		{Logical: 0, DiskOffset: 4 << 20, Length: 1 << 20},
		{Logical: 1 << 20, DiskOffset: 50 << 20, Length: 1 << 19},
		{Logical: 3 << 19, DiskOffset: 30 << 20, Length: n - 3<<19},
	})
	l.place(t, "backup.tgz", []byte("backup"), []schema.Extent{{Logical: 0, DiskOffset: 60 << 20, Length: 4096}})
	l.replan(t, func(p *schema.FlashPlan) {
		p.Image.Extents = l.placed["image.gz"][1:]
		p.Backup.Extents = []schema.Extent{{Logical: 0, DiskOffset: 60 << 20, Length: 6}}
	})
	return l
}

// place puts a file's bytes on the disk, and takes them out of the file where the plan has them in place.
func (l *beyondLab) place(t *testing.T, name string, data []byte, extents []schema.Extent) {
	t.Helper()
	full := oldRoot + workDir + "/" + name
	disk, err := os.OpenFile(filepath.Join(l.h.Root(), "/dev/vda"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	file := bytes.Clone(data)
	var told []host.Extent
	for _, e := range extents {
		end := min(e.Logical+e.Length, int64(len(data)))
		if _, err := disk.WriteAt(data[e.Logical:end], e.DiskOffset); err != nil {
			t.Fatal(err)
		}
		if e.DiskOffset > 10<<20 {
			clear(file[e.Logical:end])
		}
		told = append(told, host.Extent{Logical: e.Logical, Physical: e.DiskOffset - partStart, Length: e.Length})
	}
	l.h.Put(full, string(file))
	l.placed[name] = extents
	l.tell(name, told)
}

// tell scripts what FIEMAP says.
func (l *beyondLab) tell(name string, told []host.Extent) {
	if l.h.Placed == nil {
		l.h.Placed = map[string][]host.Extent{}
	}
	l.h.Placed[mountDir+"/"+hosttest.RootUUID+workDir+"/"+name] = told
}

func (l *beyondLab) replan(t *testing.T, change func(*schema.FlashPlan)) {
	t.Helper()
	plan, err := flashplan.Load(l.h)
	if err != nil {
		t.Fatal(err)
	}
	change(plan)
	put(t, l.h, flashplan.Plan, plan)
}

func TestInPlace(t *testing.T) {
	l := newBeyondLab(t)
	var failures atomic.Int64
	l.k.writeErr = func(off int64) error { // right of the line chunks are read again, however late
		if off > 8<<20 && failures.Add(1) <= 4 {
			return syscall.EIO
		}
		return nil
	}
	l.start()
	if l.k.ended != "reboot" || l.outcome.Verdict != schema.OutcomeMigrated {
		t.Fatalf("ended by %q: %+v\n%s", l.k.ended, l.outcome, l.log.bytes())
	}
	if !bytes.Equal(l.diskBytes(t, len(l.image)), l.image) {
		t.Error("the disk is not the image")
	}
	if got, err := l.h.ReadFile("/dev/parts/vda2-new/backup.tgz"); string(got) != "backup" {
		t.Errorf("backup %q, %v", got, err)
	}
	if !strings.Contains(string(l.log.bytes()), "image: 1 MiB stay in place on the disk, 1 MiB are held in memory") {
		t.Errorf("the log does not say how:\n%s", l.log.bytes())
	}
}

// What is read in place does not count as memory: the same machine is too small when all of it has to be held.
func TestInPlaceNeedsLessMemory(t *testing.T) {
	l := newBeyondLab(t)
	plan, err := flashplan.Load(l.h)
	if err != nil {
		t.Fatal(err)
	}
	held := *plan
	held.Image.Extents, held.Backup = nil, nil
	if a, b := flashplan.Need(plan, 1), flashplan.Need(&held, 1); b-a != int64(len(l.gz))-1<<20 || flashplan.Held(&plan.Image) != 1<<20 {
		t.Errorf("need %d in place, %d without", a, b)
	}
}

// TestInPlaceFailures: whatever is wrong with the extents is found before anything is written.
func TestInPlaceFailures(t *testing.T) {
	for _, tt := range []struct {
		name, reason string
		breakIt      func(t *testing.T, l *beyondLab)
	}{
		{"moved since", "run build-initramfs again", func(_ *testing.T, l *beyondLab) {
			l.tell("image.gz", []host.Extent{{Logical: 0, Physical: 4 << 20, Length: 4 << 20}})
		}},
		{"backup moved since", "backup /var/lib/balena-migrate/backup.tgz: does not lie", func(_ *testing.T, l *beyondLab) { l.tell("backup.tgz", nil) }},
		{"overlaps what is written", "overlaps the 10485760 bytes", func(t *testing.T, l *beyondLab) {
			l.replan(t, func(p *schema.FlashPlan) { p.Image.Extents = l.placed["image.gz"] })
		}},
		{"beyond the disk", "the disk ends", func(t *testing.T, l *beyondLab) {
			l.replan(t, func(p *schema.FlashPlan) { p.Image.Extents[0].DiskOffset = 64<<20 - 4096 })
		}},
		{"out of order", "expected them behind", func(t *testing.T, l *beyondLab) {
			l.replan(t, func(p *schema.FlashPlan) {
				p.Image.Extents[0], p.Image.Extents[1] = p.Image.Extents[1], p.Image.Extents[0]
			})
		}},
		{"other bytes on the disk", "image chunk", func(t *testing.T, l *beyondLab) { l.scribble(t, 30<<20+1000) }},
		{"other backup on the disk", "backup: SHA-256", func(t *testing.T, l *beyondLab) { l.scribble(t, 60<<20+2) }},
		{"disk that can't be opened", "file does not exist", func(_ *testing.T, l *beyondLab) { l.k.rawErr = os.ErrNotExist }},
		{"unreadable sector", "input/output error", func(_ *testing.T, l *beyondLab) { l.k.readErr = syscall.EIO }},
		{"partition start unknown", "start", func(_ *testing.T, l *beyondLab) {
			_ = l.h.Remove("/sys/devices/pci0000:00/0000:00:03.0/virtio1/block/vda/vda1/start")
		}},
		{"image that reaches beyond itself", "partition 1 ends at byte", func(t *testing.T, l *beyondLab) { l.reach(t) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newBeyondLab(t)
			tt.breakIt(t, l)
			before := l.diskBytes(t, 16<<20)
			l.start()
			o := l.outcomeAt(t, oldRoot+workDir+"/"+flashplan.OutcomeName)
			if l.k.ended != "reboot" || o.Verdict != schema.OutcomeAborted || !strings.Contains(strings.ToLower(o.Reason), strings.ToLower(tt.reason)) {
				t.Errorf("ended by %q, %s in %s: %s", l.k.ended, o.Verdict, o.Phase, o.Reason)
			}
			if !bytes.Equal(before, l.diskBytes(t, 16<<20)) {
				t.Error("the disk was written to")
			}
			l.wantDisarmed(t)
		})
	}
}

func (l *beyondLab) scribble(t *testing.T, off int64) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(l.h.Root(), "/dev/vda"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, off); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if _, err := f.WriteAt(b, off); err != nil {
		t.Fatal(err)
	}
}

// reach makes an image with a partition larger than itself, all else being right.
func (l *beyondLab) reach(t *testing.T) {
	t.Helper()
	fresh := newLabOf(t, func(image []byte) { binary.LittleEndian.PutUint32(image[446+12:], 1<<20) })
	*l.lab = *fresh
	l.h.Put("/sys/devices/pci0000:00/0000:00:03.0/virtio1/block/vda/vda1/start", "2048\n")
	gz, err := l.h.ReadFile(oldRoot + workDir + "/image.gz")
	if err != nil {
		t.Fatal(err)
	}
	l.place(t, "image.gz", gz, []schema.Extent{{Logical: 0, DiskOffset: 20 << 20, Length: int64(len(gz))}})
	l.replan(t, func(p *schema.FlashPlan) { p.Image.Extents, p.Backup = l.placed["image.gz"], nil })
}

// A file system that is still mounted for writing may yet move what is read in place.
func TestWritableFileSystemIsRefused(t *testing.T) {
	l := newBeyondLab(t)
	l.beyond = &inplace.Disk{}
	l.mounts = []mount{{uuid: hosttest.RootUUID, writable: true}}
	if err := l.staysBeyond(); err == nil || !strings.Contains(err.Error(), "mounted for writing") {
		t.Errorf("got %v", err)
	}
}
