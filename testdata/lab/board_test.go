package lab

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The firmware of the lab starts what config.txt says, as that of a Raspberry Pi would.
func TestFirmwareSettings(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	card := filepath.Join(dir, "card")
	files := map[string]string{
		"config.txt":  "kernel=first\n[pi3]\nkernel=wrong\ninitramfs wrong followkernel\n[all]\n kernel = second # why\ninclude more.txt\n",
		"more.txt":    "auto_initramfs=1\n[pi4]\nkernel=kernel8.img\n[cm4]\nos_prefix=wrong/\n",
		"kernel8.img": "K", "initramfs8": "I", "cmdline.txt": "root=/dev/mmcblk0p2 quiet\nignored\n",
	}
	makeCard(t, card, files)
	f, err := readCard(t.Context(), card, Pi4(), false, dir)
	if err != nil {
		t.Fatal(err)
	}
	if f.kernelName != "kernel8.img" || f.initramfsName != "initramfs8" || f.cmdline != "root=/dev/mmcblk0p2 quiet" {
		t.Errorf("found %+v", f)
	}
	if data, err := os.ReadFile(f.initramfs); err != nil || string(data) != "I" {
		t.Errorf("initramfs: %q, %v", data, err)
	}
	if f, err = readCard(t.Context(), card, Pi4(), true, dir); err == nil {
		t.Errorf("a trial without tryboot.txt: %+v", f)
	}
	files["tryboot.txt"] = "[tryboot]\nkernel=kernel8.img\n[all]\ncmdline=trial.txt\n"
	files["trial.txt"] = "tried"
	makeCard(t, card, files)
	if f, err = readCard(t.Context(), card, Pi4(), true, dir); err != nil || f.config != "tryboot.txt" || f.kernelName != "kernel8.img" || f.cmdline != "tried" {
		t.Errorf("a trial: %+v, %v", f, err)
	}
}

