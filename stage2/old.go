package stage2

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"time"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/disarm"
	"github.com/balena-community/balena-migrate/stage2/flashplan"
)

// mountOld finds the old system, by its file system and not by its disk: even on a wrong disk its owner must be told. What
// is in layers is left alone.
func (m *machine) mountOld(context.Context) error {
	if !m.plan.Layered {
		if _, err := m.fileSystem(m.plan.Root.UUID, m.plan.Root.Type); err != nil {
			return err
		}
	}
	if m.wordless() {
		m.log.printf("no file system of the old system can be mounted: the reason of a failure stays on the console and in the log device, if any")
		return nil
	}
	_, err := m.fileSystem(m.plan.WorkFS.UUID, m.plan.WorkFS.Type)
	return err
}

// wordless says that there is nowhere to leave word for the old system.
func (m *machine) wordless() bool { return m.plan.WorkFS.UUID == "" }

// disarm puts the boot configuration back, and leaves word that stage 2 has started: should it crash from here on, the
// old system comes up by itself and knows what happened.
func (m *machine) disarm(context.Context) error {
	if m.wordless() {
		m.disarmed = true
		return nil
	}
	work, err := m.workDir()
	if err != nil {
		return err
	}
	record := path.Join(work, disarm.RecordName)
	rec, err := disarm.Load(m, record)
	if err != nil {
		return err
	}
	if rec == nil && m.plan.Kexec { // nothing was changed, and the record is out of reach
		m.disarmed = true
		return m.leaveWord()
	}
	if rec == nil {
		return fmt.Errorf("%s: found none, expected the record that arm-boot left", record)
	}
	if err := m.restore(rec, record); err != nil {
		return err
	}
	m.disarmed = true
	return m.leaveWord()
}

// restore makes every file system of the record writable and puts the files back.
func (m *machine) restore(rec *schema.Armed, record string) error {
	if err := m.writable(m.plan.WorkFS.UUID, true); err != nil {
		return err
	}
	at := func(f schema.ArmedFile) (string, error) {
		point, err := m.fileSystem(f.FSUUID, f.FSType)
		if err != nil {
			return "", err
		}
		return path.Join(point, f.FSPath), m.writable(f.FSUUID, true)
	}
	err := disarm.Apply(m, rec, record, at)
	for _, mt := range m.mounts {
		err = errors.Join(err, m.writable(mt.uuid, false))
	}
	return err
}

// workDir is where stage 1's work dir is mounted.
func (m *machine) workDir() (string, error) {
	point, err := m.fileSystem(m.plan.WorkFS.UUID, m.plan.WorkFS.Type)
	return path.Join(point, m.plan.WorkDir), err
}

// leaveWord writes the outcome and the log so far into the old system's work dir, or where the plan says in its place.
func (m *machine) leaveWord() error {
	if m.wordless() {
		return nil
	}
	work, err := m.workDir()
	if err != nil {
		return err
	}
	data, err := schema.Encode(m.outcome)
	if err != nil {
		return err
	}
	if err := m.writable(m.plan.WorkFS.UUID, true); err != nil {
		return err
	}
	if err = m.MkdirAll(work, 0o700); err == nil {
		err = m.WriteFile(path.Join(work, flashplan.LogName), m.log.bytes(), 0o600)
	}
	if err == nil {
		err = m.WriteFile(path.Join(work, flashplan.OutcomeName), data, 0o600)
	}
	if m.damaged != "" {
		err = errors.Join(err, m.forget(path.Join(work, m.damaged)))
	}
	return errors.Join(err, m.writable(m.plan.WorkFS.UUID, false))
}

