package stage2

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/disarm"
	"github.com/balena-community/balena-migrate/stage2/flashplan"
)

// withBootCode adds GRUB's files to the plan, and returns core.img. The image's first partition begins at 512 KiB, so that
// there is a gap.
func withBootCode(t *testing.T, l *lab, size int) []byte {
	t.Helper()
	boot, core := make([]byte, 512), bytes.Repeat([]byte{0xc0}, size)
	copy(boot, "\xeb\x63\x90")
	boot[0x5c] = 1
	copy(boot[0x180:], "GRUB ")
	copy(boot[440:], strings.Repeat("T", 72)) // must not reach the disk
	copy(core[0x11b:], "loading")
	clear(core[0x140:512])
	core[0x1f4] = 2
	binary.LittleEndian.PutUint16(core[0x1fc:], uint16((size-1)/512))
	plan, err := flashplan.Load(l.h)
	if err != nil {
		t.Fatal(err)
	}
	file := func(name string, data []byte) schema.ArchiveFile {
		l.h.Put(flashplan.BootCode+"/"+name, string(data))
		return schema.ArchiveFile{Name: name, Path: flashplan.BootCode + "/" + name, Size: int64(len(data)), SHA256: disarm.Sum(data)}
	}
	plan.BootCode = &schema.BootCodePlan{BootImg: file("boot.img", boot), CoreImg: file("core.img", core)}
	put(t, l.h, flashplan.Plan, plan)
	return core
}

// flashed says whether the engine is through: from then on one goroutine writes to the disk.
func flashed(l *lab) bool { return strings.Contains(string(l.log.bytes()), "read back and compared") }

func withGap(image []byte) { binary.LittleEndian.PutUint32(image[446+8:], 1024) }

// GRUB lies in the first sector and in the gap, and the rest of the disk is the image: table, disk signature, partitions.
func TestBootCodeIsInstalled(t *testing.T) {
	for name, lose := range map[string]int64{"at once": -1, "core.img lost once": 512, "boot.img lost once": 0} {
		t.Run(name, func(t *testing.T) {
			l := newLabOf(t, withGap)
			core := withBootCode(t, l, 30_001)
			lost := false
			l.k.writeErr = func(off int64) error {
				if off == lose && flashed(l) && !lost {
					lost = true
					return errLost
				}
				return nil
			}
			l.start()
			if l.k.ended != "reboot" || lost != (lose >= 0) {
				t.Fatalf("ended by %q, lost %v\n%s", l.k.ended, lost, l.log.bytes())
			}
			got := l.diskBytes(t, len(l.image))
			if !bytes.HasPrefix(got, []byte("\xeb\x63\x90")) || !bytes.Equal(got[440:512], l.image[440:512]) {
				t.Errorf("first sector % x", got[:512])
			}
			end := 512 + (len(core)+511)/512*512
			if !bytes.Equal(got[512:512+len(core)], core) || !bytes.Equal(got[end:], l.image[end:]) {
				t.Error("core.img, or what lies behind it, is not as it should be")
			}
			if o := l.outcomeAt(t, "/dev/parts/vda2-new/"+flashplan.NewOutcome); o.Verdict != schema.OutcomeMigrated {
				t.Errorf("outcome %+v", o)
			}
		})
	}
}

// A disk that does not take it is tried again, and then told; core.img never reaches into a partition.
func TestBootCodeFails(t *testing.T) {
	for name, c := range map[string]struct {
		first uint32 // sector of the first partition
		size  int
		err   error
		want  string
	}{
		"no room":           {800, 500 << 10, nil, "at most the 409088 before the first partition"},
		"the disk refuses":  {1024, 30_000, errors.New("medium error"), "medium error"},
		"nothing is stored": {1024, 30_000, errLost, "not what was written there"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLabOf(t, func(image []byte) { binary.LittleEndian.PutUint32(image[446+8:], c.first) })
			withBootCode(t, l, c.size)
			l.k.writeErr = func(off int64) error {
				if off == 512 && flashed(l) {
					return c.err
				}
				return nil
			}
			l.start()
			text := string(l.log.bytes())
			if !strings.Contains(text, "boot code, attempt 5 of 5") || !strings.Contains(text, c.want) || !strings.Contains(text, "THE MIGRATION FAILED") {
				t.Errorf("log lacks %q:\n%s", c.want, text)
			}
		})
	}
}

// A damaged file is seen while there is a way back.
func TestDamagedBootCodeComesBack(t *testing.T) {
	l := newLabOf(t, withGap)
	withBootCode(t, l, 30_000)
	l.h.Put(flashplan.BootCode+"/core.img", "no core.img")
	l.start()
	if o := l.outcomeAt(t, oldRoot+workDir+"/"+flashplan.OutcomeName); o.Verdict != schema.OutcomeAborted || !strings.Contains(o.Reason, "core.img: SHA-256") {
		t.Errorf("outcome %+v", o)
	}
}
