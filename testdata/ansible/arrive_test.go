package ansible

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/testdata/balenaapi"
)

// looking is how balena is asked for a device.
const looking = "GET /v7/device("

// traveller is a registered device on its way, and the playbook that waits for it.
type traveller struct {
	*device
	builds bench
	cloud  *cloud
	cmd    *exec.Cmd
	screen bytes.Buffer
}

// rebooting gives a device boots of its own: each start is another one.
func rebooting(d *device) {
	d.stop()
	d.startup = strings.Replace(startup, "exec chroot", `mount --bind "$0/etc/boot_id" "$0/proc/sys/kernel/random/boot_id" && exec chroot`, 1)
	d.boot(1)
}

func (d *device) boot(n int) {
	d.t.Helper()
	d.write("etc/boot_id", fmt.Sprintf("%08d-1111-4222-8333-444444444444\n", n), 0o644)
	d.start()
}

// depart begins a run of the playbook with more of the role's variables, and waits until the device is down and balena was
// asked for it.
func (v *traveller) depart(t *testing.T, more map[string]any) {
	t.Helper()
	more["balena_migrate_confirm"] = true
	v.cmd = v.command(v.builds, migrate, filepath.Join(t.TempDir(), "record"), v.cloud.vars(t, more)...)
	v.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	v.screen.Reset()
	v.cmd.Stdout, v.cmd.Stderr = &v.screen, &v.screen
	before := len(v.cloud.Requests(looking))
	if v.sshd == nil {
		before-- // it is down: the first one is already of the wait
	}
	if err := v.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	await(t, "the device to go down", func() bool { return v.sshd == nil || gone(v.sshd.Process.Pid) })
	v.gone(t)
	await(t, "balena to be asked", func() bool { return v.waiting(t) && len(v.cloud.Requests(looking)) > before+1 })
}

func (v *traveller) waiting(t *testing.T) bool {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(v.results(), "device.json"))
	return err == nil && bytes.Contains(data, []byte("wait is under way"))
}

// end waits for the playbook and holds it to an exit code.
func (v *traveller) end(t *testing.T, code int) *schema.DeviceReport {
	t.Helper()
	_ = v.cmd.Wait() // the code is looked at
	if got := v.cmd.ProcessState.ExitCode(); got != code {
		t.Errorf("exit code %d, want %d\n%s", got, code, &v.screen)
	}
	return v.report(t)
}

// kill ends the playbook as a lost controller does.
func (v *traveller) kill(t *testing.T) {
	t.Helper()
	if err := syscall.Kill(-v.cmd.Process.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = v.cmd.Wait() // it was killed
}

// wantLooks holds the number of requests since, so that nobody is asked more often than agreed.
func (v *traveller) wantLooks(t *testing.T, before, least, most int) {
	t.Helper()
	if n := len(v.cloud.Requests(looking)) - before; n < least || n > most {
		t.Errorf("balena was asked %d times, want %d to %d", n, least, most)
	}
}

// TestArrival: after the reboot a registered device is looked for at its address and in balena, and ends as online, back, or
// lost. The time-out is so long that nothing ends by it unless a test says so.
func TestArrival(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := b.newDevice(t)
	rebooting(d)
	for _, c := range []struct {
		name string
		test func(*testing.T, *traveller)
	}{
		{"online ends the wait at once", testArrives},
		{"a late comer is back", testLateComer},
		{"never heard of is lost", testNeverHeard},
		{"balena that can't be asked", testTroubledAPI},
		{"balena that wants to be left alone", testQuietAPI},
		{"a wait that is killed twice", testKilledTwice},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, dir := range []string{d.results(), d.registrations()} {
				if err := os.RemoveAll(dir); err != nil {
					t.Fatal(err)
				}
			}
			d.t = t
			d.stop()
			d.boot(1)
			p := b.play(t, d.in(t), "left", "")
			c.test(t, &traveller{device: d, builds: p, cloud: newCloud(t)})
		})
	}
}

func testArrives(t *testing.T, v *traveller) {
	v.depart(t, map[string]any{})
	before := len(v.cloud.Requests(looking))
	v.cloud.arrive(v.cloud.only(t))
	r := v.end(t, 0)
	v.wantLooks(t, before, 1, 2)
	last := r.Last().Steps[len(r.Last().Steps)-1]
	if r.Fate != schema.FateOnline || last.Name != "wait" || last.Status != schema.Converged || !strings.Contains(last.Evidence, "heartbeat online, balenaOS 6.1.24") {
		t.Errorf("%s: %q, last step %+v; want online by a converged wait", r.Fate, r.Reason, last)
	}
	if !strings.Contains(v.screen.String(), "Online in balena: device is online") {
		t.Errorf("its last word is not that it is online:\n%s", &v.screen)
	}
}

