package stage2

import (
	"context"
	"fmt"
	"path"
	"strings"
	"sync/atomic"
	"time"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/blockdev"
	"github.com/balena-community/balena-migrate/stage2/efivar"
	"github.com/balena-community/balena-migrate/stage2/flashimage"
	"github.com/balena-community/balena-migrate/stage2/flashplan"
	"github.com/balena-community/balena-migrate/stage2/inplace"
	"github.com/balena-community/balena-migrate/steps/host"
)

// mountDir holds the mount points, one a file system, named by its UUID.
const mountDir = flashplan.Dir + "/mnt"

// appear is how long a disk may take to show up after its driver was loaded: USB and SD need seconds.
const appear = 60 * time.Second

// machine is stage 2 at work: what each phase found, for those after it.
type machine struct {
	host.Host
	kernel  host.Kernel
	log     *journal
	version string

	plan      *schema.FlashPlan  // readPlan
	mounts    []mount            // mountOld and what else is needed, in order
	disarmed  bool               // disarm
	disk      schema.Disk        // findDisk: the disk as it is named now
	written   int64              // secure: how much of the disk the flash writes, from its beginning
	image     *inplace.Reader    // secure
	backup    *inplace.Reader    // secure
	beyond    *inplace.Disk      // secure: the disk for reading, nil when nothing is read in place
	img       *flashimage.Reader // secure
	ring      []byte             // verify: the memory of the flash engine
	target    host.Disk          // release, until findPartitions
	boot      partition          // findPartitions
	data      partition          // findPartitions
	gone      []efivar.HardDrive // oldPartitions
	damaged   string             // verify: the stamp of what was found damaged
	rehearsed bool               // rehearse
	dog       *watchdog          // readPlan, nil without one
	logLost   bool               // keepLog
	crossed   atomic.Bool        // run
	outcome   schema.Outcome
}

// mount is a mounted file system.
type mount struct {
	uuid, point, device string
	writable            bool
}

func newMachine(h host.Host, k host.Kernel, version string) *machine {
	return &machine{
		Host: h, kernel: k, version: version, log: newJournal(h, k),
		outcome: schema.Outcome{Schema: schema.OutcomeName, Verdict: schema.OutcomeStarted, Version: version, Phases: []schema.PhaseNote{}},
	}
}

// readPlan makes the machine visible and reads what is to be done.
func (m *machine) readPlan(context.Context) error {
	for _, fs := range []struct{ kind, point string }{{"devtmpfs", "/dev"}, {"proc", "/proc"}, {"sysfs", "/sys"}} {
		if err := m.MkdirAll(fs.point, 0o755); err != nil {
			return err
		}
		if err := m.kernel.Mount(fs.kind, fs.point, fs.kind, "", false); err != nil {
			m.log.printf("%v", err) // devtmpfs may be there already; the next read tells
		}
	}
	m.log.open()
	m.log.printf("balena-migrate %s, stage 2", m.version)
	plan, err := flashplan.Load(m)
	m.plan = plan
	m.startWatchdog()
	if err != nil {
		return err
	}
	id, err := m.ReadFile("/proc/sys/kernel/random/boot_id")
	m.outcome.BootID = strings.TrimSpace(string(id))
	return err
}

// loadModules loads what stage 1 found on the way to the disk, in its order.
func (m *machine) loadModules(context.Context) error {
	release, err := m.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return err
	}
	if got := strings.TrimSpace(string(release)); got != m.plan.KernelRelease {
		return fmt.Errorf("kernel %s runs, the modules are for %s", got, m.plan.KernelRelease)
	}
	for _, name := range m.plan.Modules {
		data, err := m.ReadFile(name)
		if err != nil {
			return err
		}
		// An algorithm for a processor that this one is not (crc32c_intel) is refused; what depends on it then fails.
		if err := m.kernel.LoadModule(data); err != nil {
			m.log.printf("module %s: %v", path.Base(name), err)
		}
	}
	return nil
}

// fileSystem mounts a file system by its UUID, read-only, and returns where. It waits for the disk to appear.
func (m *machine) fileSystem(uuid, fstype string) (string, error) {
	for _, mt := range m.mounts {
		if mt.uuid == uuid {
			return mt.point, nil
		}
	}
	device, err := m.waitFor(uuid, fstype)
	if err != nil {
		return "", err
	}
	point := path.Join(mountDir, uuid)
	if err := m.MkdirAll(point, 0o755); err != nil {
		return "", err
	}
	if err := m.kernel.Mount("/dev/"+device, point, fstype, mountOptions(fstype), true); err != nil {
		return "", err
	}
	m.mounts = append(m.mounts, mount{uuid: uuid, point: point, device: device})
	return point, nil
}

// deviceOf is the kernel name of the partition with a mounted file system, "" for none.
func (m *machine) deviceOf(uuid string) string {
	for _, mt := range m.mounts {
		if mt.uuid == uuid {
			return mt.device
		}
	}
	return ""
}

// waitFor returns the kernel name of the partition that holds a file system.
func (m *machine) waitFor(uuid, fstype string) (string, error) {
	for deadline := m.kernel.Uptime() + appear; ; m.kernel.Sleep(100 * time.Millisecond) {
		name, seen, err := m.search(uuid)
		if err == nil && name != "" {
			return name, nil
		}
		if m.kernel.Uptime() > deadline {
			return "", fmt.Errorf("file system %s (%s): not on any of %s within %s", uuid, fstype, strings.Join(seen, " "), appear)
		}
	}
}

// search looks at the superblock of every partition.
func (m *machine) search(uuid string) (string, []string, error) {
	disks, err := blockdev.Names(m)
	if err != nil {
		return "", nil, err
	}
	var seen []string
	for _, disk := range disks {
		parts, err := blockdev.Partitions(m, disk)
		if err != nil {
			return "", seen, err
		}
		for _, p := range append([]string{disk}, parts...) {
			seen = append(seen, p)
			info, err := blockdev.ProbeFS(m, p)
			if err == nil && strings.EqualFold(info.UUID, uuid) {
				return p, seen, nil
			}
		}
	}
	return "", seen, nil
}

// writable remounts the file system at a mount point for writing.
func (m *machine) writable(uuid string, on bool) error {
	for i := range m.mounts {
		if m.mounts[i].uuid != uuid || m.mounts[i].writable == on {
			continue
		}
		if err := m.kernel.Remount(m.mounts[i].point, !on); err != nil {
			return err
		}
		m.mounts[i].writable = on
	}
	return nil
}

// unmountAll lets go of every file system, the last first.
func (m *machine) unmountAll() error {
	for len(m.mounts) > 0 {
		last := m.mounts[len(m.mounts)-1]
		if err := m.kernel.Unmount(last.point); err != nil {
			return err
		}
		m.mounts = m.mounts[:len(m.mounts)-1]
	}
	return nil
}
