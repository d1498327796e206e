// Package fleet makes results directories of fleets that never were, as the playbook leaves them: for tests and for a look
// at the report.
package fleet

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/balena-community/balena-migrate/schema"
)

// Began is when the fleets' runs began.
var Began = time.Date(2026, 11, 24, 21, 30, 0, 0, time.UTC)

// Write makes a directory with n devices, the same for the same n.
func Write(dir string, n int) error {
	random := rand.New(rand.NewPCG(1, uint64(n)))
	for i := range n {
		d := Device(i, mix(random), random)
		data, err := schema.Encode(d)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, d.Host+".json"), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// mix draws a fate: most are well.
func mix(r *rand.Rand) schema.Fate {
	switch p := r.IntN(1000); {
	case p < 14:
		return schema.FateLost
	case p < 32:
		return schema.FateFailed
	case p < 50:
		return schema.FateBack
	case p < 125:
		return schema.FateBlocked
	case p < 190:
		return schema.FatePending
	case p < 330:
		return schema.FateReady
	case p < 420:
		return schema.FateMigrated
	}
	return schema.FateOnline
}

// kinds are the devices of the fleets.
var kinds = []struct{ group, deviceType, os, id, version, arch, disk, model string }{
	{"gateways", "genericx86-64-ext", "Debian GNU/Linux 12 (bookworm)", "debian", "12", "x86_64", "/dev/sda", "Samsung SSD 860"},
	{"kiosks", "genericx86-64-ext", "Debian GNU/Linux 13 (trixie)", "debian", "13", "x86_64", "/dev/nvme0n1", "WDC PC SN520"},
	{"sensors", "raspberrypi3", "Raspbian GNU/Linux 9 (stretch)", "raspbian", "9", "armv7l", "/dev/mmcblk0", "SC16G"},
}

// Device makes device number i with the given fate.
func Device(i int, fate schema.Fate, r *rand.Rand) *schema.DeviceReport {
	k := kinds[i%len(kinds)]
	d := &schema.DeviceReport{
		Schema: schema.DeviceReportName, Host: fmt.Sprintf("%s-%d", k.group[:len(k.group)-1], i/len(kinds)+1), Address: fmt.Sprintf("192.0.2.%d", i%250+1),
		Groups: []string{k.group, []string{"berlin", "lisbon", "oslo"}[i/7%3]}, Fate: fate,
		Facts: schema.DeviceFacts{
			Hostname: fmt.Sprintf("host%04d", i), OS: k.os, OSID: k.id, OSVersion: k.version, Kernel: "6.1.0-28-amd64", Arch: k.arch, Firmware: "bios",
			BootMethod: "grub", DeviceType: k.deviceType, Disk: k.disk, DiskModel: k.model, DiskSize: 16 << 30, Memory: 2 << 30,
			MemoryNeed: 700 << 20, WriteKBs: 21000 + int64(r.IntN(9000)), ImageVersion: "6.1.24", ImageSize: 2 << 30,
			ImageSHA256: "7d865e959b2466918c9863afca942d0fb89d7c9ac0c99bafc3749504ded97730",
		},
	}
	run := &attempt{Attempt: schema.Attempt{Run: "c0ffee000001", Fate: fate, Steps: []schema.StepReport{}}, at: Began.Add(time.Duration(i) * 1700 * time.Millisecond), random: r}
	run.Started = stamp(run.at)
	d.Reason = run.play(fate)
	run.Reason, run.Ended = d.Reason, stamp(run.at)
	d.Since = run.Ended
	if fate == schema.FateOnline {
		d.DeviceID = fmt.Sprintf("%032x", 0xabcdef00+i)
	}
	if i%4 == 1 {
		look := &attempt{Attempt: schema.Attempt{Run: "c0ffee000000", Check: true, Fate: schema.FateReady, Reason: "can be migrated"}, at: Began.Add(-20 * time.Hour), random: r}
		look.Started = stamp(look.at)
		look.converge("copy", "precheck")
		look.Ended = stamp(look.at)
		d.Attempts = append(d.Attempts, look.Attempt)
	}
	d.Attempts = append(d.Attempts, run.Attempt)
	return d
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// attempt is a run that is being made up.
type attempt struct {
	schema.Attempt
	at     time.Time
	random *rand.Rand
}

// typical is how long a step takes, in seconds.
var typical = map[string]float64{
	"copy": 95, "precheck": 0.8, "prepare-image": 41, "collect-wifi": 0.2, "backup": 12, "build-initramfs": 3.1, "arm-boot": 0.4, "reboot": 0.2, "wait": 260,
}

func (a *attempt) step(name, status string) *schema.StepReport {
	took := float64(int(typical[name]*(0.7+a.random.Float64()*0.6)*1000)) / 1000
	s := schema.StepReport{
		Name: name, Status: status, Changed: name != "precheck", Changes: 1, Started: stamp(a.at), Seconds: took, Blocked: []schema.Blocked{},
		Warnings: []string{},
	}
	a.at = a.at.Add(time.Duration(took * float64(time.Second)))
	s.Ended = stamp(a.at)
	a.Steps = append(a.Steps, s)
	return &a.Steps[len(a.Steps)-1]
}

func (a *attempt) converge(names ...string) {
	for _, n := range names {
		a.step(n, schema.Converged)
	}
	if len(a.Steps) > 1 && a.random.IntN(3) == 0 {
		a.Steps[1].Warnings = []string{"write-speed: 180 kB/s was measured, which is slow: the migration takes longer"}
	}
}

// play makes the steps up to where the fate was decided, and returns its reason.
func (a *attempt) play(fate schema.Fate) string {
	prepared := []string{"copy", "precheck", "prepare-image", "collect-wifi", "backup", "build-initramfs"}
	switch fate {
	case schema.FateBlocked:
		return a.blocked()
	case schema.FateFailed:
		a.converge("copy", "precheck", "prepare-image", "collect-wifi")
		text := "backup: write /var/lib/balena-migrate/backup.tgz: no space left on device"
		a.step("backup", schema.Failed).Error = &schema.Error{Message: text, Hint: "make room in this file system, or choose another with --work-dir"}
		return text
	case schema.FatePending:
		a.converge("copy", "precheck")
		s := a.step("prepare-image", schema.StepRunning)
		s.Ended, s.Seconds = "", 0
		return "prepare-image is under way"
	case schema.FateReady:
		a.converge(prepared...)
		return "prepared as far as build-initramfs"
	case schema.FateLost:
		return a.lost()
	}
	a.converge(append(prepared, "arm-boot", "reboot")...)
	if fate == schema.FateBack {
		return a.back()
	}
	a.step("wait", schema.Converged).Evidence = "nothing that we know answers since 2026-11-24T21:41:10Z; last: connection timed out"
	if fate == schema.FateOnline {
		return "heartbeat in balena, balenaOS 6.1.24"
	}
	return "nothing that we know answers since 2026-11-24T21:41:10Z; last: connection timed out"
}

func (a *attempt) blocked() string {
	a.converge("copy")
	s := a.step("precheck", schema.BlockedBy)
	s.Changed, s.Changes = false, 0
	all := []schema.Blocked{
		{Check: "memory", Got: "512 MiB", Want: "at least 718 MiB", Remedy: "leave out the backup, or add memory"},
		{Check: "disk", Got: "the root file system on LVM", Want: "the system on a partition of one plain disk", Remedy: "this version migrates systems on a plain partition"},
		{Check: "vpn", Got: "vpn.balena-cloud.com:443: connection refused", Want: "a connection", Remedy: "let the device reach vpn.balena-cloud.com, port 443"},
	}
	first := []int{0, 0, 0, 1, 2}[a.random.IntN(5)]
	s.Blocked = append(s.Blocked, all[first])
	reason := all[first].Check + ": " + all[first].Got
	if a.random.IntN(4) == 0 {
		s.Blocked = append(s.Blocked, all[(first+1)%3])
		reason += " (and 1 more)"
	}
	return reason
}

func (a *attempt) lost() string {
	text := fmt.Sprintf("Failed to connect to the host via ssh: ssh: connect to host 192.0.2.%d port 22: No route to host", a.random.IntN(250))
	a.converge("copy", "precheck")
	s := a.step("prepare-image", schema.StepUnreachable)
	s.Changed = false
	s.Error = &schema.Error{Message: text, Hint: "see that it is on and in the network, that its address is right, and that ssh lets this controller in"}
	return "does not answer: " + text
}

func (a *attempt) back() string {
	reason := fmt.Sprintf("block %d of the image is damaged: its digest differs", a.random.IntN(4000))
	text := reason + " (stage: aborted)"
	s := a.step("wait", schema.Failed)
	s.Evidence = "the old system answers in boot 1b4e28ba-2fa1-11d2-883f-0016d3cca427"
	s.Error = &schema.Error{Message: text, Hint: "on the device, balena-migrate status names the log of the attempt; mend what it says and run the playbook again"}
	a.Outcome = &schema.Outcome{
		Schema: schema.OutcomeName, Verdict: schema.OutcomeAborted, Phase: "verify-image", Reason: reason, BootID: "1b4e28ba-2fa1-11d2-883f-0016d3cca427",
		Version: "1.1.0", MemoryTotal: 2 << 30, MemoryFree: 1 << 30,
		Phases: []schema.PhaseNote{{Name: "mount-old", Seconds: 1.4}, {Name: "secure-image", Seconds: 37.2}, {Name: "release-disk", Seconds: 0.6}, {Name: "verify-image", Seconds: 21.9}},
	}
	return text
}
