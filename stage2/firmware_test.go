package stage2

import (
	"encoding/binary"
	"strings"
	"syscall"
	"testing"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/efivar"
	"github.com/balena-community/balena-migrate/stage2/flashplan"
)

const vendor = "-8be4df61-93ca-11d2-aa0d-00e098032b8c"

// efi makes the lab's machine one with EFI firmware, whose menu has the old system and a network card. The image gets a
// table, and the new boot partition its loader.
func (l *lab) efi(t *testing.T) {
	t.Helper()
	old, err := l.partitionsOf("vda")
	if err != nil || len(old) != 1 {
		t.Fatal(old, err)
	}
	l.h.Put(efiDir+"/fw_platform_size", "64\n")
	debian := efivar.New("debian", old[0], `\EFI\debian\grubx64.efi`)
	l.h.Put(efivar.Dir+"/Boot0000"+vendor, "\x07\x00\x00\x00"+string(debian.Bytes()))
	l.h.Put(efivar.Dir+"/Boot0001"+vendor, "\x07\x00\x00\x00"+string(efivar.Option{Description: "net"}.Bytes()))
	l.h.Put(efivar.Dir+"/BootOrder"+vendor, "\x07\x00\x00\x00\x00\x00\x01\x00")
	l.h.Put("/dev/parts/vda1-new/EFI/BOOT/bootx64.efi", "loader")
}

// newTable gives the image a partition table: one partition, from 4 MiB on.
func newTable(b []byte) {
	clear(b[440:512])
	copy(b[440:], "\x05\x0a\x1e\xba")
	b[446+4] = 0x0e
	binary.LittleEndian.PutUint32(b[446+8:], 8192)
	binary.LittleEndian.PutUint32(b[446+12:], 4096)
	b[510], b[511] = 0x55, 0xaa
}

func (l *lab) entriesNow(t *testing.T) (order []uint16, names []string) {
	t.Helper()
	order, err := efivar.Order(l.h)
	if err != nil {
		t.Fatal(err)
	}
	all, err := efivar.List(l.h)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		names = append(names, e.Option.Description)
	}
	return order, names
}

// TestFirmwareMenu is E28: after the flash the firmware starts the new system's partition first, and the old system's
// entry is gone.
func TestFirmwareMenu(t *testing.T) {
	l := newLabOf(t, newTable)
	l.efi(t)
	l.start()
	if l.k.ended != "reboot" || l.outcome.Verdict != schema.OutcomeMigrated || len(l.outcome.Warnings) > 0 {
		t.Fatalf("ended by %q: %+v\n%s", l.k.ended, l.outcome, l.log.bytes())
	}
	order, names := l.entriesNow(t)
	if len(order) != 2 || order[0] != 2 || order[1] != 1 || strings.Join(names, " ") != "net balenaOS" {
		t.Errorf("order %v of %q", order, names)
	}
	all, _ := efivar.List(l.h)
	d, _ := all[1].Option.HardDrive()
	if d.Start != 8192 || d.Size != 4096 || d.Number != 1 || string(d.Signature[:4]) != "\x05\x0a\x1e\xba" {
		t.Errorf("the entry leads to %+v", d)
	}
}

// TestFirmwareRefuses: nothing of the firmware keeps a migration from its end, and the new system is told.
func TestFirmwareRefuses(t *testing.T) {
	for name, breakIt := range map[string]func(*lab){
		"no variables": func(l *lab) { l.k.mountErr = map[string]error{"efivarfs": syscall.ENODEV} },
		"no loader":    func(l *lab) { _ = l.h.Remove("/dev/parts/vda1-new/EFI/BOOT/bootx64.efi") },
		"read-only":    func(l *lab) { l.Host = readOnlyFirmware{l.Host} },
	} {
		t.Run(name, func(t *testing.T) {
			l := newLabOf(t, newTable)
			l.efi(t)
			breakIt(l)
			l.start()
			o := l.outcomeAt(t, "/dev/parts/vda2-new/"+flashplan.NewOutcome)
			if o.Verdict != schema.OutcomeMigrated || len(o.Warnings) != 1 || !strings.Contains(o.Warnings[0], `\EFI\BOOT\bootx64.efi`) {
				t.Errorf("outcome %+v\n%s", o, l.log.bytes())
			}
			if order, _ := l.entriesNow(t); len(order) != 2 || order[0] != 0 {
				t.Errorf("order %v changed", order)
			}
		})
	}
}

// A failure left of the line leaves the firmware's menu alone.
func TestFirmwareBeforeTheLine(t *testing.T) {
	l := newLabOf(t, newTable)
	l.efi(t)
	l.k.openErr = syscall.EBUSY
	l.start()
	if order, names := l.entriesNow(t); len(order) != 2 || strings.Join(names, " ") != "debian net" || l.outcome.Verdict != schema.OutcomeAborted {
		t.Errorf("order %v of %q, %+v", order, names, l.outcome)
	}
}

// Linux 3.13 of Ubuntu 14.04 has no MemAvailable.
func TestMemoryOfOldKernels(t *testing.T) {
	l := newLab(t)
	l.h.Put("/proc/meminfo", "MemTotal: 2000 kB\nMemFree: 700 kB\nCached: 900 kB\n")
	if total, free, err := l.memory(); total != 2000<<10 || free != 700<<10 || err != nil {
		t.Errorf("%d of %d, %v", free, total, err)
	}
	l.h.Put("/proc/meminfo", "MemTotal: 2000 kB\n")
	if _, _, err := l.memory(); err == nil {
		t.Error("nothing is known, and that is no error")
	}
}
