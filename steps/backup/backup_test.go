package backup

import (
	"context"
	"errors"
	"net"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/host"
	"github.com/balena-community/balena-migrate/steps/host/hosttest"
	"github.com/balena-community/balena-migrate/steps/steptest"
)

const (
	workDir = "/var/lib/balena-migrate"
	defFile = "/root/backup.yml"
	canary  = "hunter2-S3CRET"
)

// define is a document that asks for the definition in defFile.
func define() *schema.Migration {
	in := &schema.Migration{Config: schema.DefaultConfig()}
	in.Config.Backup.Definition = defFile
	return in
}

// device is a host with something to back up and the definition that says so.
func device(t *testing.T, definition string) *hosttest.Host {
	t.Helper()
	return hosttest.New(t, map[string]string{
		defFile:               definition,
		"/srv/app/db":         canary,
		"/srv/app/conf/a.cfg": "a",
		"/srv/app/conf/.b":    "bb",
		"/srv/app/empty/x":    "",
		"/var/log/app.log":    "log",
		"/var/log/app.log.1":  "older",
		"/var/log/other":      "other",
	})
}

const definition = `- volume: data
  items:
  - source: /srv/app
- volume: logs
  content:
  - source: /var/log
    target: old
    filter: app\.log
  - source: /var/log/other
    target: other.txt
`

