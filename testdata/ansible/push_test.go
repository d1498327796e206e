package ansible

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const pushTask = `
- name: Push
  balena_community.migrate.push:
    src: "{{ src }}"
    dest: "{{ dest | default('/var/lib/balena-migrate/input/file') }}"
    mode: "{{ mode | default('0600') }}"
`

const pushed = "var/lib/balena-migrate/input/file"

func TestPush(t *testing.T) {
	b := newBench(t)
	d := b.newDevice(t)
	t.Run("once, whole and private", func(t *testing.T) { testPushOnce(t, b, d.in(t)) })
	t.Run("check mode only says so", func(t *testing.T) { testPushCheck(t, b, d.in(t)) })
	t.Run("a vaulted file arrives in the clear", func(t *testing.T) { testPushVault(t, b, d.in(t)) })
	t.Run("what can't be copied is explained", func(t *testing.T) { testPushRefused(t, b, d.in(t)) })
}

// source writes a file on the controller.
func source(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "source")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func testPushOnce(t *testing.T, b bench, d *device) {
	content := strings.Repeat("content\n", 1<<17)
	src := "src=" + source(t, content)
	steps := []struct {
		name    string
		before  func()
		args    []string
		changed bool
		rounds  int
	}{
		{"missing", func() {}, nil, true, 2},
		{"there", func() {}, nil, false, 1},
		{"same size, other content", func() { d.write(pushed, strings.Repeat("CONTENT\n", 1<<17), 0o600) }, nil, true, 2},
		{"cut short", func() { d.write(pushed, content[:9], 0o600) }, nil, true, 2},
		{"other mode", func() {}, []string{"-e", "mode=0700"}, true, 2},
		{"right mode", func() {}, []string{"-e", "mode=0700"}, false, 1},
	}
	for _, s := range steps {
		s.before()
		before := d.sessions()
		r := d.play(b, pushTask, append(s.args, "-e", src)...).task(t, "Push")
		if r.State != "ok" || r.Result["changed"] != s.changed || r.Result["present"] != true || d.sessions()-before != s.rounds {
			t.Fatalf("%s: %s, changed %v, present %v, %d sessions; want ok, %v, true, %d; %v", s.name, r.State, r.Result["changed"],
				r.Result["present"], d.sessions()-before, s.changed, s.rounds, r.Result["msg"])
		}
		if d.read(filepath.Join(d.root, pushed)) != content {
			t.Errorf("%s: another content arrived", s.name)
		}
	}
	testPushTraces(t, d)
}

// testPushTraces: owner and modes are right, and nothing is left behind.
func testPushTraces(t *testing.T, d *device) {
	t.Helper()
	if stat := command(t, "", "stat", "-c", "%u:%g %a", filepath.Join(d.root, pushed), filepath.Join(d.root, filepath.Dir(pushed))); stat != "0:0 700\n0:0 700\n" {
		t.Errorf("owner and mode of the file and its folder are\n%s\nwant root's, 700", stat)
	}
	if left := d.find("home/free/.ansible"); left != "" {
		t.Errorf("left at the login user's home:\n%s", left)
	}
	if files, err := os.ReadDir(filepath.Join(d.root, filepath.Dir(pushed))); err != nil || len(files) != 1 {
		t.Errorf("the folder has %v, %v; want the file alone", files, err)
	}
}

func testPushCheck(t *testing.T, b bench, d *device) {
	src := "src=" + source(t, "canary-content")
	before := d.find(".")
	run := d.play(b, pushTask, "-e", src, "--check", "--diff")
	if r := run.task(t, "Push"); r.Result["changed"] != true || r.Result["present"] != false {
		t.Errorf("changed %v, present %v; want true, false", r.Result["changed"], r.Result["present"])
	}
	if after := d.find("."); after != before {
		t.Errorf("check mode changed the device; before:\n%s\nafter:\n%s", before, after)
	}
	if !strings.Contains(run.screen, "+sha256: ") || strings.Contains(run.screen, "canary") {
		t.Errorf("the diff has no digest, or it has the content:\n%s", run.screen)
	}
}

func testPushVault(t *testing.T, b bench, d *device) {
	src, word := source(t, "a secret\n"), source(t, "vault password\n")
	command(t, "", "ansible-vault", "encrypt", "--vault-password-file", word, src)
	for i, want := range []bool{true, false} {
		r := d.play(b, pushTask, "-e", "src="+src, "--vault-password-file", word).task(t, "Push")
		if r.State != "ok" || r.Result["changed"] != want {
			t.Errorf("run %d: %s, changed %v, want ok, %v: %v", i+1, r.State, r.Result["changed"], want, r.Result["msg"])
		}
	}
	if got := d.read(filepath.Join(d.root, pushed)); got != "a secret\n" {
		t.Errorf("%q arrived, want the decrypted text", got)
	}
}

func testPushRefused(t *testing.T, b bench, d *device) {
	large := source(t, strings.Repeat("large", 1<<20))
	for _, c := range []struct {
		name, src, dest string
		want            []string
	}{
		{"no such file", "/no/such/file", "/x", []string{"/no/such/file", "controller"}},
		{"relative", large, "x", []string{`dest is "x"`, "absolute"}},
		{"a folder", large, "/var", []string{"/var is a directory"}},
		{"below a file", large, "/etc/passwd/x", []string{"/etc/passwd"}},
		{"no room", large, "/small/new/x", []string{"no room", "/small/new/x", "6 MiB are needed", "MiB are free"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := d.play(b, pushTask, "-e", "src="+c.src, "-e", "dest="+c.dest).task(t, "Push")
			for _, want := range c.want {
				if r.State != "failed" || !strings.Contains(r.text(t, "msg"), want) {
					t.Errorf("%s: %q, want a failure with %q in it", r.State, r.text(t, "msg"), want)
				}
			}
		})
	}
	if n := d.sessions(); n != 4 {
		t.Errorf("%d sessions, want 4: what has no room or no source is not sent", n)
	}
}
