package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// pollInterval is the pause between two looks at a condition.
const pollInterval = 200 * time.Millisecond

// tailLength is how much of the console an error carries, in bytes.
const tailLength = 3000

// Causes of a WaitError.
var (
	ErrTimeout = errors.New("timeout")
	ErrExited  = errors.New("machine is off")
)

// WaitError says that a machine did not do what was waited for.
type WaitError struct {
	What  string        // what was waited for
	After time.Duration // how long
	Cause error         // ErrTimeout, ErrExited, or that of the context
	Tail  string        // end of the console
}

// Error gives the cause, then the end of the console.
func (e *WaitError) Error() string {
	return fmt.Sprintf("wait for %s, ended after %.1f s: %v; the console ends with:\n%s",
		e.What, e.After.Seconds(), e.Cause, e.Tail)
}

// Unwrap returns the cause.
func (e *WaitError) Unwrap() error { return e.Cause }

// wait looks at a condition until it holds. When the machine goes off, it looks a last time.
func (vm *VM) wait(ctx context.Context, what string, timeout time.Duration, holds func() bool) error {
	start := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, ErrTimeout)
	defer cancel()
	fail := func(cause error) error {
		return &WaitError{What: what, After: time.Since(start), Cause: cause, Tail: vm.tail()}
	}
	for !holds() {
		select {
		case <-ctx.Done():
			return fail(context.Cause(ctx))
		case <-vm.exited:
			if holds() {
				return nil
			}
			return fail(fmt.Errorf("%w (%v) %s", ErrExited, vm.cmd.ProcessState, strings.TrimSpace(vm.stderr.String())))
		case <-time.After(pollInterval):
		}
	}
	return nil
}

// WaitExit waits until the machine has switched itself off. A QEMU that failed is an error.
func (vm *VM) WaitExit(ctx context.Context, timeout time.Duration) error {
	off := func() bool {
		select {
		case <-vm.exited:
			return true
		default:
			return false
		}
	}
	if err := vm.wait(ctx, "the machine to switch off", timeout, off); err != nil {
		return err
	}
	if vm.err != nil {
		return fmt.Errorf("QEMU: %w: %s", vm.err, strings.TrimSpace(vm.stderr.String()))
	}
	return nil
}

func (vm *VM) consolePath() string { return filepath.Join(vm.dir, "console.log") }

// ConsoleSize returns the length of the console so far, in bytes: an offset for WaitConsole.
func (vm *VM) ConsoleSize() int64 {
	info, err := os.Stat(vm.consolePath())
	if err != nil {
		return 0
	}
	return info.Size()
}

// Console returns the console from an offset on.
func (vm *VM) Console(from int64) (string, error) {
	file, err := os.Open(vm.consolePath())
	if err != nil {
		return "", fmt.Errorf("console: %w", err)
	}
	defer file.Close()
	if _, err := file.Seek(from, io.SeekStart); err != nil {
		return "", fmt.Errorf("console from %d: %w", from, err)
	}
	text, err := io.ReadAll(file)
	return string(text), err
}

// WaitConsole waits until the console, from an offset on, matches, and returns the match and its
// groups.
func (vm *VM) WaitConsole(ctx context.Context, want *regexp.Regexp, from int64, timeout time.Duration) ([]string, error) {
	var match []string
	err := vm.wait(ctx, fmt.Sprintf("console line %q", want), timeout, func() bool {
		text, err := vm.Console(from)
		match = want.FindStringSubmatch(text)
		return err == nil && match != nil
	})
	return match, err
}

// tail returns the end of the console without what a terminal would not show.
func (vm *VM) tail() string {
	text, err := vm.Console(max(0, vm.ConsoleSize()-tailLength))
	if err != nil {
		return err.Error()
	}
	return plain(text)
}

var (
	escapeSequence = regexp.MustCompile(`\x1b\[[0-9;?]*[A-Za-z]`)
	emptyLines     = regexp.MustCompile(`(\s*\n){3,}`)
)

// plain removes terminal escapes and runs of empty lines.
func plain(text string) string {
	text = escapeSequence.ReplaceAllString(strings.ReplaceAll(text, "\r", ""), "")
	return emptyLines.ReplaceAllString(text, "\n\n")
}
