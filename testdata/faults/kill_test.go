// Package faults kills the program: a build with the tag "faults" ends itself with SIGKILL at the n-th of its operations
// on files, and whatever n is, nothing half-written may show and the next run must finish the work.
package faults

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/goccy/go-json"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps/host/hosttest"
)

const work = "/var/lib/balena-migrate"

// device is a Debian machine in a folder, in which the program runs with that folder as its root: in a pid namespace of
// its own, so that "init" is not ours.
type device struct {
	*hosttest.Host
	t *testing.T
}

// brought is what every machine is given: the same bytes, so that its products are the same too.
// With an address the image is downloaded.
type brought struct {
	program, image []byte
	url            string
}

// newDevice makes a machine with everything the operator brings.
func newDevice(t *testing.T, b brought) device {
	t.Helper()
	h := hosttest.Debian(t)
	d := device{Host: h, t: t}
	h.Put("/usr/sbin/balena-migrate", string(b.program))
	if err := os.Chmod(filepath.Join(h.Root(), "/usr/sbin/balena-migrate"), 0o755); err != nil {
		t.Fatal(err)
	}
	h.Put("/etc/wpa_supplicant/wpa_supplicant.conf", "network={\n ssid=\"one\"\n psk=\"canary-one\"\n}\nnetwork={\n ssid=\"two\"\n psk=\"canary-two\"\n}\n")
	h.Put("/srv/app/data", "data")
	h.Link("/proc/self/exe", "/usr/sbin/balena-migrate")
	h.Put("/dev/null", "")
	h.Put("/in/config.json", `{"apiEndpoint":"https://x.example","vpnEndpoint":"v","vpnPort":443,"registryEndpoint":"r","deltaEndpoint":"d",`+
		`"applicationId":1,"deviceType":"genericx86-64-ext","listenPort":48484,"appUpdatePollInterval":600000,"apiKey":"canary-key"}`)
	h.Put("/in/backup.yml", "- volume: app\n  items:\n    - source: /srv/app\n")
	h.Put("/in/balena.img", string(b.image))
	image := `"path":"/in/balena.img"`
	if b.url != "" {
		image = `"url":"` + b.url + `"`
	}
	h.Put("/in/m.json", `{"schema":"migration/1","config":{"image":{`+image+`},"balena":{"config_json":"/in/config.json"},`+
		`"backup":{"definition":"/in/backup.yml"},"reboot":{"delay_s":3600},"checks":{"skip":["api","vpn","memory"]}}}`)
	for _, name := range []string{"/srv/app/data", "/srv/app"} { // the archive holds their times
		if err := os.Chtimes(filepath.Join(h.Root(), name), h.Clock, h.Clock); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// run runs a step and, when at is not 0, kills it there. It returns whether it was killed.
func (d device) run(step string, at int) bool {
	d.t.Helper()
	// A shell is the namespace's init: the kernel lets no process kill the init of its own namespace.
	cmd := exec.Command("unshare", "--pid", "--fork", "--kill-child", "sh", "-c",
		`chroot "$0" /usr/sbin/balena-migrate step "$1" --json --input /in/m.json; exit $?`, d.Root(), step)
	cmd.Env = append(os.Environ(), fmt.Sprintf("BALENA_KILL_AT=%d", at))
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err == nil {
		var res schema.Result
		if err := json.Unmarshal(out, &res); err != nil || res.Status != schema.Converged {
			d.t.Fatalf("%s: %v\n%s", step, err, out)
		}
		return false
	}
	var exit *exec.ExitError
	status := syscall.WaitStatus(0)
	if errors.As(err, &exit) {
		status, _ = exit.Sys().(syscall.WaitStatus)
	}
	killed := status.Signaled() && status.Signal() == syscall.SIGKILL || status.ExitStatus() == 128+int(syscall.SIGKILL)
	if !killed {
		d.t.Fatalf("%s at %d: %v\n%s\n%s", step, at, err, out, stderr.String())
	}
	return true
}

// files is the content of everything that the steps write, unfinished files left out: they have another name.
func (d device) files() map[string]string {
	d.t.Helper()
	out := map[string]string{}
	for _, dir := range []string{work, "/boot"} {
		err := filepath.WalkDir(filepath.Join(d.Root(), dir), func(name string, e fs.DirEntry, err error) error {
			if os.IsNotExist(err) {
				return nil
			}
			if err != nil || e.IsDir() || strings.HasSuffix(name, ".balena-new") || strings.HasPrefix(e.Name(), "image.download") {
				return err // unfinished by their name
			}
			data, err := os.ReadFile(name)
			out[strings.TrimPrefix(name, d.Root())] = normal(data)
			return err
		})
		if err != nil {
			d.t.Fatal(err)
		}
	}
	return out
}

// normal is a file's content, without what no two runs have in common: times and inodes in stamps.
func normal(data []byte) string {
	var doc map[string]any
	if json.Unmarshal(data, &doc) != nil {
		return fmt.Sprintf("%d bytes, %x", len(data), sha256.Sum256(data))
	}
	volatile(doc)
	text, err := json.MarshalIndent(doc, "", " ")
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func volatile(v any) {
	switch v := v.(type) {
	case map[string]any:
		for _, name := range []string{"mtime_ns", "inode", "due", "recipe", "write_kb_s", "work_free_bytes", "got"} {
			delete(v, name)
		}
		for _, x := range v {
			volatile(x)
		}
	case []any:
		for _, x := range v {
			volatile(x)
		}
	}
}

func TestKilledAnywhere(t *testing.T) {
	b := brought{program: build(t), image: hosttest.Image(t)}
	steps := []string{"precheck", "prepare-image", "collect-wifi", "backup", "build-initramfs", "arm-boot", "reboot"}
	clean := newDevice(t, b)
	want := []map[string]string{clean.files()} // before each step, and after the last
	for _, s := range steps {
		clean.run(s, 0)
		want = append(want, clean.files())
	}
	for i, s := range steps {
		t.Run(s, func(t *testing.T) { sweep(t, b, steps[:i], s, want[i], want[i+1]) })
	}
}

// A download that is killed anywhere goes on from what is there, and the image that is prepared from it is the same.
func TestKilledWhileDownloading(t *testing.T) {
	image := hosttest.Image(t)
	var ranges atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") != "" {
			ranges.Add(1)
		}
		w.Header().Set("ETag", `"one"`)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(image))
	}))
	defer s.Close()
	b := brought{program: build(t), image: nil, url: s.URL + "/balena.img"}
	clean := newDevice(t, b)
	was := clean.files()
	clean.run("prepare-image", 0)
	sweep(t, b, nil, "prepare-image", was, clean.files())
	if ranges.Load() == 0 {
		t.Error("every run began from the beginning")
	}
	if left, err := filepath.Glob(filepath.Join(clean.Root(), work, "image.download*")); err != nil || len(left) > 0 {
		t.Errorf("%v is left, error %v", left, err)
	}
}

