package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ExitError is a command that ended badly, with the last of what it printed.
type ExitError struct {
	Cmd    Cmd
	Err    error
	Output string
}

// Error shows the command as a person would type it.
func (e *ExitError) Error() string {
	text := fmt.Sprintf("%s: %v", e.Cmd, e.Err)
	if e.Output != "" {
		text += ": " + e.Output
	}
	return text
}

// Unwrap returns the cause.
func (e *ExitError) Unwrap() error { return e.Err }

// String quotes the command line.
func (c Cmd) String() string {
	words := append([]string{c.Name}, c.Args...)
	for i, w := range words {
		if w == "" || strings.ContainsAny(w, " \t\n\"'\\$`") {
			words[i] = fmt.Sprintf("%q", w)
		}
	}
	return strings.Join(words, " ")
}

// Run implements Host. Output goes into the error only: a step's standard output is its result. When ctx ends, so does
// everything that the command has started.
func (r *Rooted) Run(ctx context.Context, cmd Cmd) error {
	tail := &tail{limit: 2048}
	c := command(ctx, cmd)
	c.Stdout, c.Stderr = tail, tail
	if cmd.Output != nil {
		c.Stdout, c.Stderr = cmd.Output, cmd.Output
	}
	group(c)
	err := c.Run()
	if ctx.Err() != nil && c.Process != nil {
		_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL) // the last of the group; mostly there is none
	}
	if err != nil && (!errors.Is(err, exec.ErrWaitDelay) || ctx.Err() != nil) { // its output is held open by what it left behind
		if ctx.Err() != nil {
			err = ctx.Err() // "signal: killed" would be our own doing
		}
		return &ExitError{Cmd: cmd, Err: err, Output: tail.text()}
	}
	return nil
}

// Spawn implements Host: a session of its own and no open files, so that neither a closing ssh connection nor a
// waiting reader of our output is tied to it.
func (r *Rooted) Spawn(cmd Cmd) (int, error) {
	c := command(context.Background(), cmd)
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	keepFiles()
	if err := c.Start(); err != nil {
		return 0, &ExitError{Cmd: cmd, Err: err}
	}
	pid := c.Process.Pid
	return pid, c.Process.Release()
}

// keepFiles keeps files that we were started with from our children: Go opens all of its own like that, but what a shell
// gave us (exec 3>&1) would stay open in a child for as long as it lives.
func keepFiles() {
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return // no /proc: the child then has them, which harms only who waits for their end
	}
	for _, fd := range fds {
		if n, err := strconv.Atoi(fd.Name()); err == nil && n > 2 {
			unix.CloseOnExec(n)
		}
	}
}

// group gives a command a process group of its own, which is asked to end with its context, and then made to: a shell
// that dies alone leaves what it has started, and who holds its output open is waited for.
func group(c *exec.Cmd) {
	const patience = 5 * time.Second
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGTERM) }
	c.WaitDelay = patience
}

// command is the one place of the project that starts programs.
func command(ctx context.Context, cmd Cmd) *exec.Cmd {
	c := exec.CommandContext(ctx, cmd.Name, cmd.Args...)
	c.Dir = cmd.Dir
	return c
}

// tail keeps the last bytes written to it.
type tail struct {
	limit int
	buf   []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - t.limit; over > 0 {
		t.buf = t.buf[over:]
	}
	return len(p), nil
}

// text is the tail as text: where it begins, and between two writes, a character may be cut in two.
func (t *tail) text() string { return strings.TrimSpace(strings.ToValidUTF8(string(t.buf), "?")) }
