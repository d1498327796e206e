package steps_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/host/hosttest"
)

// A stamp holds as long as its files look the same, and no longer.
func TestStamp(t *testing.T) {
	past := time.Date(2020, 1, 2, 3, 4, 5, 6, time.UTC)
	cases := map[string]struct {
		change func(h *hosttest.Host, file string) error
		recipe string
		fresh  bool
	}{
		"nothing happened":  {recipe: "recipe", fresh: true},
		"another recipe":    {recipe: "other"},
		"another size":      {recipe: "recipe", change: func(_ *hosttest.Host, f string) error { return os.Truncate(f, 3) }},
		"another time":      {recipe: "recipe", change: func(_ *hosttest.Host, f string) error { return os.Chtimes(f, past, past.Add(1)) }},
		"gone":              {recipe: "recipe", change: func(_ *hosttest.Host, f string) error { return os.Remove(f) }},
		"a directory now":   {recipe: "recipe", change: func(_ *hosttest.Host, f string) error { return errors.Join(os.Remove(f), os.Mkdir(f, 0o700)) }},
		"a link to another": {recipe: "recipe", change: func(_ *hosttest.Host, f string) error { return errors.Join(os.Remove(f), os.Symlink("other", f)) }},
		"replaced by one of the same size and time": {recipe: "recipe", change: func(h *hosttest.Host, f string) error {
			err := h.WriteFile("/d/file", []byte("CONTENT"), 0o644) // a new inode
			return errors.Join(err, os.Chtimes(f, past, past))
		}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			h := hosttest.New(t, map[string]string{"/d/file": "content", "/d/other": "content"})
			file := filepath.Join(h.Root(), "/d/file")
			if err := os.Chtimes(file, past, past); err != nil {
				t.Fatal(err)
			}
			seen, err := steps.Digest(context.Background(), h, "/d/file")
			if err != nil {
				t.Fatal(err)
			}
			// printf content | sha256sum
			if want := "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73"; seen.SHA256 != want || seen.Size != 7 {
				t.Errorf("digest %+v, want %s of 7 bytes", seen, want)
			}
			err = steps.SaveStamp(h, "/stamp", &schema.Stamp{Recipe: "recipe", Files: []schema.FileStamp{seen}})
			if err != nil {
				t.Fatal(err)
			}
			if c.change != nil {
				if err := c.change(h, file); err != nil {
					t.Fatal(err)
				}
			}
			stamp := steps.LoadStamp(h, "/stamp")
			if stamp == nil || stamp.Files[0] != seen {
				t.Fatalf("stamp %+v, want what was saved", stamp)
			}
			if got := steps.Fresh(h, stamp, c.recipe); got != c.fresh {
				t.Errorf("fresh %v, want %v", got, c.fresh)
			}
		})
	}
}

// A stamp that is missing or damaged is none: the truth is found out again.
func TestLoadStampDistrusts(t *testing.T) {
	h := hosttest.New(t, map[string]string{"/empty": "", "/text": "stamp", "/other": `{"schema":"stamp/2","recipe":"","files":[],"facts":{}}`})
	for _, name := range []string{"/missing", "/empty", "/text", "/other"} {
		if s := steps.LoadStamp(h, name); s != nil {
			t.Errorf("%s: %+v, want none", name, s)
		}
	}
	if steps.Fresh(h, nil, "") {
		t.Error("no stamp is fresh")
	}
}

// A digest can be interrupted, and is never of half a file; what is no file has none.
func TestDigestErrors(t *testing.T) {
	h := hosttest.New(t, map[string]string{"/d/file": "content"})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if s, err := steps.Digest(ctx, h, "/d/file"); !errors.Is(err, context.Canceled) || s.SHA256 != "" {
		t.Errorf("interrupted: %+v, %v", s, err)
	}
	for _, name := range []string{"/d", "/missing"} {
		if s, err := steps.Digest(context.Background(), h, name); err == nil || !strings.Contains(fmt.Sprint(err), name) {
			t.Errorf("%s: %+v, %v; want an error that names it", name, s, err)
		}
	}
}
