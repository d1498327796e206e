package lab

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
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
	f, err := readCard(t.Context(), card, Pi4(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if f.kernelName != "kernel8.img" || f.initramfsName != "initramfs8" || f.cmdline != "root=/dev/mmcblk0p2 quiet" {
		t.Errorf("found %+v", f)
	}
	if data, err := os.ReadFile(f.initramfs); err != nil || string(data) != "I" {
		t.Errorf("initramfs: %q, %v", data, err)
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

func buildBoard(t *testing.T, arch string) (Artifacts, string) {
	t.Helper()
	art, card, err := BuildBoard(t.Context(), testLog{t}, arch)
	if err != nil {
		t.Fatal(err)
	}
	return art, card
}
