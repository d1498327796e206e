package lab

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"
)

// TestEFIMigration: a machine with EFI firmware comes back from a failure, then migrates, and the firmware has an entry
// for the new system, first, none for the old one, and all others.
func TestEFIMigration(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		suite Suite
		opt   Options
	}{{BookwormEFI, Options{EFI: true}}, {BookwormEFIBoot, Options{EFI: true, NVMe: true}}} {
		t.Run(string(c.suite), func(t *testing.T) {
			t.Parallel()
			art := build(t, c.suite)
			c.opt.Dir, c.opt.Disk = t.TempDir(), art.Disks[c.suite]
			migrateEFI(t, art, c.opt)
		})
	}
}

func migrateEFI(t *testing.T, art Artifacts, opt Options) {
	in := inputs(t, art)
	vm := prepared(t, art, opt, in, buildFaults(t))
	others := plantEntries(t, vm, opt.Disk)
	before, menu := run(t, vm, bootState), run(t, vm, menuState)
	t.Logf("the old system's firmware menu:\n%s", menu)
	vm = comeBack(t, machine{t, art, opt}, vm, failure{
		name: "image file deleted", stage: "aborted", reason: "no such file", sabotage: "mv /var/lib/balena-migrate/image.gz /root/",
	}, before)
	if got := run(t, vm, "od -An -v -tx1 -j4 /sys/firmware/efi/efivars/BootCurrent"+menuVendor+" | tr -d ' \\n'"); got != "0d0d" {
		t.Errorf("the firmware started entry %s, want Debian's 0d0d", got)
	}
	if after := run(t, vm, menuState); after != menu {
		t.Errorf("the firmware's menu before:\n%s\nafter a failure:\n%s", menu, after)
	}
	run(t, vm, "mv /root/image.gz /var/lib/balena-migrate/image.gz")
	if res := result(t, vm, "balena-migrate migrate --yes", document(true)); res.Status != "converged" {
		t.Fatalf("migrate: %s", res.Msg)
	}
	report := intoNewOS(t, vm, art, document(true))
	if want := slices.Concat([]string{"balenaOS"}, others); report.Firmware.Current != "balenaOS" || !slices.Equal(report.Firmware.Entries, want) {
		t.Errorf("firmware started %q of %q, want balenaOS of %q", report.Firmware.Current, report.Firmware.Entries, want)
	}
	if report.Firmware.All != 1+len(others) {
		t.Errorf("the firmware has %d entries, want %d", report.Firmware.All, 1+len(others))
	}
	if strings.Contains(report.Outcome.Content, "warnings") {
		t.Errorf("outcome: %s", report.Outcome.Content)
	}
}

// menuState is the firmware's menu but for BootCurrent, which changes by itself.
const menuState = `cd /sys/firmware/efi/efivars && sha256sum Boot[0-9A-F][0-9A-F][0-9A-F][0-9A-F]-* BootOrder-*`

const menuVendor = "-8be4df61-93ca-11d2-aa0d-00e098032b8c"

// plantEntries makes the menu one that has seen life: Debian's own entry first, that of an earlier balenaOS whose
// partition is gone, and one of a disk that is not attached. The next boot is by Debian's. It returns the
// descriptions that are to stay, in their order.
func plantEntries(t *testing.T, vm *VM, disk string) []string {
	t.Helper()
	out, err := exec.Command("sfdisk", "-J", disk).Output()
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Partitiontable struct {
			Partitions []struct {
				Start, Size uint64
				UUID        string
			}
		}
	}
	if err := json.Unmarshal(out, &doc); err != nil {
		t.Fatal(err)
	}
	esp := doc.Partitiontable.Partitions[0]
	const gone = "0badc0de-0000-4000-8000-00000000000"
	for name, option := range map[string][]byte{
		"Boot0D0D": loadOption(t, "debian", esp.UUID, esp.Start, esp.Size, `\EFI\debian\grubx64.efi`),
		"Boot0D0E": loadOption(t, "resinOS", gone+"1", 8192, 81920, `\EFI\BOOT\bootx64.efi`),
		"Boot0D0F": loadOption(t, "USB stick", gone+"2", 2048, 4096, `\EFI\BOOT\bootx64.efi`),
	} {
		setVariable(t, vm, name, option)
	}
	order := run(t, vm, "od -An -v -tx1 -j4 /sys/firmware/efi/efivars/BootOrder"+menuVendor+" | tr -d ' \\n'")
	had, err := hex.DecodeString(order)
	if err != nil || len(had) == 0 {
		t.Fatalf("BootOrder %q: %v", order, err)
	}
	setVariable(t, vm, "BootOrder", slices.Concat([]byte{0x0d, 0x0d, 0x0e, 0x0d, 0x0f, 0x0d}, had))
	stay := []string{"USB stick"}
	for _, name := range strings.Fields(run(t, vm, `cd /sys/firmware/efi/efivars && od -An -v -tu2 -w2 -j4 BootOrder-*`)) {
		var n int
		if _, err := fmt.Sscan(name, &n); err != nil {
			t.Fatal(err)
		}
		if n < 0x0d0d {
			text := run(t, vm, fmt.Sprintf("od -An -v -tx1 -j10 /sys/firmware/efi/efivars/Boot%04X%s | tr -d ' \\n'", n, menuVendor))
			stay = append(stay, describe(t, text))
		}
	}
	return stay
}

// describe is the text up to its NUL.
func describe(t *testing.T, inHex string) string {
	t.Helper()
	b, err := hex.DecodeString(inHex)
	if err != nil {
		t.Fatal(err)
	}
	var text []uint16
	for ; len(b) >= 2 && binary.LittleEndian.Uint16(b) != 0; b = b[2:] {
		text = append(text, binary.LittleEndian.Uint16(b))
	}
	return strings.TrimSpace(string(utf16.Decode(text)))
}

func setVariable(t *testing.T, vm *VM, name string, value []byte) {
	t.Helper()
	local := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(local, append([]byte{7, 0, 0, 0}, value...), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := vm.Put(t.Context(), local, "/root/variable"); err != nil {
		t.Fatal(err)
	}
	run(t, vm, "dd if=/root/variable of=/sys/firmware/efi/efivars/"+name+menuVendor+" bs=64k status=none && rm /root/variable")
}

// loadOption is written here from the specification (UEFI 2.10, 3.1.3 and 10.3.5), apart from the tool's own.
func loadOption(t *testing.T, name, guid string, start, size uint64, file string) []byte {
	t.Helper()
	id, err := hex.DecodeString(strings.ReplaceAll(guid, "-", ""))
	if err != nil || len(id) != 16 {
		t.Fatalf("GUID %q: %v", guid, err)
	}
	slices.Reverse(id[0:4])
	slices.Reverse(id[4:6])
	slices.Reverse(id[6:8])
	wide := func(s string) []byte {
		var b []byte
		for _, c := range utf16.Encode([]rune(s + "\x00")) {
			b = binary.LittleEndian.AppendUint16(b, c)
		}
		return b
	}
	path := []byte{4, 1, 42, 0, 1, 0, 0, 0}
	path = binary.LittleEndian.AppendUint64(path, start)
	path = binary.LittleEndian.AppendUint64(path, size)
	path = append(append(path, id...), 2, 2)
	path = binary.LittleEndian.AppendUint16(append(path, 4, 4), uint16(4+len(wide(file))))
	path = append(append(path, wide(file)...), 0x7f, 0xff, 4, 0)
	head := binary.LittleEndian.AppendUint16([]byte{1, 0, 0, 0}, uint16(len(path)))
	return slices.Concat(head, wide(name), path)
}
