package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// A command that failed shows itself as a person would type it, and the last of what it said.
func TestRunError(t *testing.T) {
	t.Setenv("BALENA_TEST_KEY", "canary-of-the-environment")
	r := At(t.TempDir())
	cases := []struct {
		script, want string
		args         []string
	}{
		{script: `echo out; echo err >&2; exit 3`, want: `sh -c "echo out; echo err >&2; exit 3": exit status 3: out` + "\nerr"},
		{script: `exit 1`, want: `sh -c "exit 1": exit status 1`},
		{script: `false`, args: []string{"", "two words", `"quoted"`, "plain"}, want: `sh -c false "" "two words" "\"quoted\"" plain: exit status 1`},
		{script: `kill -KILL $$`, want: `sh -c "kill -KILL $$": signal: killed`},
	}
	for _, c := range cases {
		cmd := Cmd{Name: "sh", Args: append([]string{"-c", c.script}, c.args...)}
		err := r.Run(context.Background(), cmd)
		if err == nil || err.Error() != c.want {
			t.Errorf("%s: error\n%v\nwant\n%s", c.script, err, c.want)
		}
		var exit *ExitError
		if !errors.As(err, &exit) || exit.Cmd.String() != cmd.String() {
			t.Errorf("%s: %T, want an ExitError that names the command", c.script, err)
		}
		if strings.Contains(fmt.Sprint(err), "canary") {
			t.Errorf("%s: the error holds the environment: %v", c.script, err)
		}
	}
	err := r.Run(context.Background(), Cmd{Name: "/no/such/program"})
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing program: %v, want %v", err, os.ErrNotExist)
	}
}

// However much a command prints, only the end of it is kept, and it stays text.
func TestRunKeepsTheTail(t *testing.T) {
	err := At("/").Run(context.Background(), Cmd{Name: "sh", Args: []string{"-c", `
		seq 100000; printf '\377\376'; i=0; while [ $i -lt 2000 ]; do printf ä; i=$((i+1)); done; echo; echo the end; exit 1`}})
	var exit *ExitError
	if !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if n := len(exit.Output); n > 2048 || n < 2000 {
		t.Errorf("kept %d bytes, want the last 2048", n)
	}
	if !strings.HasSuffix(exit.Output, "ä\nthe end") || !utf8.ValidString(exit.Output) {
		t.Errorf("output %q: want the end of it, as text", exit.Output)
	}
}

func TestRunWhere(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := At("/").Run(context.Background(), Cmd{Name: "sh", Args: []string{"-c", `test "$(pwd)" = "$0"`, dir}, Dir: dir}); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := At("/").Run(ctx, Cmd{Name: "touch", Args: []string{"file"}, Dir: dir}); !errors.Is(err, context.Canceled) {
		t.Errorf("a run that was interrupted before: %v, want %v", err, context.Canceled)
	}
	if _, err := os.Stat(filepath.Join(dir, "file")); !os.IsNotExist(err) {
		t.Errorf("it ran all the same: %v", err)
	}
}

