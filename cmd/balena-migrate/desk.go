package main

import (
	"bytes"
	"io"
	"path/filepath"
	"time"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/host"
)

// The files of a detached step, in the folder worker of the work dir, for root alone. The lock is held for as long as
// something works.
const (
	lockName     = "lock"
	noteName     = "worker.json"
	ownerName    = "owner"
	progressName = "progress.json"
	resultName   = "result.json"
	earlierName  = "earlier.json"
	logName      = "log"
)

func deskDir(workDir string) string { return filepath.Join(workDir, "worker") }

// desk is where a detached step and its callers leave each other notes.
type desk struct {
	files *host.Rooted
	dir   string
}

func (d desk) file(name string) string { return filepath.Join(d.dir, name) }

func (d desk) now() string { return d.files.Now().UTC().Format(time.RFC3339) }

// claim takes the lock. Only work makes the folder: who only looks writes nothing.
func (d desk) claim(work bool) (*host.Claim, error) {
	if work {
		for _, dir := range []string{filepath.Dir(d.dir), d.dir} { // parents would be for all to read
			if err := d.files.MkdirAll(dir, 0o700); err != nil {
				return nil, err
			}
		}
	}
	return d.files.Claim(d.file(lockName), work)
}

// note is the last step's; nil if there is none that can be read.
func (d desk) note() *schema.Worker { return d.load(noteName) }

// owner is the task that the last step works for. It is a file of its own, as the note is the worker's to write while it works.
func (d desk) owner() string {
	data, err := d.files.ReadFile(d.file(ownerName))
	if err != nil {
		return ""
	}
	return string(data)
}

func (d desk) own(run string) error {
	return d.files.WriteFile(d.file(ownerName), []byte(run), 0o600)
}

// progress is the newest word of the step; nil if there is none.
func (d desk) progress() *schema.WorkerProgress {
	if w := d.load(progressName); w != nil {
		return w.Progress
	}
	return nil
}

func (d desk) load(name string) *schema.Worker {
	data, err := d.files.ReadFile(d.file(name))
	if err != nil {
		return nil
	}
	w := &schema.Worker{}
	if schema.Decode(data, name, "worker", w) != nil {
		return nil
	}
	return w
}

func (d desk) save(w *schema.Worker) error {
	data, err := schema.Encode(w)
	if err != nil {
		return err
	}
	return d.files.WriteFile(d.file(noteName), data, 0o600)
}

// clear removes what another step left. A result that nobody has seen is kept as the earlier one.
func (d desk) clear(unseen bool) error {
	if data, err := d.files.ReadFile(d.file(resultName)); unseen && err == nil {
		if err := d.files.WriteFile(d.file(earlierName), data, 0o600); err != nil {
			return err
		}
	}
	for _, name := range []string{resultName, progressName} {
		if err := d.files.Remove(d.file(name)); err != nil {
			return err
		}
	}
	return nil
}

// amend gives a result the changes that an earlier process made for the same request and nobody was told of: the device
// was changed for this caller, though by now there is nothing left to do.
func (d desk) amend(res *schema.Result) {
	data, err := d.files.ReadFile(d.file(earlierName))
	if err != nil || res.Status != schema.Converged {
		return
	}
	earlier := schema.NewResult("")
	if schema.Decode(data, earlierName, "result", earlier) != nil || earlier.Status != schema.Converged || !earlier.Changed {
		return
	}
	res.Changed = true
	res.Changes = append(earlier.Changes, res.Changes...)
	res.Msg = earlier.Msg
}

// leave puts the result down, then says that it is there.
func (d desk) leave(result []byte, code int) error {
	if err := d.files.WriteFile(d.file(resultName), result, 0o600); err != nil {
		return err
	}
	note := d.note()
	if note == nil {
		return nil // the folder was removed: nobody waits
	}
	note.Ended, note.Code = d.now(), code
	if err := d.files.Remove(d.file(earlierName)); err != nil {
		return err
	}
	return d.save(note)
}

// reportEvery bounds how often progress is written: it is no news more often, and an SD card has better things to do.
const reportEvery = 500 * time.Millisecond

// reporter writes progress in place, one record of a fixed size by one write(2), without a sync: nothing depends on it.
func (d desk) reporter() steps.Progress {
	var what string
	var began, last time.Time
	var f host.Part
	return func(now string, done, total int64) {
		t := time.Now()
		if now != what {
			what, began, last = now, t, time.Time{}
		}
		if t.Sub(last) < reportEvery {
			return
		}
		last = t
		data, err := schema.Encode(&schema.Worker{Schema: schema.WorkerName, Progress: &schema.WorkerProgress{
			What: what, Done: done, Total: max(total, 0), Seconds: t.Sub(began).Seconds(),
		}})
		if err == nil && f == nil {
			f, err = d.files.OpenPart(d.file(progressName), 0o600)
		}
		if err != nil {
			return
		}
		if _, err := f.Seek(0, io.SeekStart); err == nil {
			_, _ = f.Write(append(data, bytes.Repeat([]byte{' '}, max(0, 1024-len(data)))...)) // it is only for the eyes
		}
	}
}

// logTail is how much of a log a caller is given, in bytes.
const logTail = 16 << 10

// copyLog hands the end of the step's log on.
func (d desk) copyLog(to io.Writer) {
	data, err := d.files.ReadFile(d.file(logName))
	if err != nil {
		return
	}
	_, _ = to.Write(data[max(0, len(data)-logTail):]) // standard error: there is nobody to tell
}
