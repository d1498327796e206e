package backup

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/host"
	"github.com/balena-community/balena-migrate/steps/host/hosttest"
	"github.com/balena-community/balena-migrate/steps/steptest"
)

const scriptFile = "/opt/my backup.sh"

func script() *schema.Migration {
	in := &schema.Migration{Config: schema.DefaultConfig()}
	in.Config.Backup.Script = scriptFile
	return in
}

// scripted is a host on which the script does what produce does with the path it is given.
func scripted(t *testing.T, produce func(out string) error) *hosttest.Host {
	t.Helper()
	h := hosttest.New(t, map[string]string{scriptFile: "#!/bin/sh\n"})
	must(t, os.Chmod(put(h, scriptFile), 0o755))
	out := put(h, workDir+"/backup.script/backup.tgz")
	cmd := host.Cmd{Name: put(h, scriptFile), Args: []string{out}}
	h.Commands = map[string]func() error{cmd.String(): func() error { return produce(out) }}
	return h
}

// tgz makes a gzip tar of headers; regular files hold as many bytes as their header says.
func tgz(t *testing.T, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	gz := gzip.NewWriter(&b)
	tw := tar.NewWriter(gz)
	for _, hd := range headers {
		hd.Mode = 0o644
		must(t, tw.WriteHeader(&hd))
		_, err := tw.Write(bytes.Repeat([]byte("x"), int(hd.Size)))
		must(t, err)
	}
	must(t, tw.Close())
	must(t, gz.Close())
	return b.Bytes()
}

func dir(name string) tar.Header { return tar.Header{Typeflag: tar.TypeDir, Name: name} }
func reg(name string) tar.Header { return tar.Header{Typeflag: tar.TypeReg, Name: name, Size: 3} }
func link(kind byte, name, to string) tar.Header {
	return tar.Header{Typeflag: kind, Name: name, Linkname: to}
}

func TestScriptObeysTheLaws(t *testing.T) {
	data := tgz(t, dir("data/"), reg("data/"+canary), link(tar.TypeLink, "data/b", "data/"+canary), reg("logs/c"), link(tar.TypeSymlink, "logs/d", "/x"))
	h := scripted(t, func(out string) error { return os.WriteFile(out, data, 0o644) })
	res := steptest.Laws(t, Step{}, steptest.RunOn(h), script(), canary)
	f := res.Facts.Backup
	if strings.Join(f.Volumes, " ") != "data logs" || f.Files != 4 || f.Size != int64(len(data)) {
		t.Errorf("facts %+v", f)
	}
	got, err := h.ReadFile(f.Path)
	info, err2 := h.Stat(f.Path)
	if err != nil || err2 != nil || !bytes.Equal(got, data) || info.Mode().Perm() != 0o600 {
		t.Errorf("archive: %v, %v, %v", info, err, err2)
	}
	if _, err := h.Lstat(workDir + "/backup.script"); err == nil {
		t.Error("the script's own output was left")
	}
}

// A real program, run by the real host; it runs again when it is another one, and only then.
func TestRealScript(t *testing.T) {
	h := host.At(t.TempDir())
	write := func(text string) {
		must(t, h.MkdirAll("/opt", 0o755))
		must(t, h.WriteFile(scriptFile, []byte(text), 0o755))
	}
	write("#!/bin/sh -e\n[ $# = 1 ]\nmkdir -p volumes/app\necho x >> volumes/app/runs\ntar -C volumes -czf \"$1\" app\n")
	run := steptest.RunOn(h)
	for i, want := range []bool{true, false} {
		if res := converge(t, run, script(), schema.Converged); res.Changed != want || res.Facts.Backup.Files != 1 {
			t.Errorf("run %d: changed %v, facts %+v", i, res.Changed, res.Facts.Backup)
		}
	}
	if runs, err := h.ReadFile("/opt/volumes/app/runs"); string(runs) != "x\n" {
		t.Errorf("runs %q, %v: it runs once, in its own directory", runs, err)
	}
}