// Whoever interrupts us sees an interruption, and not the signal that it became for the command.
func TestRunInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	started := filepath.Join(t.TempDir(), "started")
	go func() {
		for {
			if _, err := os.Stat(started); err == nil {
				cancel()
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	err := At("/").Run(ctx, Cmd{Name: "sh", Args: []string{"-c", `touch "$0"; exec sleep 600`, started}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want %v", err, context.Canceled)
	}
}

// spawnHelper is the environment variable that makes this test program spawn a command, print its pid and end.
const spawnHelper = "BALENA_TEST_SPAWN"

func TestMain(m *testing.M) {
	if os.Getenv(spawnHelper) == "" {
		m.Run()
		return
	}
	pid, err := At("/").Spawn(Cmd{Name: "sleep", Args: []string{"600"}})
	if err != nil {
		panic(err)
	}
	fmt.Fprintln(os.Stdout, pid)
}

// What is spawned lives on when we are gone, in a session of its own and without our files: neither a closing ssh
// connection nor a reader that waits for the end of our output is tied to it.
func TestSpawnDetaches(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), spawnHelper+"=1")
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	cmd.ExtraFiles = []*os.File{writer} // as "exec 3>&1" in a shell would
	out, err := cmd.Output()            // ends only when nobody holds the other end of the pipe any more
	if err != nil {
		t.Fatal(err)
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Errorf("end the command: %v", err)
		}
	}()
	if !At("/").Alive(pid) {
		t.Fatal("the command ended with its parent")
	}
	if sid, err := unix.Getsid(pid); err != nil || sid != pid {
		t.Errorf("session %d, %v; want one of its own, %d", sid, err, pid)
	}
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	var open []string
	for _, fd := range fds {
		target, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, fd.Name()))
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, target)
	}
	if !slices.Equal(open, []string{os.DevNull, os.DevNull, os.DevNull}) {
		t.Errorf("open files %v, want three times %s", open, os.DevNull)
	}
}

func TestSpawnError(t *testing.T) {
	if _, err := At("/").Spawn(Cmd{Name: "/no/such/program"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v, want %v", err, os.ErrNotExist)
	}
}

// Two runs can't work in the same directory, and a spawned command does not keep it taken.
func TestLock(t *testing.T) {
	r := rootWith(t, map[string]string{"/work/file": "", "/link": "->/work"})
	unlock, err := r.Lock("/work")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"/work", "/link"} {
		if _, err := At(r.Root()).Lock(name); !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s while it is taken: %v, want %v", name, err, ErrBusy)
		}
	}
	pid, err := r.Spawn(Cmd{Name: "sleep", Args: []string{"600"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Kill(pid, syscall.SIGKILL) }()
	unlock()
	again, err := r.Lock("/work")
	if err != nil {
		t.Fatalf("after unlock: %v", err)
	}
	again()
	none, err := r.Lock("/not/there")
	if err != nil {
		t.Fatalf("a directory that is not there yet: %v", err)
	}
	none()
	wantNames(t, r, "/work", "file")
}

// Output that somebody asked for is in no error.
func TestRunOutputOfTheCallers(t *testing.T) {
	var said strings.Builder
	err := At("/").Run(context.Background(), Cmd{Name: "sh", Args: []string{"-c", "echo out; echo err >&2; exit 2"}, Output: &said})
	if err == nil || strings.Contains(err.Error(), "out\n") || !strings.HasSuffix(err.Error(), "exit status 2") || said.String() != "out\nerr\n" {
		t.Errorf("error %v, output %q", err, said.String())
	}
}

// A command that is stopped takes what it has started along, even what does not listen.
func TestRunEndsTheWholeGroup(t *testing.T) {
	pidFile := filepath.Join(t.TempDir(), "pid")
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	script := `(trap "" TERM; sleep 1000 & echo $! >` + pidFile + `; wait; sleep 1000) & trap "exit 0" TERM; wait`
	start := time.Now()
	err := At("/").Run(ctx, Cmd{Name: "sh", Args: []string{"-c", script}})
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 20*time.Second {
		t.Errorf("error %v after %v", err, time.Since(start))
	}
	text, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	stat := "/proc/" + strings.TrimSpace(string(text)) + "/stat"
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) { // a signal takes its time
		state, err := os.ReadFile(stat)
		if err != nil || strings.Contains(string(state), ") Z ") {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("still there: %s", state)
		}
	}
}

// What a command leaves behind on purpose, such as a daemon that it starts again, is neither waited for nor ended.
func TestRunLeavesDaemonsAlone(t *testing.T) {
	pidFile := filepath.Join(t.TempDir(), "pid")
	if err := At("/").Run(context.Background(), Cmd{Name: "sh", Args: []string{"-c", "sleep 1000 & echo $! >" + pidFile}}); err != nil {
		t.Error(err)
	}
	text, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Errorf("the daemon is gone: %v", err)
	}
}