// forget removes a stamp. With it stage 1 would take a damaged file, whose size and times are right, for a good one, and
// every further attempt would end here.
func (m *machine) forget(stamp string) error {
	if err := m.Remove(stamp); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// keepLog writes the log so far to the partition that the operator named for it. Nothing depends on its success (S123).
func (m *machine) keepLog() {
	if m.plan == nil || m.plan.Log == nil || m.logLost {
		return
	}
	err := m.writeLog(path.Join(mountDir, "log"))
	if err != nil {
		m.logLost = true
		m.log.printf("log partition: %v", err)
	}
}

func (m *machine) writeLog(point string) error {
	device, _, err := m.search(m.plan.Log.UUID)
	if err != nil || device == "" {
		return errors.Join(err, fmt.Errorf("file system %s: not found", m.plan.Log.UUID))
	}
	if err := m.MkdirAll(point, 0o755); err != nil {
		return err
	}
	if err := m.kernel.Mount("/dev/"+device, point, m.plan.Log.Type, mountOptions(m.plan.Log.Type), false); err != nil {
		return err
	}
	err = m.WriteFile(path.Join(point, flashplan.NewLog), m.log.bytes(), 0o600)
	return errors.Join(err, m.kernel.Unmount(point))
}

// giveUp ends a migration left of the line: the reason is left for the old system, and the old system started.
func (m *machine) giveUp(phase string, cause error) {
	m.log.printf("giving up in %q, nothing was written to the disk: %v", phase, cause)
	m.outcome.Verdict, m.outcome.Phase, m.outcome.Reason = schema.OutcomeAborted, phase, cause.Error()
	m.comeBack()
}

// comeBack starts the old system. With the boot configuration put back that is a reboot, as it is after kexec, which
// changed none; without, its own init is started from here, so that an entry that is still armed does not lead here again.
func (m *machine) comeBack() {
	m.dog.feedFor(endLimit)
	m.closeTarget()
	if m.plan != nil {
		m.lastWord()
		if err := m.unmountAll(); err != nil {
			m.log.printf("%v", err)
		}
	}
	reboot := m.disarmed && (!m.rehearsed || m.plan.Stage2.AfterNoFlash == "reboot")
	if !reboot && (m.plan == nil || !m.plan.Kexec) {
		m.dog.release()
		m.handOver()
	}
	m.log.printf("rebooting into the old system")
	m.keepLog()
	m.kernel.Sleep(time.Second) // the console is a slow line
	m.reboot()
}

// lastWord leaves the outcome, and disarms if that has not been done, as far as the disk can be reached at all.
func (m *machine) lastWord() {
	if !m.disarmed {
		if err := m.disarm(context.Background()); err != nil {
			m.log.printf("disarm: %v", err)
		}
	}
	if err := m.leaveWord(); err != nil {
		m.log.printf("leave the outcome: %v", err)
	}
}

// handOver becomes the init of the host's own initramfs, or where it has none, that of the old system. It returns only
// when there is neither.
func (m *machine) handOver() {
	if _, err := m.Stat("/init"); err != nil {
		m.switchRoot()
		return
	}
	m.log.printf("handing over to the old system's /init")
	m.keepLog()
	m.log.close()
	for _, point := range []string{"/sys", "/proc", "/dev"} {
		if err := m.kernel.Unmount(point); err != nil {
			m.log.printf("%v", err)
		}
	}
	err := m.kernel.Exec("/init", []string{"/init"})
	m.log.open()
	m.log.printf("%v", err)
}

// switchRoot goes on in the old system as its kernel would without an initramfs: on its root, mounted read-only.
func (m *machine) switchRoot() {
	if m.plan == nil {
		return
	}
	root, err := m.fileSystem(m.plan.Root.UUID, m.plan.Root.Type)
	if err == nil {
		m.log.printf("going on in the old system's %s", oldInit)
		m.keepLog()
		m.image, m.backup = nil, nil
		m.log.close()
		err = m.kernel.SwitchRoot(root, oldInit)
		m.log.open()
	}
	m.log.printf("%v", err)
	if err := m.unmountAll(); err != nil {
		m.log.printf("%v", err)
	}
}

// oldInit is what a kernel starts first on its root (Documentation/admin-guide/init.rst).
const oldInit = "/sbin/init"
