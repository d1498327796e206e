package steps

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"syscall"

	"github.com/balena-community/balena-migrate/schema"
)

// Hinted is an error that knows what helps.
type Hinted struct {
	Err  error
	Hint string
}

// Error implements error.
func (h *Hinted) Error() string { return h.Err.Error() }

// Unwrap returns the error itself.
func (h *Hinted) Unwrap() error { return h.Err }

// WithHint says what the reader of err can do.
func WithHint(err error, hint string) error {
	if err == nil {
		return nil
	}
	return &Hinted{Err: err, Hint: hint}
}

// Explain makes a failure presentable: one line, and a hint where one is known.
func Explain(err error) *schema.Error {
	text := strings.TrimPrefix(err.Error(), ErrPartial.Error()+"\n")
	return &schema.Error{Message: strings.ReplaceAll(text, "\n", "; "), Hint: hint(err)}
}

func hint(err error) string {
	var h *Hinted
	var invalid *schema.Invalid
	switch {
	case errors.As(err, &h):
		return h.Hint
	case errors.As(err, &invalid):
		return invalid.Remedy()
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return "it was interrupted; run it again, it goes on where it stopped"
	case errors.Is(err, syscall.ENOSPC):
		return "make room in this file system, or choose another with --work-dir"
	case errors.Is(err, syscall.EROFS):
		return "the file system is mounted read-only; look for disk errors in dmesg before you remount it"
	case errors.Is(err, fs.ErrPermission):
		return "run it as root, e.g. with sudo"
	case errors.Is(err, ErrPartial):
		return "run it again, it goes on where it stopped"
	}
	return ""
}