// makeCard makes a card with one FAT partition that holds the files.
func makeCard(t *testing.T, card string, files map[string]string) {
	t.Helper()
	src := t.TempDir()
	var names []string
	for name, text := range files {
		names = append(names, filepath.Join(src, name))
		if err := os.WriteFile(filepath.Join(src, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	script := "truncate -s 64M " + card + " && echo 'start=1MiB, type=c' | sfdisk -q " + card +
		" && mformat -i " + card + "@@1M -F -T 129024 -h 64 -s 32 :: && mcopy -i " + card + "@@1M " + strings.Join(names, " ") + " ::/"
	if out, err := exec.Command("sh", "-c", script).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// A board starts from its card, answers by ssh, takes it for a Raspberry Pi with a card reader, and after a reboot the
// firmware has read the card again.
func TestBoardBoots(t *testing.T) {
	t.Parallel()
	art, card := buildBoard(t, "arm64")
	board, err := art.StartBoard(t.Context(), BoardOptions{Dir: t.TempDir(), Card: card, Model: Pi4()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(board.Kill)
	waitSSH(t, board.VM)
	got := run(t, board.VM, "tr -d '\\0' </proc/device-tree/model; echo; uname -m; grep -o 'mmcblk0p2 / ext4' /proc/mounts; ls /boot/firmware")
	want := "Raspberry Pi 4 Model B Rev 1.4\naarch64\nmmcblk0p2 / ext4\ncmdline.txt\nconfig.txt\ninitramfs8\nkernel8.img"
	if got != want {
		t.Errorf("the board says\n%s\nwant\n%s", got, want)
	}
	id := run(t, board.VM, "set -e; sed -i 's/quiet/quiet lab.mark/' /boot/firmware/cmdline.txt; sync; cat /proc/sys/kernel/random/boot_id; reboot")
	if err := board.WaitNewBoot(t.Context(), id, BootTimeout); err != nil {
		t.Fatal(err)
	}
	if line := run(t, board.VM, "cat /proc/cmdline"); !strings.Contains(line, "lab.mark") {
		t.Errorf("after a reboot the kernel's arguments are %q, want those that the card has now; console:\n%s", line, tail(t, board.VM))
	}
}

func buildBoard(t *testing.T, arch string, packages ...string) (Artifacts, string) {
	t.Helper()
	art, card, err := BuildBoard(t.Context(), testLog{t}, arch, packages...)
	if err != nil {
		t.Fatal(err)
	}
	return art, card
}

// TestPiMigrates: from Debian on a Raspberry Pi's card to the new system, and back again where stage 2 fails.
func TestPiMigrates(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		model  Model
		binary string
	}{
		"arm64": {Pi4(), "balena-migrate-linux-arm64"},
		"armhf": {Pi2(), "balena-migrate-linux-armv7"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			migratePi(t, c.model, c.binary)
		})
	}
}

func migratePi(t *testing.T, model Model, binary string) {
	board := preparedPi(t, model, binary)
	wants := run(t, board.VM, "/usr/local/sbin/balena-migrate step precheck --json --input - <<'EOF' | grep -o 'needs balena-migrate-[a-z0-9-]*'\n"+piDocument+"\nEOF")
	if wants != "needs "+binary {
		t.Errorf("precheck says %q of a machine that has %s", wants, binary)
	}
	const bootFiles = "cd /boot/firmware && find . -type f | sort | xargs sha256sum"
	before := run(t, board.VM, bootFiles)
	piComesBack(t, board, "touch -d @0 /root/mark; rm /var/lib/balena-migrate/image.gz", "no such file")
	if after := run(t, board.VM, bootFiles); after != before {
		t.Errorf("boot partition before:\n%s\nafter:\n%s", before, after)
	}
	from, began := board.ConsoleSize(), time.Now()
	piReboots(t, board, "")
	report, err := board.WaitNewOS(t.Context(), from, BootTimeout)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("from the last look at the old system to the new one's report: %.0f s", time.Since(began).Seconds())
	if report.Config.DeviceType != model.Slug || report.Networks() == 0 || report.Backup.Size == 0 || len(report.Errors) > 0 {
		t.Errorf("the new system found %+v", report)
	}
	if err := board.WaitExit(t.Context(), BootTimeout); err != nil {
		t.Fatal(err)
	}
}

// preparedPi is a board with the tool and its inputs.
func preparedPi(t *testing.T, model Model, binary string) *Board {
	t.Helper()
	var packages []string
	if model.Tryboot {
		packages = []string{"systemd-sysv"} // no other init passes the restart's argument on
	}
	art, card := buildBoard(t, model.Arch, packages...)
	in, err := art.WriteInputs(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	board, err := art.StartBoard(t.Context(), BoardOptions{Dir: t.TempDir(), Card: card, Model: model})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(board.Kill)
	waitSSH(t, board.VM)
	config := strings.ReplaceAll(string(Config()), "genericx86-64-ext", model.Slug)
	if err := os.WriteFile(in.ConfigJSON, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, board.VM, "mkdir -p /usr/local/sbin /var/lib/balena-migrate/input")
	putBinary(t, board.VM, binary)
	for from, to := range map[string]string{in.Image: "balena.img.gz", in.ConfigJSON: "config.json", in.Definition: "backup.yml"} {
		if err := board.Put(t.Context(), from, "/var/lib/balena-migrate/input/"+to); err != nil {
			t.Fatal(err)
		}
	}
	return board
}

// piComesBack arms, breaks and reboots, and wants the old system back with the reason.
func piComesBack(t *testing.T, board *Board, sabotage, reason string) {
	t.Helper()
	id := piReboots(t, board, sabotage)
	if err := board.WaitNewBoot(t.Context(), id, BootTimeout); err != nil {
		t.Fatal(err)
	}
	s := result(t, board.VM, "/usr/local/sbin/balena-migrate status", piDocument)
	if s.Stage != "aborted" || !strings.Contains(s.Reason, reason) {
		t.Errorf("status %s: %q, want aborted with %q", s.Stage, s.Reason, reason)
	}
	if line := run(t, board.VM, "cat /proc/cmdline"); strings.Contains(line, "rdinit") {
		t.Errorf("stage 2's arguments in the old system: %s", line)
	}
}

// piReboots arms and reboots; the id is that of the boot which ends.
func piReboots(t *testing.T, board *Board, sabotage string) string {
	t.Helper()
	id, err := board.BootID(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if res := result(t, board.VM, "/usr/local/sbin/balena-migrate migrate --yes", piDocument); res.Status != "converged" {
		t.Fatalf("migrate: %s", res.Msg)
	}
	run(t, board.VM, "set -e; "+sabotage+"\nsync; /usr/local/sbin/balena-migrate step reboot --json --input - >/dev/null <<'EOF'\n"+piDocument+"\nEOF\n")
	return id
}

const piDocument = `{"schema":"migration/1","config":{"image":{"path":"/var/lib/balena-migrate/input/balena.img.gz"},` +
	`"balena":{"config_json":"/var/lib/balena-migrate/input/config.json"},"backup":{"definition":"/var/lib/balena-migrate/input/backup.yml"},` +
	`"checks":{"skip":["api","vpn"]},"reboot":{"delay_s":1}}}`
