package ansible

import (
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps/host/hosttest"
)

// line is a network between controller and device that breaks each connection after so many bytes, in cuts of them; then
// it holds.
type line struct {
	net.Listener
	to    int
	after int64
	cuts  atomic.Int64
	sent  atomic.Int64 // bytes that went to the device, of all connections
}

// newLine puts a line before the device's port.
func (d *device) newLine(t *testing.T, after, cuts int64) *line {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &line{Listener: l, to: d.port, after: after}
	n.cuts.Store(cuts)
	t.Cleanup(func() { l.Close() })
	go n.serve()
	return n
}

func (n *line) serve() {
	for {
		c, err := n.Accept()
		if err != nil {
			return
		}
		go n.carry(c)
	}
}

func (n *line) carry(c net.Conn) {
	defer c.Close()
	s, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", n.to))
	if err != nil {
		return
	}
	defer s.Close()
	go func() {
		_, _ = io.Copy(c, s)
		c.Close()
	}()
	var from io.Reader = c
	if n.cuts.Add(-1) >= 0 {
		from = io.LimitReader(c, n.after)
	}
	sent, _ := io.Copy(s, from)
	n.sent.Add(sent)
}

func (n *line) port() int { return n.Addr().(*net.TCPAddr).Port }

// TestTransfer is about large files on their way to the device.
func TestTransfer(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := b.newDevice(t)
	t.Run("a copy that is cut goes on", func(t *testing.T) { testCut(t, b, d.in(t)) })
	t.Run("another run goes on", func(t *testing.T) { testAnotherRun(t, b, d.in(t)) })
	t.Run("a part that is damaged is sent again", func(t *testing.T) { testDamagedPart(t, b, d.in(t)) })
	t.Run("a limit is kept", func(t *testing.T) { testRate(t, b, d.in(t)) })
}

const large = 40 << 20

// noise is a file that does not compress.
func noise(t *testing.T) (path, digest string) {
	t.Helper()
	data := make([]byte, large)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(data) // it never fails
	return source(t, string(data)), fmt.Sprintf("%x", sha256.Sum256(data))
}

// parts lists what is on its way in the folder of the pushed file.
func (d *device) parts(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(d.root, filepath.Dir(pushed), ".file.*.part"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func (d *device) wantPushed(t *testing.T, digest string) {
	t.Helper()
	if got := fmt.Sprintf("%x", sha256.Sum256([]byte(d.read(filepath.Join(d.root, pushed))))); got != digest {
		t.Errorf("arrived with digest %s, want %s", got, digest)
	}
	if left := d.parts(t); len(left) > 0 {
		t.Errorf("left on the device: %v", left)
	}
}

// overLine are the arguments of a run that goes over a line.
func (d *device) overLine(n *line) []string {
	return []string{"-e", fmt.Sprintf("ansible_port=%d", n.port()), "-e",
		fmt.Sprintf("{ansible_ssh_common_args: '-o UserKnownHostsFile=%s -o HostKeyAlias=[127.0.0.1]:%d -o StrictHostKeyChecking=yes -F /dev/null'}",
			filepath.Join(d.dir, "known_hosts"), d.port)}
}

func testCut(t *testing.T, b bench, d *device) {
	src, digest := noise(t)
	n := d.newLine(t, 9<<20, 3)
	task := pushTask + "    connect_timeout: 60\n"
	r := d.play(b, task, append(d.overLine(n), "-e", "src="+src)...).task(t, "Push")
	if r.State != "ok" || r.Result["changed"] != true {
		t.Fatalf("%s: %v", r.State, r.Result["msg"])
	}
	d.wantPushed(t, digest)
	// A cut costs the piece that was under way.
	if sent := n.sent.Load(); sent > large+3*(8<<20)+(1<<20) || n.cuts.Load() > 0 {
		t.Errorf("%d bytes were sent for a file of %d and three cuts; %d cuts left", sent, large, n.cuts.Load())
	}
}

// testAnotherRun: the controller has no patience, but the next run finds what the first has sent.
func testAnotherRun(t *testing.T, b bench, d *device) {
	src, digest := noise(t)
	n := d.newLine(t, 20<<20, 1)
	args := append(d.overLine(n), "-e", "src="+src)
	if r := d.play(b, pushTask, args...).task(t, "Push"); r.State != "unreachable" {
		t.Fatalf("%s: %v; want unreachable", r.State, r.Result["msg"])
	}
	if _, err := os.Stat(filepath.Join(d.root, pushed)); err == nil || len(d.parts(t)) != 1 {
		t.Errorf("half a file has the name of the whole, or there is no part: %v", d.parts(t))
	}
	r := d.play(b, pushTask, args...).task(t, "Push")
	if have, ok := r.Result["resumed"].(float64); !ok || have < 16<<20 {
		t.Errorf("went on from %v, want at least two pieces: %v", r.Result["resumed"], r.Result["msg"])
	}
	d.wantPushed(t, digest)
	if again := d.play(b, pushTask, args...).task(t, "Push"); again.Result["changed"] != false {
		t.Error("the third run copied it again")
	}
	note := filepath.Join(d.root, filepath.Dir(pushed), ".file.sum")
	if !strings.HasPrefix(d.read(note), digest) {
		t.Errorf("the digest that is kept is %q", d.read(note))
	}
	// What the note says does not hold for a file that was changed since.
	d.write(pushed, strings.Repeat("x", large), 0o600)
	if changed := d.play(b, pushTask, args...).task(t, "Push"); changed.Result["changed"] != true {
		t.Error("another file of the same size was taken for it")
	}
	d.wantPushed(t, digest)
}

func testDamagedPart(t *testing.T, b bench, d *device) {
	src, digest := noise(t)
	d.write(filepath.Join(filepath.Dir(pushed), fmt.Sprintf(".file.%s.part", digest[:16])), strings.Repeat("x", 30<<20), 0o600)
	d.write(filepath.Join(filepath.Dir(pushed), ".file.0123456789abcdef.part"), "of another file", 0o600)
	r := d.play(b, pushTask, "-e", "src="+src).task(t, "Push")
	if r.State != "ok" || r.Result["changed"] != true {
		t.Errorf("%s: %v", r.State, r.Result["msg"])
	}
	d.wantPushed(t, digest)
}

func testRate(t *testing.T, b bench, d *device) {
	src := source(t, strings.Repeat("x", 4<<20))
	r := d.play(b, pushTask+"    rate: 1024\n", "-e", "src="+src, "-vv")
	if r.task(t, "Push").State != "ok" || d.sessions() < 5 {
		t.Errorf("%d sessions for 4 MiB at 1 MiB/s: %v", d.sessions(), r.task(t, "Push").Result["msg"])
	}
}

// TestImageOnce: for two hosts the controller makes the image once, and both only verify it.
func TestImageOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	m := b.newMachine(t, "")
	t.Run("pushed", func(t *testing.T) { testPushed(t, m) })
	t.Run("pulled", func(t *testing.T) { testPulled(t, m) })
}

func testPushed(t *testing.T, m *machine) {
	m.t = t
	second := m.also(t, "second", "balena_migrate_work_dir=/fake/var/lib/second")
	delete(m.inputs, "balena_migrate_work_dir")
	defer func() { m.inputs["balena_migrate_work_dir"] = "/fake/var/lib/balena-migrate" }()
	first := m.also(t, "device", "balena_migrate_work_dir=/fake/var/lib/balena-migrate")
	run := m.migrate(t, map[string]any{"balena_migrate_serial": 2}, "-i", first, "-i", second, "--tags", "prepare")
	if run.code != 0 {
		t.Fatalf("exit code %d:\n%s", run.code, run.screen)
	}
	var made, changed int
	for _, r := range run.results {
		if strings.HasSuffix(r.Task, "Prepare the image on the controller") {
			made++
			if r.Result["changed"] == true {
				changed++
			}
		}
	}
	if made != 2 || changed != 1 {
		t.Errorf("%d hosts asked for the image, %d made it; want 2, 1", made, changed)
	}
	folders, err := os.ReadDir(m.inputs["balena_migrate_image_cache"].(string))
	if err != nil || len(folders) != 1 {
		t.Errorf("folders in the cache: %v, %v; want one", folders, err)
	}
	for _, dir := range []string{"fake/var/lib/balena-migrate", "fake/var/lib/second"} {
		if got, want := m.read(filepath.Join(m.root, dir, "image.gz")), m.read(m.prepared(t)); got != want {
			t.Errorf("%s: another image than the controller's", dir)
		}
	}
}

// prepared is the image on the controller.
func (m *machine) prepared(t *testing.T) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(m.inputs["balena_migrate_image_cache"].(string), "*", "image.gz"))
	if err != nil || len(found) != 1 {
		t.Fatalf("prepared images: %v, %v", found, err)
	}
	return found[0]
}

