// Command demo shows the main job to a person: a Debian machine turns itself into balenaOS. It is `make demo`.
//
// It builds a Debian 12 guest and a system image in the form of balenaOS (kept for the next time), starts the guest with
// its console in view, runs the real playbook against it, and tells what the new system finds on its disk when it boots.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/balena-community/balena-migrate/testdata/lab"
)

// patience bounds each wait: for the playbook and stage 2 together, on a slow machine.
const patience = 20 * time.Minute

// stage2Starts is what GRUB says when it starts the entry that arm-boot wrote.
var stage2Starts = regexp.MustCompile(`Starting the migration to balenaOS`)

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	s := &screen{out: os.Stdout, began: time.Now()}
	err := show(ctx, s)
	switch {
	case ctx.Err() != nil:
		s.say("Interrupted. The virtual machine is off and its disk deleted.")
		return 130 // as shells count Ctrl-C
	case err != nil:
		s.say("The Debian machine did not become balenaOS: %v", err)
		return 1
	}
	s.say("a Debian machine became balenaOS in %.1f min", time.Since(s.began).Minutes())
	return 0
}

// show does it all. Its error says why there is no new system.
func show(ctx context.Context, s *screen) error {
	s.say("1/5 Build a Debian 12 guest and a system image in the form of balenaOS")
	s.note("Some minutes the first time; they are kept for the next.")
	if err := os.Setenv("LAB_VERBOSE", "1"); err != nil { // mmdebstrap says what it does
		return err
	}
	art, err := lab.Build(ctx, s.lines("build  "), lab.Bookworm)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("/var/tmp", "balena-migrate-demo-") // /tmp may be in memory
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	vm, err := guest(ctx, s, art, dir)
	if err != nil {
		return err
	}
	defer vm.Kill()
	report, err := migrate(ctx, s, art, vm, dir)
	if err != nil {
		return err
	}
	return tell(s, report)
}

// guest starts the machine that is to be migrated and waits until it is up.
func guest(ctx context.Context, s *screen, art lab.Artifacts, dir string) (*lab.VM, error) {
	s.say("2/5 Start the guest: a virtual machine with GRUB, an ext4 root and data of an application, by QEMU with %s", art.Accel)
	s.note("Its serial console is copied here; it is quiet until the login prompt (under a minute without KVM).")
	vm, err := art.Start(ctx, lab.Options{Dir: dir, Disk: art.Disks[lab.Bookworm], Console: s.lines("console")})
	if err != nil {
		return nil, err
	}
	if err := vm.WaitSSH(ctx, lab.BootTimeout); err != nil {
		vm.Kill()
		return nil, err
	}
	about, err := vm.Run(ctx, `. /etc/os-release; echo "$PRETTY_NAME on $(uname -n), kernel $(uname -r),`+
		` root on $(findmnt -no SOURCE,FSTYPE / | tr -s ' ')"; command -v python3 || echo "no Python"`)
	if err != nil {
		vm.Kill()
		return nil, err
	}
	s.note("ssh answers: %s.", strings.ReplaceAll(about, "\n", ", "))
	return vm, nil
}

// migrate runs the playbook with the confirmation set, until the new system reports. The playbook itself can't see the
// new system, whose address answers no more; it is ended then instead of at the end of its wait.
func migrate(ctx context.Context, s *screen, art lab.Artifacts, vm *lab.VM, dir string) (lab.NewOSReport, error) {
	s.say("3/5 Run the real playbook against it: ansible-playbook ansible/migrate.yml -e balena_migrate_confirm=true")
	s.note("Nothing the machine boots from is touched before \"Arm the boot loader\".")
	s.note("The checks api and vpn are skipped: the guest has no way to balena.")
	in, err := art.WriteInputs(ctx, dir)
	if err != nil {
		return lab.NewOSReport{}, err
	}
	from := vm.ConsoleSize()
	ctx, failed := context.WithCancelCause(ctx)
	defer failed(nil)
	play, end := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		vars := map[string]any{"balena_migrate_confirm": true, "balena_migrate_wait_timeout": int(patience.Seconds())}
		if err := vm.Playbook(play, until{play, s.lines("ansible")}, in, vars); err != nil && play.Err() == nil {
			failed(err)
		}
	}()
	report, err := watch(ctx, s, vm, from)
	if err == nil {
		s.note("(The playbook would look out for the old system until its timeout; it is interrupted here.)")
	}
	end()
	<-ended
	return report, err
}

// until is a writer that drops what comes after the end of ctx: what a program says of being interrupted.
type until struct {
	ctx context.Context
	out io.Writer
}

// Write implements io.Writer.
func (u until) Write(p []byte) (int, error) {
	if u.ctx.Err() != nil {
		return len(p), nil
	}
	return u.out.Write(p)
}

// watch follows the console through stage 2 to the new system's report.
func watch(ctx context.Context, s *screen, vm *lab.VM, from int64) (lab.NewOSReport, error) {
	if _, err := vm.WaitConsole(ctx, stage2Starts, from, patience); err != nil {
		return lab.NewOSReport{}, reason(ctx, err)
	}
	s.say("4/5 GRUB starts stage 2: it secures image, networks and backup, checks them, writes the disk and reads it back")
	report, err := vm.WaitNewOS(ctx, from, patience)
	return report, reason(ctx, err)
}

// reason is why a wait ended early, without the console that the person has seen.
func reason(ctx context.Context, err error) error {
	var wait *lab.WaitError
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	if errors.As(err, &wait) {
		return fmt.Errorf("wait for %s, ended after %.0f s: %w", wait.What, wait.After.Seconds(), wait.Cause)
	}
	return err
}

// tell says what the new system found on its disk. What it should have found and did not is an error.
func tell(s *screen, r lab.NewOSReport) error {
	s.say("5/5 The new system has booted from the disk that Debian was on, and found there:")
	s.note("config.json  %d bytes for a %s: the operator's, with the old host name", r.Config.Size, r.Config.DeviceType)
	s.note("networks     %d of %d that Debian knew", r.Networks(), len(lab.Networks()))
	s.note("backup       %.1f MB on %s, of %s", float64(r.Backup.Size)/1e6, r.Data, strings.Join(lab.DataDirs(), " and "))
	s.note("log          %.1f kB of how it went", float64(r.Log.Size)/1e3)
	if missing := r.Missing(lab.Config(), "lab-"+string(lab.Bookworm), ""); len(missing) > 0 {
		return fmt.Errorf("the new system lacks %s", strings.Join(missing, "; "))
	}
	return nil
}
