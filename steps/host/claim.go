package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Claim is a file that is locked for a process and for the one that it hands the lock to. The kernel lets go of it when
// the last of them has ended, whatever ended them.
type Claim struct{ f *os.File }

// claimFD is where a detached process finds the lock: the first descriptor behind the standard ones.
const claimFD = 3

// Claim takes the lock of a file by flock(2). Where it belongs to another process the error is ErrBusy; where there is no
// such file it is made, unless make is false: then nobody can hold it, and the claim is nil.
func (r *Rooted) Claim(name string, make bool) (*Claim, error) {
	p, err := r.find(name)
	if err != nil {
		return nil, err
	}
	flags := os.O_RDWR
	if make {
		flags |= os.O_CREATE
	}
	f, err := os.OpenFile(p, flags, 0o600)
	if errors.Is(err, fs.ErrNotExist) && !make {
		return nil, nil //nolint:nilnil // documented
	}
	if err != nil {
		return nil, named(err, name)
	}
	if err := flock(f, name); err != nil {
		return nil, err
	}
	return &Claim{f}, nil
}

// Release lets go of the lock, unless a detached process has it too.
func (c *Claim) Release() {
	if c != nil {
		_ = c.f.Close() // closing is what releases it
	}
}

// Detach starts a program in a session of its own, which no closing connection ends, with input on its standard input, what
// it says in the file log (0600, made anew) and the claim in its hands. The input is nowhere but in a pipe.
func (r *Rooted) Detach(cmd Cmd, input []byte, log string, c *Claim) error {
	out, err := r.fresh(log)
	if err != nil {
		return err
	}
	defer out.Close()
	in, feed, err := os.Pipe()
	if err != nil {
		return err
	}
	defer feed.Close()
	p := command(context.Background(), cmd)
	p.Stdin, p.Stdout, p.Stderr, p.ExtraFiles = in, out, out, []*os.File{c.f}
	p.Dir = "/"
	p.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	keepFiles()
	err = p.Start()
	_ = in.Close() // the child has its own
	if err != nil {
		return &ExitError{Cmd: cmd, Err: err}
	}
	if _, err := feed.Write(input); err != nil {
		return &ExitError{Cmd: cmd, Err: fmt.Errorf("it did not take its input: %w", err)}
	}
	return p.Process.Release()
}

// fresh opens an empty file for its owner alone.
func (r *Rooted) fresh(name string) (*os.File, error) {
	p, err := r.find(name)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(p, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return nil, named(err, name)
	}
	return f, nil
}

// KeepClaim is for a detached process: what it starts itself does not get the claim, so that a program that a script
// leaves behind does not look like work that is still done.
func KeepClaim() { unix.CloseOnExec(claimFD) }