func put(h *hosttest.Host, name string) string { return filepath.Join(h.Root(), name) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// converge runs the step and wants it to end as status.
func converge(t *testing.T, run steps.Run, in *schema.Migration, status string) *schema.Result {
	t.Helper()
	res, err := run.Converge(context.Background(), Step{}, in)
	steptest.Valid(t, res, canary)
	if res.Status != status {
		t.Fatalf("status %s, expected %s: %s (%v)", res.Status, status, res.Msg, err)
	}
	return res
}

func TestDefinitionObeysTheLaws(t *testing.T) {
	h := device(t, definition)
	res := steptest.Laws(t, Step{}, steptest.RunOn(h), define(), canary)
	facts := res.Facts.Backup
	if facts.Path != workDir+"/backup.tgz" || strings.Join(facts.Volumes, " ") != "data logs" || facts.Files != 7 || facts.Size == 0 {
		t.Errorf("facts %+v", facts)
	}
	want := workDir + "/backup.tgz (volume data: 4 files, 17 bytes; volume logs: 3 files, 13 bytes)"
	if got := res.Changes[0].Target; got != want {
		t.Errorf("announced %q, expected %q", got, want)
	}
	info, err := h.Stat(facts.Path)
	must(t, err)
	if info.Mode().Perm() != 0o600 || info.Size() != facts.Size {
		t.Errorf("archive: %s, %d bytes", info.Mode(), info.Size())
	}
	want = `data/
data/conf/
data/conf/.b
data/conf/a.cfg
data/db
data/empty/
data/empty/x
logs/
logs/old/
logs/old/app.log
logs/old/app.log.1
logs/other.txt
`
	if got := tarList(t, put(h, facts.Path)); got != want {
		t.Errorf("archive holds\n%sexpected\n%s", got, want)
	}
}

// S89: what an earlier run left must not be taken along.
func TestNoBackupRemovesAStaleOne(t *testing.T) {
	h := device(t, definition)
	converge(t, steptest.RunOn(h), define(), schema.Converged)
	in := &schema.Migration{Config: schema.DefaultConfig()}
	res := steptest.Laws(t, Step{}, steptest.RunOn(h), in)
	if f := res.Facts.Backup; f == nil || f.Path != "" || len(f.Volumes) != 0 {
		t.Errorf("facts %+v", f)
	}
	left, err := h.ReadDir(workDir)
	if err != nil || len(left) != 0 {
		t.Errorf("left in the work dir: %v, %v", left, err)
	}
}

func TestNoBackupOnACleanDeviceDoesNothing(t *testing.T) {
	res := converge(t, steptest.RunOn(hosttest.New(t, nil)), &schema.Migration{Config: schema.DefaultConfig()}, schema.Converged)
	if res.Changed || res.Facts.Backup == nil {
		t.Errorf("changed %v, facts %+v", res.Changed, res.Facts.Backup)
	}
}

func TestBlockers(t *testing.T) {
	for _, c := range []struct {
		name, definition string
		mend             func(h *hosttest.Host, b *schema.BackupConfig)
		want             []string
	}{
		{"script and definition", definition, func(_ *hosttest.Host, b *schema.BackupConfig) { b.Script = "/x" }, []string{"both a script and a definition"}},
		{"no definition", definition, func(_ *hosttest.Host, b *schema.BackupConfig) { b.Definition = "/none.yml" }, []string{"/none.yml: no such file"}},
		{"definition a directory", definition, func(_ *hosttest.Host, b *schema.BackupConfig) { b.Definition = "/srv" }, []string{"/srv: d"}},
		{"huge definition", strings.Repeat("# x\n", 1<<19), nil, []string{defFile + ": -rw-r--r--, 2.0 MiB"}},
		{"no script", definition, func(_ *hosttest.Host, b *schema.BackupConfig) { b.Definition, b.Script = "", "/none.sh" }, []string{"/none.sh: no such file"}},
		{"script not executable", definition, func(_ *hosttest.Host, b *schema.BackupConfig) { b.Definition, b.Script = "", "/srv/app/db" }, []string{"/srv/app/db: a file that is not executable"}},
		{"unknown volumes (E19)", definition, func(_ *hosttest.Host, b *schema.BackupConfig) { b.Volumes = []string{"logs", "db"} }, []string{defFile + `:1:11: the volume "data"`}},
		{
			"every problem at once", "- volume: a\n  items:\n  - source: /none\n  - source: rel\n- volume: b\n  items:\n  - source: /srv/app/db\n    filter: x\n", nil,
			[]string{defFile + `:4:13: the source "rel"`, defFile + ":3:13: the source /none, which does not exist", defFile + ":7:13: a filter for /srv/app/db, which is a file"},
		},
		{"path through a file", "- volume: a\n  items:\n  - source: /srv/app/db/x\n", nil, []string{defFile + ":3:13: the source /srv/app/db/x, which does not exist"}},
		{"the whole system", "- volume: a\n  items:\n  - source: /\n", nil, []string{defFile + ":3:13: the source /, the whole system"}},
		{"work dir", "- volume: a\n  items:\n  - source: " + workDir + "/\n", func(h *hosttest.Host, _ *schema.BackupConfig) { h.Put(workDir+"/x", "") }, []string{defFile + ":3:13: the source " + workDir + ", the work dir"}},
		{"link loop", "- volume: a\n  items:\n  - source: /loop\n", func(h *hosttest.Host, _ *schema.BackupConfig) { h.Link("/loop", "/loop") }, []string{defFile + ":3:13: the source /loop, a loop"}},
		{"two files of one name", "- volume: a\n  items:\n  - source: /srv/app\n  - source: /var/log/other\n    target: db\n", nil, []string{defFile + ":4:13: a file for a/db"}},
		{"file and directory of one name", "- volume: a\n  items:\n  - source: /srv/app\n  - source: /var/log/other\n    target: conf\n", nil, []string{defFile + ":4:13: a file for a/conf"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, in := device(t, c.definition), define()
			if c.mend != nil {
				c.mend(h, &in.Config.Backup)
			}
			res := converge(t, steptest.RunOn(h), in, schema.BlockedBy)
			if len(res.Blocked) != len(c.want) {
				t.Fatalf("blocked by %+v", res.Blocked)
			}
			for i, b := range res.Blocked {
				if !strings.HasPrefix(b.Got, c.want[i]) || b.Want == "" || b.Remedy == "" {
					t.Errorf("blocked by %+v, expected %q", b, c.want[i])
				}
			}
			if _, err := h.Stat(path.Join(workDir, archiveName)); err == nil {
				t.Error("an archive was made")
			}
		})
	}
}

// Whatever the archive depends on, a change of it makes a new one.
func TestMadeAnewWhenNeeded(t *testing.T) {
	archive := workDir + "/backup.tgz"
	for name, change := range map[string]func(h *hosttest.Host) error{
		"content": func(h *hosttest.Host) error { return os.WriteFile(put(h, "/srv/app/db"), []byte("changed"), 0o644) },
		"content of the same size and time": func(h *hosttest.Host) error {
			info, err := h.Stat("/srv/app/db")
			must(t, err)
			must(t, os.WriteFile(put(h, "/srv/app/db"), []byte(strings.ToUpper(canary)), 0o644))
			return os.Chtimes(put(h, "/srv/app/db"), info.ModTime(), info.ModTime())
		},
		"mode":            func(h *hosttest.Host) error { return os.Chmod(put(h, "/srv/app/db"), 0o600) },
		"new file":        func(h *hosttest.Host) error { h.Put("/srv/app/new", ""); return nil },
		"removed file":    func(h *hosttest.Host) error { return os.Remove(put(h, "/srv/app/empty/x")) },
		"definition":      func(h *hosttest.Host) error { h.Put(defFile, definition+"# more\n"); return nil },
		"archive gone":    func(h *hosttest.Host) error { return h.Remove(archive) },
		"archive written": func(h *hosttest.Host) error { return h.WriteFile(archive, []byte("x"), 0o600) },
		"archive for all": func(h *hosttest.Host) error { return os.Chmod(put(h, archive), 0o644) },
		"stamp gone":      func(h *hosttest.Host) error { return h.Remove(workDir + "/backup.stamp.json") },
		"stamp damaged": func(h *hosttest.Host) error {
			return h.WriteFile(workDir+"/backup.stamp.json", []byte(`{"schema":"stamp/1","recipe":"","files":[],"facts":{}}`), 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := device(t, definition)
			converge(t, steptest.RunOn(h), define(), schema.Converged)
			must(t, change(h))
			if res := converge(t, steptest.RunOn(h), define(), schema.Converged); !res.Changed {
				t.Error("nothing was done")
			}
			if res := converge(t, steptest.RunOn(h), define(), schema.Converged); res.Changed {
				t.Error("done a third time")
			}
		})
	}
}

// The archive depends on nothing but the content and what is asked for: not on the order of items or of directory
// entries, the time, or where it is made.
func TestDeterministic(t *testing.T) {
	items := []string{"  - source: /srv/app\n", "  - source: /var/log/other\n    target: in/side/x\n", "  - source: /var/log\n    filter: app\n"}
	digests := map[string]bool{}
	for _, order := range [][]int{{0, 1, 2}, {2, 1, 0}, {1, 2, 0}} {
		text := "- volume: v\n  items:\n"
		for _, i := range order {
			text += items[i]
		}
		h := device(t, text)
		must(t, filepath.Walk(h.Root(), func(name string, info os.FileInfo, err error) error {
			must(t, err)
			return os.Chtimes(name, h.Clock, h.Clock)
		}))
		digests[converge(t, steptest.RunOn(h), define(), schema.Converged).Facts.Backup.SHA256] = true
	}
	if len(digests) != 1 {
		t.Errorf("%d different archives", len(digests))
	}
}

// Stopped anywhere, the step leaves no archive and no half of one; the next run makes it.
func TestInterrupted(t *testing.T) {
	h := device(t, definition)
	must(t, os.Truncate(put(h, "/srv/app/db"), 4<<20))
	ctx, cancel := context.WithCancel(context.Background())
	run := steptest.RunOn(h)
	calls := 0
	run.Progress = func(string, int64, int64) {
		if calls++; calls == 3 {
			cancel()
		}
	}
	res, err := run.Converge(ctx, Step{}, define())
	if !errors.Is(err, context.Canceled) || !errors.Is(err, steps.ErrPartial) || res.Facts.Backup != nil {
		t.Errorf("error %v, facts %+v", err, res.Facts.Backup)
	}
	left, err := h.ReadDir(workDir)
	if err != nil || len(left) != 0 || calls != 3 {
		t.Errorf("left %v, %v; stopped at the %d. report", left, err, calls)
	}
	converge(t, steptest.RunOn(h), define(), schema.Converged)
}

func TestWarnings(t *testing.T) {
	h := device(t, "- volume: v\n  items:\n  - source: /srv\n  - source: /var/log\n    filter: nothing-like-that\n")
	h.Link("/srv/app/in", "conf/a.cfg")
	h.Link("/srv/app/conf/up", "../db")
	h.Link("/srv/app/out", "../../etc/passwd")
	h.Link("/srv/app/abs", "/srv/app/db")
	// A socket's path has room for 107 bytes, so it is made near and moved.
	short, err := os.MkdirTemp("/tmp", "s")
	must(t, err)
	defer os.RemoveAll(short)
	l, err := net.Listen("unix", short+"/sock")
	must(t, err)
	defer l.Close()
	must(t, os.Rename(short+"/sock", put(h, "/srv/app/sock")))
	h.FreeBytes = 10
	res := converge(t, steptest.RunOn(h), define(), schema.Converged)
	want := []string{
		defFile + ":4:13: the filter nothing-like-that matches nothing in /var/log",
		"sockets are not backed up: /srv/app/sock",
		"absolute links inside what is backed up are made relative: /srv/app/abs -> /srv/app/db",
		"links lead to nothing that can be backed up and are kept as they are: /srv/app/out -> ../../etc/passwd",
	}
	if strings.Join(res.Warnings, "\n") != strings.Join(want, "\n") {
		t.Errorf("warnings\n%s\nexpected\n%s", strings.Join(res.Warnings, "\n"), strings.Join(want, "\n"))
	}
	check := steptest.RunOn(h)
	check.Check = true
	must(t, h.Remove(workDir+"/backup.tgz"))
	res = converge(t, check, define(), schema.Converged)
	if last := res.Warnings[len(res.Warnings)-1]; !strings.Contains(last, "has 10 bytes of room") {
		t.Errorf("no word of too little room: %q", res.Warnings)
	}
}

// The work dir may lie inside a source, but never goes along.
func TestWorkDirStaysOut(t *testing.T) {
	h := device(t, "- volume: v\n  items:\n  - source: /var\n")
	h.Put(workDir+"/wifi/key", canary)
	h.Put("/var/lib/other", "x")
	res := steptest.Laws(t, Step{}, steptest.RunOn(h), define())
	list := tarList(t, put(h, res.Facts.Backup.Path))
	if strings.Contains(list, "balena-migrate") || !strings.Contains(list, "v/lib/other\n") {
		t.Errorf("archive holds\n%s", list)
	}
	// The same when the work dir is the caller's, by a path outside the root.
	run := steptest.RunOn(h)
	run.Files, run.WorkDir = host.At("/"), put(h, workDir)
	in := define()
	in.Config.Backup.Definition = put(h, defFile)
	converge(t, run, in, schema.Converged)
	if got := tarList(t, put(h, res.Facts.Backup.Path)); got != list {
		t.Errorf("archive holds\n%s", got)
	}
}

func TestMaker(t *testing.T) {
	h := hosttest.New(t, map[string]string{
		"/proc/self/stat": "42 (a ) b) S 1 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 7777 1 1\n", "/proc/sys/kernel/random/boot_id": "b-1\n",
	})
	if got := maker(h); got != "42@7777@b-1" {
		t.Errorf("maker %q", got)
	}
	if here := maker(host.At("/")); strings.Count(here, "@") != 2 || here != maker(host.At("/")) {
		t.Errorf("this process is %q", here)
	}
	for _, text := range []string{"", "42", "42 (a) S 1", ")"} {
		h.Put("/proc/self/stat", text)
		if got := maker(h); got != "" {
			t.Errorf("maker of %q: %q", text, got)
		}
	}
}

func mkfifo(t *testing.T, name string) {
	t.Helper()
	must(t, syscall.Mkfifo(name, 0o640))
}