// testLateComer: silence is no migration. The old system comes back after several looks, and is what counts.
func testLateComer(t *testing.T, v *traveller) {
	v.depart(t, map[string]any{})
	before := len(v.cloud.Requests(looking))
	await(t, "more looks", func() bool { return len(v.cloud.Requests(looking)) >= before+3 })
	v.write("var/lib/balena-migrate/outcome.json", `{"schema":"outcome/1","verdict":"aborted","phase":"verify-image","reason":"block 7 of the image is damaged",
		"boot_id":"b","version":"v","phases":[],"memory_total_bytes":1,"memory_free_bytes":1}`, 0o600)
	v.boot(2)
	r := v.end(t, 2)
	if r.Fate != schema.FateBack || !strings.Contains(r.Reason, "block 7 of the image is damaged") || len(v.cloud.Devices()) != 0 {
		t.Errorf("%s: %q, %d devices left in balena; want back, the reason, none", r.Fate, r.Reason, len(v.cloud.Devices()))
	}
}

func testNeverHeard(t *testing.T, v *traveller) {
	v.depart(t, map[string]any{"balena_migrate_wait_timeout": 5})
	r := v.end(t, 2)
	last := r.Last().Steps[len(r.Last().Steps)-1]
	for _, text := range []string{"left its old system, but device is not online: heartbeat unknown", "nothing that we know answers since " + r.Since, "onnection refused"} {
		if !strings.Contains(r.Reason, text) {
			t.Errorf("the reason %q lacks %q", r.Reason, text)
		}
	}
	if r.Fate != schema.FateLost || r.Since < last.Started || r.Since >= last.Ended || last.Error == nil || last.Error.Hint == "" {
		t.Errorf("%s since %s, last step %+v; want lost since it was silent, and what helps", r.Fate, r.Since, last)
	}
	if text := v.screen.String(); !strings.Contains(text, "Lost since "+r.Since) || len(v.cloud.Devices()) != 1 {
		t.Errorf("%d devices in balena, want one, and a last word since when:\n%s", len(v.cloud.Devices()), text)
	}
}

// testTroubledAPI: whatever balena answers, the wait goes on, and says so.
func testTroubledAPI(t *testing.T, v *traveller) {
	v.depart(t, map[string]any{})
	for _, f := range []balenaapi.Fault{
		{Status: 503}, {Status: 429, Header: map[string]string{"Retry-After": "1"}}, {Status: 401}, {Drop: true}, {Cut: true},
	} {
		f.At, f.Times = looking, 1
		v.cloud.Fail(f)
	}
	await(t, "all that goes wrong", func() bool { return v.cloud.Pending() == 0 })
	if v.cmd.Process.Signal(syscall.Signal(0)) != nil || !v.waiting(t) {
		t.Error("the wait was ended by balena's trouble")
	}
	v.cloud.arrive(v.cloud.only(t))
	if r := v.end(t, 0); r.Fate != schema.FateOnline {
		t.Errorf("%s: %q, want online", r.Fate, r.Reason)
	}
	screen := strings.Join(strings.Fields(v.screen.String()), " ") // warnings are wrapped
	for _, text := range []string{"503", "429", "401", "EOF"} {
		if !strings.Contains(screen, text) {
			t.Errorf("nobody was told of %s:\n%s", text, &v.screen)
		}
	}
}

// testQuietAPI: an API that asks for an hour of silence gets it, and the last word says that it was not asked.
func testQuietAPI(t *testing.T, v *traveller) {
	v.depart(t, map[string]any{"balena_migrate_wait_timeout": 12})
	v.cloud.Fail(balenaapi.Fault{At: looking, Times: 1, Status: 429, Header: map[string]string{"Retry-After": "3600"}})
	await(t, "the refusal", func() bool { return v.cloud.Pending() == 0 })
	before := len(v.cloud.Requests(looking))
	r := v.end(t, 2)
	v.wantLooks(t, before, 0, 0)
	if r.Fate != schema.FateLost || !strings.Contains(r.Reason, "heartbeat unknown") || !strings.Contains(r.Reason, "could not be asked") || !strings.Contains(r.Reason, "429") {
		t.Errorf("%s: %q, want lost, what balena said, and why not more", r.Fate, r.Reason)
	}
}

// testKilledTwice: each run takes up the waiting of the one before, however that ended.
func testKilledTwice(t *testing.T, v *traveller) {
	v.depart(t, map[string]any{})
	v.kill(t)
	v.depart(t, map[string]any{})
	v.kill(t)
	v.depart(t, map[string]any{})
	v.cloud.arrive(v.cloud.only(t))
	r := v.end(t, 0)
	if r.Fate != schema.FateOnline || len(r.Attempts) != 3 || len(v.cloud.Requests("POST /device/register")) != 1 {
		t.Errorf("%s: %q after %d attempts, %d registrations; want online, 3, 1", r.Fate, r.Reason, len(r.Attempts), len(v.cloud.Requests("POST /device/register")))
	}
}