// testPulled: the device fetches the image itself, in one piece, and does not pack it again.
func testPulled(t *testing.T, m *machine) {
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			asked.Add(1)
		}
		http.FileServer(http.Dir(m.inputs["balena_migrate_image_cache"].(string))).ServeHTTP(w, r)
	}))
	defer server.Close()
	m.t = t
	for _, old := range []string{"image.gz", "image.index.json", "image.stamp.json"} {
		if err := os.Remove(filepath.Join(m.root, "fake/var/lib/balena-migrate", old)); err != nil {
			t.Fatal(err)
		}
	}
	for _, changes := range []bool{true, false} {
		run := m.migrate(t, map[string]any{"balena_migrate_image_base_url": server.URL}, "--tags", "prepare")
		if r := run.task(t, "Prepare the image"); run.code != 0 || r.Result["changed"] != changes {
			t.Fatalf("exit code %d, changed %v, want 0, %v:\n%s", run.code, r.Result["changed"], changes, run.screen)
		}
	}
	// Two plans look at what the server says, and hang up; the second run asks nothing.
	if n := asked.Load(); n != 3 {
		t.Errorf("the image was asked for %d times, want two looks and a download", n)
	}
	if got, want := m.read(filepath.Join(m.root, "fake/var/lib/balena-migrate/image.gz")), m.read(m.prepared(t)); got != want {
		t.Error("another image than the controller's")
	}
	if r := m.report(t); r.Fate != schema.FateReady {
		t.Errorf("%s: %s", r.Fate, r.Reason)
	}
	testTampered(t, m)
}

// testTampered: what the address leads to is not what the controller has made.
func testTampered(t *testing.T, m *machine) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(hosttest.Image(t)) // an image, but another file
	}))
	defer server.Close()
	run := m.migrate(t, map[string]any{"balena_migrate_image_base_url": server.URL}, "--tags", "prepare")
	if r := run.task(t, "Prepare the image"); run.code != 2 || r.State != "failed" || !strings.Contains(r.text(t, "msg"), "SHA-256") {
		t.Errorf("exit code %d: %s: %v; want a failure by the digest", run.code, r.State, r.Result["msg"])
	}
	if _, err := os.Stat(filepath.Join(m.root, "fake/var/lib/balena-migrate/image.gz")); err == nil {
		t.Error("the tampered image, or the old one, has the final name")
	}
	if log := m.read(filepath.Join(m.results(), "device.files", "log")); !strings.Contains(log, "download image") {
		t.Errorf("the log that was fetched is %q", log)
	}
}
