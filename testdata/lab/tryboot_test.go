package lab

import (
	"regexp"
	"strings"
	"testing"
)

// trial is what the firmware says of a boot on trial, and stage 2 of its start in it.
var trial = regexp.MustCompile(`FIRMWARE [^\n]*: tryboot\.txt,[^\n]*balena-migrate\.img[\s\S]*balena-migrate \S+, stage 2`)

// TestPiTriesOnce: a board whose firmware tries another configuration once. Stage 2 comes back from a failure, and a power
// cut in stage 2 leads to the old system; config.txt is never touched. Then it migrates.
func TestPiTriesOnce(t *testing.T) {
	t.Parallel()
	model := Pi4()
	model.Tryboot = true
	board := preparedPi(t, model, "balena-migrate-linux-arm64")
	const bootFiles = "cd /boot/firmware && find . -type f | sort | xargs sha256sum"
	before := run(t, board.VM, bootFiles)
	if res := result(t, board.VM, "/usr/local/sbin/balena-migrate migrate --yes", piDocument); res.Status != "converged" {
		t.Fatalf("migrate: %s", res.Msg)
	}
	armed := run(t, board.VM, bootFiles+"; grep -c raspberry-pi-tryboot /var/lib/balena-migrate/armed.json")
	for line := range strings.Lines(before) {
		if !strings.Contains(armed, line) {
			t.Errorf("armed, the boot partition has\n%s\nand had\n%s", armed, before)
		}
	}
	if !strings.Contains(armed, "tryboot.txt") {
		t.Fatalf("armed in another way:\n%s", armed)
	}
	from := board.ConsoleSize()
	piComesBack(t, board, "touch -d @0 /root/mark; rm /var/lib/balena-migrate/image.gz", "no such file")
	wantTrial(t, board, from)
	if after := run(t, board.VM, bootFiles); after != before {
		t.Errorf("boot partition before:\n%s\nafter:\n%s", before, after)
	}
	board = powerCut(t, board)
	if res := result(t, board.VM, "/usr/local/sbin/balena-migrate disarm", piDocument); res.Status != "converged" {
		t.Fatalf("disarm: %s", res.Msg)
	}
	if after := run(t, board.VM, bootFiles); after != before {
		t.Errorf("boot partition before:\n%s\nafter a power cut:\n%s", before, after)
	}
	from = board.ConsoleSize()
	piReboots(t, board, "")
	report, err := board.WaitNewOS(t.Context(), from, BootTimeout)
	if err != nil {
		t.Fatal(err)
	}
	wantTrial(t, board, from)
	if report.Config.DeviceType != model.Slug || report.Networks() == 0 || report.Backup.Size == 0 || len(report.Errors) > 0 {
		t.Errorf("the new system found %+v", report)
	}
}

func wantTrial(t *testing.T, board *Board, from int64) {
	t.Helper()
	if _, err := board.WaitConsole(t.Context(), trial, from, BootTimeout); err != nil {
		t.Errorf("stage 2 was not started by tryboot.txt: %v", err)
	}
}

// powerCut takes the power away as soon as stage 2 has said a word, and switches the board on again.
func powerCut(t *testing.T, board *Board) *Board {
	t.Helper()
	from := board.ConsoleSize()
	piReboots(t, board, "")
	wantTrial(t, board, from)
	board.Kill()
	board, err := (Artifacts{Key: board.key}).StartBoard(t.Context(), board.options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(board.Kill)
	waitSSH(t, board.VM)
	if line := run(t, board.VM, "cat /proc/cmdline"); strings.Contains(line, "rdinit") {
		t.Errorf("stage 2's arguments after a power cut: %s", line)
	}
	s := result(t, board.VM, "/usr/local/sbin/balena-migrate status", piDocument)
	if s.Stage != "crashed" || s.Armed {
		t.Errorf("status after a power cut %+v, want crashed and not armed", s)
	}
	return board
}
