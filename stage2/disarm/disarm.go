// Package disarm puts a boot configuration back as it was before arm-boot, byte for byte. The running system and
// stage 2 share it: what differs is only where the files are found.
package disarm

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/grubenv"
	"github.com/balena-community/balena-migrate/steps/host"
)

// RecordName is the file name of the record (armed/1) in the work dir.
const RecordName = "armed.json"

// The fence around what arm-boot adds to a text file that others own too.
const (
	FenceBegin = "### BEGIN balena-migrate: one boot into the migration; `balena-migrate disarm` removes it ###"
	FenceEnd   = "### END balena-migrate ###"
)

// Mark begins a line of another's that is switched off while armed: behind it the line stands as it was.
const Mark = "#balena-migrate: "

// State is a file that is there or not.
type State struct {
	Data   []byte
	Exists bool
}

// Equal says whether two states are the same.
func (s State) Equal(o State) bool { return s.Exists == o.Exists && bytes.Equal(s.Data, o.Data) }

// Read returns the state of a file.
func Read(r host.Reader, name string) (State, error) {
	data, err := r.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return State{}, nil
	}
	return State{Data: data, Exists: err == nil}, err
}

// Restored says what a file should be when disarmed, from what it is now. A file that somebody else changed in the
// meantime keeps that change and only loses what is ours.
func Restored(f schema.ArmedFile, now State) State {
	original := State{Data: f.Original, Exists: f.Existed}
	if !now.Exists || Sum(now.Data) == f.ArmedSHA256 {
		return original
	}
	switch f.Restore {
	case schema.RestoreGrubenv:
		return restoredEnv(original, now)
	case schema.RestoreFile:
		return restoredText(original, now)
	}
	return State{} // wholly ours
}

// restoredEnv clears next_entry. GRUB clears it too, with an order of its own; if nothing else differs the original
// bytes come back.
func restoredEnv(original, now State) State {
	env, err := grubenv.Parse(now.Data)
	if err != nil {
		return original // damaged: better what was whole before
	}
	was := grubenv.New()
	if original.Exists {
		if was, err = grubenv.Parse(original.Data); err != nil {
			return original
		}
	}
	if value, ok := env.Get("next_entry"); ok && value != "" && value != EntryID {
		return now // somebody else's one-shot
	}
	if bytes.Equal(without(env), without(was)) {
		return original
	}
	data, err := env.Bytes()
	if err != nil {
		return original
	}
	return State{Data: data, Exists: true}
}

// EntryID is the name of our boot menu entry.
const EntryID = "balena-migrate"

// without returns the block with next_entry removed.
func without(env *grubenv.Env) []byte {
	env.Unset("next_entry")
	data, _ := env.Bytes() // removing a variable can't make it too large
	return data
}

func restoredText(original, now State) State {
	text := Unmark(Unfence(string(now.Data)))
	if text == string(original.Data) {
		return original
	}
	return State{Data: []byte(text), Exists: true}
}

// Fence appends a block of ours to a text.
func Fence(text, block string) string {
	return text + FenceBegin + "\n" + block + FenceEnd + "\n"
}

// Unfence removes our block.
func Unfence(text string) string {
	before, rest, found := strings.Cut(text, FenceBegin+"\n")
	if !found {
		return text
	}
	_, after, found := strings.Cut(rest, FenceEnd+"\n")
	if !found {
		return text
	}
	return before + after
}

// Unmark switches the lines behind a mark on again.
func Unmark(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(strings.TrimPrefix(line, Mark))
	}
	return b.String()
}

// Sum is the SHA-256 of data in hex.
func Sum(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// Load reads the record; nil when nothing is armed.
func Load(r host.Reader, name string) (*schema.Armed, error) {
	data, err := r.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // no record is an answer
	}
	if err != nil {
		return nil, err
	}
	rec := &schema.Armed{}
	if err := schema.Decode(data, name, "armed", rec); err != nil {
		return nil, err
	}
	return rec, nil
}

// Apply puts every file back and then removes the record. at says where a file of the record lies on h. It goes on
// after an error, for each file put back lessens the danger, and reports all of them; the record then stays.
func Apply(h host.Host, rec *schema.Armed, record string, at func(schema.ArmedFile) (string, error)) error {
	var errs []error
	for _, f := range rec.Files {
		name, err := at(f)
		if err == nil {
			err = restore(h, f, name)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("restore %s: %w", f.Path, err))
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	return h.Remove(record)
}

func restore(h host.Host, f schema.ArmedFile, name string) error {
	now, err := Read(h, name)
	if err != nil {
		return err
	}
	want := Restored(f, now)
	switch {
	case want.Equal(now):
		return nil
	case !want.Exists:
		return h.Remove(name)
	}
	return h.WriteFile(name, want.Data, fs.FileMode(f.Mode))
}