// What a program prints may be secrets: it is in a file for root, and in nothing that leaves the device.
func TestScriptOutputStaysOnTheDevice(t *testing.T) {
	h := host.At(t.TempDir())
	must(t, h.MkdirAll("/opt", 0o755))
	log := workDir + "/backup.log"
	for _, c := range []struct{ end, msg string }{
		{"test $(stat -c %a $(dirname $1)) = 700 && exit 7", "exit status 7; what it printed is in " + log},
		{"mkdir -p v/app; touch v/app/x; tar -C v -czf \"$1\" app", ""},
		{"echo " + canary + " >\"$1\"", "no gzip file"},
	} {
		must(t, h.WriteFile(scriptFile, []byte("#!/bin/sh\necho password="+canary+"\necho "+canary+" >&2\n"+c.end+"\n"), 0o755))
		run := steptest.RunOn(h)
		run.Diff = true
		run.Log = func(act string, n schema.ChangeNote, _ time.Duration) {
			if strings.Contains(act+n.Action+n.Target, canary) {
				t.Errorf("logged %s %+v", act, n)
			}
		}
		res, err := run.Converge(context.Background(), Step{}, script())
		steptest.Valid(t, res, canary)
		if !strings.Contains(res.Msg, c.msg) || strings.Contains(fmt.Sprint(err), canary) {
			t.Errorf("message %q, expected %q; error %v", res.Msg, c.msg, err)
		}
		said, err := h.ReadFile(log)
		info, err2 := h.Stat(log)
		if err != nil || err2 != nil || string(said) != "password="+canary+"\n"+canary+"\n" || info.Mode().Perm() != 0o600 {
			t.Errorf("log %q, %v, %v, %v", said, info, err, err2)
		}
	}
	// Nothing else than the log holds it.
	left, err := h.ReadDir(workDir)
	must(t, err)
	for _, d := range left {
		data, err := h.ReadFile(workDir + "/" + d.Name())
		if d.Name() != "backup.log" && (err != nil || strings.Contains(string(data), canary)) {
			t.Errorf("%s: %v, or it holds the secret", d.Name(), err)
		}
	}
}

// A program that hangs is stopped with all that it has started, and what it wrote so far is no backup.
func TestScriptTakesTooLong(t *testing.T) {
	h := host.At(t.TempDir())
	must(t, h.MkdirAll("/opt", 0o755))
	pidFile := t.TempDir() + "/pid"
	must(t, h.WriteFile(scriptFile, []byte("#!/bin/sh\necho begun >\"$1\"\nsleep 1000 &\necho $! >"+pidFile+"\nsleep 1000\n"), 0o755))
	in := script()
	in.Config.Backup.ScriptTimeoutS = 1
	res := converge(t, steptest.RunOn(h), in, schema.Failed)
	if !strings.Contains(res.Msg, scriptFile+": still running after 1s") || !strings.Contains(res.Error.Hint, "script_timeout_s") {
		t.Errorf("message %q, hint %q", res.Msg, res.Error.Hint)
	}
	if left, err := h.ReadDir(workDir); err != nil || len(left) != 0 {
		t.Errorf("left in the work dir: %v, %v", left, err)
	}
	text, err := os.ReadFile(pidFile)
	must(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	must(t, err)
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) { // a signal takes its time
		state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(state), ") Z ") {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("its child %d still runs", pid)
		}
	}
}

func TestScriptArchivesAreRefused(t *testing.T) {
	good := tgz(t, dir("data/"), reg("data/a"))
	flipped := bytes.Clone(good)
	flipped[len(flipped)-6] ^= 1 // in the checksum
	contiguous := reg("data/c")
	contiguous.Typeflag = '7'
	device := reg("data/null")
	device.Typeflag, device.Size = tar.TypeChar, 0
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"nothing", nil, "made no archive"},
		{"empty file", []byte{}, "no gzip file"},
		{"plain tar", bytes.Repeat([]byte{0}, 1024), "no gzip file"},
		{"cut off", good[:len(good)-10], "damaged"},
		{"wrong checksum", flipped, "damaged"},
		{"more behind it", append(bytes.Clone(good), "more"...), "damaged"},
		{"gzip of no tar", gzipped(t, strings.Repeat("no tar ", 200)), "damaged"},
		{"no entries", tgz(t), "no volume in it"},
		{"./ entry", tgz(t, dir("./"), dir("./data/")), `"./": found a path that begins with ./`},
		{"./ path", tgz(t, reg("./data/a")), `"./data/a": found a path that begins with ./`},
		{"top-level file", tgz(t, dir("data/"), reg("notes")), `"notes": found a file at the top level`},
		{"top-level link", tgz(t, link(tar.TypeSymlink, "data", "/x")), `"data": found a file at the top level`},
		{"dotfile", tgz(t, reg(".profile")), `".profile": found a hidden name at the top level`},
		{"dot directory", tgz(t, reg(".cache/x")), `".cache/x": found a hidden name`},
		{"absolute", tgz(t, reg("/data/a")), `"/data/a": found an absolute path`},
		{"out of the volume", tgz(t, reg("data/../../a")), `"data/../../a": found ..`},
		{"bad volume name", tgz(t, reg("my data/a")), `found the volume name "my data"`},
		{"unknown volume", tgz(t, reg("data/a"), reg("other/a")), `"other/a": found the volume "other", expected one of backup.volumes: data, logs`},
		{"through a link", tgz(t, dir("data/"), link(tar.TypeSymlink, "data/l", "/etc"), reg("data/l/passwd")), `found a path through the link data/l`},
		{"hard link out", tgz(t, dir("data/"), link(tar.TypeLink, "data/l", "/etc/shadow")), `hard link to /etc/shadow`},
		{"hard link to nothing", tgz(t, dir("data/"), link(tar.TypeLink, "data/l", "data/none")), `hard link to data/none`},
		{"device node", tgz(t, device), `data/null: found a device node`},
		{"unknown type", tgz(t, contiguous), `entry of type '7'`},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := scripted(t, func(out string) error {
				if c.data == nil {
					return nil
				}
				return os.WriteFile(out, c.data, 0o644)
			})
			in := script()
			in.Config.Backup.Volumes = []string{"data", "logs"}
			if c.name == "bad volume name" {
				in.Config.Backup.Volumes = []string{}
			}
			res := converge(t, steptest.RunOn(h), in, schema.Failed)
			if !strings.Contains(res.Msg, c.want) || res.Error.Hint == "" {
				t.Errorf("message %q, hint %q, expected %q", res.Msg, res.Error.Hint, c.want)
			}
			if left, err := h.ReadDir(workDir); err != nil || len(left) != 0 {
				t.Errorf("left in the work dir: %v, %v", left, err)
			}
		})
	}
}

