package disarm

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/grubenv"
	"github.com/balena-community/balena-migrate/steps/host"
)

func env(t *testing.T, vars ...string) []byte {
	t.Helper()
	e := grubenv.New()
	for i := 0; i < len(vars); i += 2 {
		e.Set(vars[i], vars[i+1])
	}
	data, err := e.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestRestored(t *testing.T) {
	plain, armedEnv := env(t, "saved_entry", "0"), env(t, "saved_entry", "0", "next_entry", EntryID)
	cfg := Fence("menuentry x {}\n", "menuentry balena {}\n")
	tests := []struct {
		name    string
		restore string
		orig    State
		armed   []byte
		now     State
		want    State
	}{
		{"as armed", schema.RestoreFile, State{[]byte("a"), true}, []byte("b"), State{[]byte("b"), true}, State{[]byte("a"), true}},
		{"as armed, was absent", schema.RestoreFile, State{}, []byte("b"), State{[]byte("b"), true}, State{}},
		{"already gone", schema.RestoreFile, State{}, []byte("b"), State{}, State{}},
		{"lost", schema.RestoreFile, State{[]byte("a"), true}, []byte("b"), State{}, State{[]byte("a"), true}},
		{"others added", schema.RestoreFile, State{[]byte("menuentry x {}\n"), true}, []byte(cfg), State{[]byte(cfg + "more\n"), true}, State{[]byte("menuentry x {}\nmore\n"), true}},
		{"GRUB cleared it", schema.RestoreGrubenv, State{plain, true}, armedEnv, State{env(t, "saved_entry", "0", "next_entry", ""), true}, State{plain, true}},
		{"GRUB cleared it, saved_entry moved on", schema.RestoreGrubenv, State{plain, true}, armedEnv, State{env(t, "saved_entry", "1", "next_entry", ""), true}, State{env(t, "saved_entry", "1"), true}},
		{"another's one-shot", schema.RestoreGrubenv, State{plain, true}, armedEnv, State{env(t, "next_entry", "memtest"), true}, State{env(t, "next_entry", "memtest"), true}},
		{"damaged", schema.RestoreGrubenv, State{plain, true}, armedEnv, State{[]byte("x"), true}, State{plain, true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := schema.ArmedFile{Restore: tt.restore, Existed: tt.orig.Exists, Original: tt.orig.Data, ArmedSHA256: Sum(tt.armed)}
			if got := Restored(f, tt.now); !got.Equal(tt.want) {
				t.Errorf("got %v %q, want %v %q", got.Exists, got.Data, tt.want.Exists, tt.want.Data)
			}
		})
	}
}

func TestApplyGoesOnAfterAnErrorAndKeepsTheRecord(t *testing.T) {
	root := t.TempDir()
	h := host.At(root)
	put := func(name, text string) {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("a", "armed")
	put("armed.json", "{}")
	rec := &schema.Armed{Files: []schema.ArmedFile{
		{Restore: schema.RestoreFile, Path: "/lost", FSPath: "/lost"},
		{Restore: schema.RestoreFile, Path: "/a", FSPath: "/a", Existed: true, Mode: 0o644, Original: []byte("was"), ArmedSHA256: Sum([]byte("armed"))},
	}}
	at := func(f schema.ArmedFile) (string, error) {
		if f.Path == "/lost" {
			return "", fs.ErrNotExist
		}
		return f.FSPath, nil
	}
	if err := Apply(h, rec, "/armed.json", at); err == nil || !strings.Contains(err.Error(), "/lost") {
		t.Errorf("error %v, want one that names /lost", err)
	}
	if got, _ := h.ReadFile("/a"); string(got) != "was" {
		t.Errorf("a is %q", got)
	}
	if _, err := h.Stat("/armed.json"); err != nil {
		t.Errorf("the record is gone: %v", err)
	}
	rec.Files = rec.Files[1:]
	if err := Apply(h, rec, "/armed.json", at); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Stat("/armed.json"); err == nil {
		t.Error("the record is still there")
	}
}
