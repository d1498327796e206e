package scale

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/balena-community/balena-migrate/schema"
	"golang.org/x/crypto/ssh"
)

// Device is one simulated device.
type Device struct {
	Name    string
	Address string // in 127/8
	Root    string // its root directory
	Fault   Fault
	fleet   *Fleet
	kind    string // device, or controller: with the programs of this machine

	mu      sync.Mutex
	system  *machine
	key     ssh.Signer // its identity
	away    bool       // nothing answers
	conns   map[net.Conn]bool
	journal []Event
}

var stepName = regexp.MustCompile(`balena-migrate-[0-9a-f]+'?"?'? step '?([a-z-]+)`)

func (d *Device) note(e Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	e.At = time.Now()
	d.journal = append(d.journal, e)
}

// Journal is what happened to the device.
func (d *Device) Journal() []Event {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.journal)
}

// Touched says whether anybody ever tried to reach it.
func (d *Device) Touched() bool { return len(d.Journal()) > 0 }

// admit takes a connection, or says that there is nobody to take it.
func (d *Device) admit(conn net.Conn) (ssh.Signer, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.away || d.Fault == Unreachable {
		d.journal = append(d.journal, Event{At: time.Now(), Kind: "refused"})
		return nil, false
	}
	d.conns[conn] = true
	return d.key, true
}

func (d *Device) forget(conn net.Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.conns, conn)
}

// cut breaks every connection, as a network that fails does.
func (d *Device) cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for conn := range d.conns {
		_ = conn.Close()
	}
}

// run runs a command on the device, whose system is started if need be.
func (d *Device) run(command string, files [3]*os.File) (*machine, string, <-chan int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		if d.system != nil {
			if number, done, ok := d.system.run(command, files); ok {
				return d.system, number, done, nil
			}
		}
		if d.away {
			return nil, "", nil, os.ErrClosed
		}
		system, err := boot(d.fleet.init, d.Root, d.kind, d.fleet.Linger, d.reboot, d.atRest)
		if err != nil {
			return nil, "", nil, err
		}
		d.system = system
	}
}

// atRest shares what the device's steps left. Nothing runs there now, and nothing is started meanwhile.
func (d *Device) atRest(system *machine) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.system != system || system.busy() {
		return
	}
	d.fleet.store.share(filepath.Join(d.Root, workDir))
	d.fleet.store.share(filepath.Join(d.Root, "boot"))
}

// session runs one command of a client and returns its exit code, false when none will come.
func (d *Device) session(command string, files [3]*os.File) (int, bool) {
	step := ""
	if found := stepName.FindStringSubmatch(command); found != nil {
		step = found[1]
	}
	d.spoil(step)
	d.note(Event{Kind: "begin", Step: step})
	system, number, done, err := d.run(command, files)
	for _, f := range files {
		f.Close()
	}
	if err != nil {
		return 0, false
	}
	if at, after := d.Fault.inStep(); step != "" && step == at {
		time.AfterFunc(after, func() { d.strike(system, number) })
	}
	code, ok := <-done
	if ok {
		d.note(Event{Kind: "end", Step: step, Code: code})
	}
	return code, ok
}

// strike is a fault in the middle of a step.
func (d *Device) strike(system *machine, number string) {
	if d.Fault == Killed {
		d.note(Event{Kind: "killed"})
		system.kill(number)
		return
	}
	d.note(Event{Kind: "dropped"})
	d.mu.Lock()
	d.away = true
	d.mu.Unlock()
	d.cut()
}

// spoil flips a bit of the image that the operator's files brought, before the step that reads it.
func (d *Device) spoil(step string) {
	if d.Fault != DamagedImage || step != "prepare-image" {
		return
	}
	images, err := filepath.Glob(filepath.Join(d.Root, workDir, "input", "*.gz"))
	for _, image := range images {
		var data []byte
		if data, err = os.ReadFile(image); err == nil && len(data) > 0 {
			data[len(data)/2] ^= 0x10
			err = replace(image, string(data))
		}
	}
	if err != nil || len(images) == 0 {
		d.note(Event{Kind: fmt.Sprintf("defect: %d images, %v", len(images), err)})
	}
}

// reboot is what becomes of the device once its init was told.
func (d *Device) reboot() {
	d.note(Event{Kind: "reboot"})
	d.mu.Lock()
	d.away = true
	system := d.system
	d.system = nil
	d.mu.Unlock()
	system.stop()
	d.cut()
	time.Sleep(d.fleet.Downtime)
	switch d.Fault {
	case Lost:
		d.note(Event{Kind: "silent"})
		return
	case CameBack, Crashed:
		d.comeBack()
		d.note(Event{Kind: "back"})
	default:
		d.note(Event{Kind: "left"})
		// There is no old system any more.
		_ = os.RemoveAll(d.Root)
	}
	d.mu.Lock()
	if d.Fault != CameBack && d.Fault != Crashed {
		d.key = d.fleet.other
	}
	d.away = false
	d.mu.Unlock()
}

// Reason is what the stage 2 of a device that came back says.
const Reason = "block 17 of the image is damaged: its digest differs"

// comeBack leaves what stage 2 leaves: another boot, its outcome, and the boot files as they were.
func (d *Device) comeBack() {
	out := schema.Outcome{
		Schema: schema.OutcomeName, Verdict: schema.OutcomeAborted, Phase: "verify-image", Reason: Reason, BootID: nextBoot, Version: "1",
		Phases: []schema.PhaseNote{{Name: "mount-old", Seconds: 1.2}, {Name: "verify-image", Seconds: 20}},
	}
	if d.Fault == Crashed {
		out.Verdict, out.Reason = schema.OutcomeStarted, ""
	}
	data, err := schema.Encode(&out)
	if err == nil {
		err = replace(filepath.Join(d.Root, workDir, "outcome.json"), string(data))
	}
	if err == nil {
		err = replace(filepath.Join(d.Root, "proc/sys/kernel/random/boot_id"), nextBoot+"\n")
	}
	if err != nil {
		d.note(Event{Kind: "defect: " + err.Error()})
	}
}

// nextBoot is the boot id after the reboot.
const nextBoot = "5e1b0a52-7c1e-4d9a-9a53-0d3f0e6c7a02"

// replace writes a file anew: its old name may be one of many for the same file.
func replace(name, text string) error {
	if err := os.Remove(name); err != nil && !os.IsNotExist(err) {
		return err
	}
	return os.WriteFile(name, []byte(text), 0o644)
}

// Truth is the fate that the report of the device has to have; false when there must not be a report.
func (d *Device) Truth() (schema.Fate, bool) {
	fate, known := schema.FatePending, false
	for _, e := range d.Journal() {
		known = true
		switch {
		case e.Kind == "dropped":
			return schema.FateLost, true
		case e.Kind == "left", e.Kind == "silent":
			return schema.FateMigrated, true
		case e.Kind == "refused" && fate == schema.FatePending, e.Kind == "login-refused":
			fate = schema.FateLost
		case e.Kind == "back":
			fate = schema.FateBack
		case e.Kind == "end" && e.Step != "":
			fate = ended(e.Code)
		}
	}
	return fate, known
}

// ended is where a device stands after a step with this exit code.
func ended(code int) schema.Fate {
	switch code {
	case 0:
		return schema.FateReady
	case 3:
		return schema.FateBlocked
	}
	return schema.FateFailed
}