// GNU tar writes sparse files in two ways, neither of which the tar of the new system knows.
func TestSparseArchivesAreRefused(t *testing.T) {
	for _, format := range []string{"gnu", "pax"} {
		h := host.At(t.TempDir())
		must(t, h.MkdirAll("/opt", 0o755))
		must(t, h.WriteFile(scriptFile, []byte("#!/bin/sh -e\nmkdir -p v\ntruncate -s 4M v/s\necho end >> v/s\ntar --format="+format+" -czSf \"$1\" v\n"), 0o755))
		if res := converge(t, steptest.RunOn(h), script(), schema.Failed); !strings.Contains(res.Error.Hint, "--sparse") {
			t.Errorf("%s: %s (%s)", format, res.Msg, res.Error.Hint)
		}
	}
}

// Between a script's archive and a definition's nothing is shared: switching makes the other anew.
func TestSwitchingFromScriptToDefinition(t *testing.T) {
	h := scripted(t, func(out string) error { return os.WriteFile(out, tgz(t, reg("data/a")), 0o644) })
	h.Put(defFile, "- volume: v\n  items: [{source: /opt}]\n")
	converge(t, steptest.RunOn(h), script(), schema.Converged)
	if res := converge(t, steptest.RunOn(h), define(), schema.Converged); !res.Changed || res.Facts.Backup.Volumes[0] != "v" {
		t.Errorf("changed %v, facts %+v", res.Changed, res.Facts.Backup)
	}
}

func TestScriptInterruptedWhileItIsCopied(t *testing.T) {
	data := tgz(t, tar.Header{Typeflag: tar.TypeReg, Name: "data/a", Size: 32 << 20})
	h := scripted(t, func(out string) error { return os.WriteFile(out, data, 0o644) })
	ctx, cancel := context.WithCancel(context.Background())
	run := steptest.RunOn(h)
	run.Progress = func(what string, _, _ int64) {
		if what == archiveName {
			cancel()
		}
	}
	if _, err := run.Converge(ctx, Step{}, script()); !errors.Is(err, context.Canceled) || !errors.Is(err, steps.ErrPartial) {
		t.Errorf("error %v", err)
	}
	if left, err := h.ReadDir(workDir); err != nil || len(left) != 0 {
		t.Errorf("left in the work dir: %v, %v", left, err)
	}
}

func gzipped(t *testing.T, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	gz := gzip.NewWriter(&b)
	_, err := gz.Write([]byte(text))
	must(t, err)
	must(t, gz.Close())
	return b.Bytes()
}

// Archives of scripts are foreign bytes: whatever is in them, an accepted one has only volumes at its top level.
func FuzzInspect(f *testing.F) {
	f.Add([]byte("data/a"), byte('0'), "")
	f.Add([]byte("./data"), byte('5'), "")
	f.Add([]byte("data/l"), byte('2'), "/etc")
	f.Fuzz(func(t *testing.T, name []byte, kind byte, to string) {
		var b bytes.Buffer
		gz := gzip.NewWriter(&b)
		tw := tar.NewWriter(gz)
		if tw.WriteHeader(&tar.Header{Typeflag: kind, Name: string(name), Linkname: to}) != nil {
			return
		}
		if err := errors.Join(tw.Close(), gz.Close()); err != nil {
			return
		}
		p, err := inspect(&b, nil)
		if err != nil {
			return
		}
		for _, v := range p.volumes {
			if !volumeName.MatchString(v) || !strings.HasPrefix(string(name)+"/", v+"/") || string(name) == v && kind != tar.TypeDir {
				t.Errorf("volume %q of entry %q passed", v, name)
			}
		}
	})
}