// samples is how often a step is killed.
const samples = 30

// sweep kills one step at points all over its run, each time on a machine on which the steps before it have converged.
// Its last ten points are all tried: there the products get their names.
func sweep(t *testing.T, b brought, before []string, step string, was, will map[string]string) {
	ready := newDevice(t, b)
	for _, s := range before {
		ready.run(s, 0)
	}
	total := ready.copy(t).points(step)
	killed := 0
	for at := 1; at <= total; at++ {
		if at%max(total/(samples-10), 1) != 0 && at <= total-10 {
			continue
		}
		killed++
		d := ready.copy(t)
		if !d.run(step, at) {
			t.Fatalf("not killed at %d of %d", at, total)
		}
		for name, got := range d.files() {
			if got != was[name] && got != will[name] {
				t.Fatalf("killed at %d: %s is neither what it was nor what it will be:\n%s", at, name, got)
			}
		}
		d.run(step, 0)
		if got := d.files(); !maps.Equal(got, will) {
			t.Fatalf("killed at %d: the next run ends in\n%v\nwant\n%v", at, got, will)
		}
	}
	t.Logf("killed at %d of %d points", killed, total)
	if killed < 20 {
		t.Errorf("killed at %d points, want 20", killed)
	}
}

// points counts the operations of a step by running it.
func (d device) points(step string) int {
	d.t.Helper()
	d.t.Setenv("BALENA_KILL_COUNT", "/points")
	d.run(step, 0)
	d.t.Setenv("BALENA_KILL_COUNT", "")
	info, err := d.Stat("/points")
	if err != nil {
		d.t.Fatal(err)
	}
	return int(info.Size())
}

// copy makes another machine of hard links: the program never writes into a file that has its name already, so nothing
// of one machine shows in the other, and the stamps stay good.
func (d device) copy(t *testing.T) device {
	t.Helper()
	root := filepath.Join(t.TempDir(), "root")
	if out, err := exec.Command("cp", "-al", d.Root(), root).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return device{Host: hosttest.Existing(t, root), t: t}
}

func build(t *testing.T) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "balena-migrate")
	cmd := exec.Command("go", "build", "-tags", "faults", "-trimpath", "-ldflags", "-s -w", "-o", out, "../../cmd/balena-migrate")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
