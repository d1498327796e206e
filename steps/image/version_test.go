package image

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps/device/balena"
	"github.com/balena-community/balena-migrate/steps/steptest"
)

// cloud answers as balena's API does, for one device type that has flasher images only, or raw ones as well.
type cloud struct {
	t        *testing.T
	mu       sync.Mutex
	versions []string
	files    map[string][]byte // by imageType
	asked    []string
	fault    func(n int, w http.ResponseWriter, r *http.Request) bool
	key      string
}

func (c *cloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = append(c.asked, r.URL.Path+" "+q.Get("imageType")+" "+q.Get("version"))
	if c.fault != nil && c.fault(len(c.asked), w, r) {
		return
	}
	if r.Header.Get("Authorization") != c.key {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	switch r.URL.Path {
	case "/v7/release":
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		var rows []string
		for _, v := range c.versions {
			rows = append(rows, fmt.Sprintf(`{"raw_version":%q,"belongs_to__application":[{"slug":"balena_os/x"}]}`, v))
		}
		fmt.Fprintf(w, `{"d":[%s]}`, strings.Join(rows, ","))
	case "/download":
		file := c.files[q.Get("imageType")]
		if file == nil {
			http.Error(w, `"not supported"`, http.StatusBadRequest)
			return
		}
		for part := range slices.Chunk(file, 256<<10) { // no length is told
			if _, err := w.Write(part); err != nil {
				return
			}
			_ = http.NewResponseController(w).Flush()
		}
	default:
		http.NotFound(w, r)
	}
}

func (c *cloud) bench(t *testing.T) *bench {
	t.Helper()
	c.t = t
	web := httptest.NewServer(c)
	t.Cleanup(web.Close)
	t.Setenv(balena.TokenVariable, "")
	b := newBench(t, nil)
	b.in.Config.Image.Path, b.in.Config.Image.Version = "", "^6"
	b.in.Config.Balena.APIURL, b.in.Config.Balena.ConfigJSON = web.URL, "/srv/config.json"
	b.Put("/srv/config.json", `{"deviceType":"genericx86-64-ext","apiEndpoint":"`+web.URL+`","apiKey":"`+canary+`"}`)
	c.key = "Bearer " + canary
	return b
}

// P3, P27–P30: without a file the version that is wished for is downloaded, once, and the key stays where it was.
func TestVersion(t *testing.T) {
	raw := balenaImage(t)
	flasher := balenaFlasher(t)
	flasher.root[innerName] = string(raw)
	delete(flasher.boot, "config.json") // it would hold the canary
	for name, files := range map[string]map[string][]byte{
		"raw": {balena.Raw: pack(t, raw), balena.Flasher: []byte("never asked for")}, "flasher": {balena.Flasher: pack(t, flasher.build(t))},
	} {
		t.Run(name, func(t *testing.T) {
			c := &cloud{versions: []string{"5.9.9", "6.1.2", "6.1.24", "7.0.0"}, files: files}
			b := c.bench(t)
			res := steptest.Laws(t, Step{}, b.run, b.in, canary)
			if !bytes.Equal(b.unpacked(t), raw) || res.Facts.Image.Flasher != (name == "flasher") || res.Facts.Image.OSVersion != "6.1.2" {
				t.Errorf("not the image: %+v", res.Facts.Image)
			}
			want := []string{"/v7/release  ", "/download raw 6.1.24", "/download raw 6.1.24"}
			if name == "flasher" {
				want = []string{"/v7/release  ", "/download raw 6.1.24", "/download flasher 6.1.24", "/download flasher 6.1.24"}
			}
			if len(c.asked) < len(want) || !slices.Equal(c.asked[len(c.asked)-len(want):], want) {
				t.Errorf("asked %q", c.asked)
			}
			if slices.Contains(b.visible(t), downloadName) || slices.Contains(b.visible(t), noteName) {
				t.Errorf("left: %v", b.visible(t))
			}
			b.noCanary(t)
			c.asked, c.versions = nil, []string{"6.9.9"}
			if res, err := b.run.Converge(t.Context(), Step{}, b.in); err != nil || res.Changed || len(c.asked) > 0 {
				t.Errorf("asked again: %q, error %v", c.asked, err)
			}
			b.in.Config.Image.Version = "6.9.9"
			if res, err := b.run.Converge(t.Context(), Step{}, b.in); err != nil || !res.Changed {
				t.Errorf("another wish changed nothing: error %v", err)
			}
		})
	}
}

// noCanary looks for the key in all files of the work dir.
func (b *bench) noCanary(t *testing.T) {
	t.Helper()
	for _, name := range b.visible(t) {
		if data, err := b.ReadFile(workDir + "/" + name); err == nil && bytes.Contains(data, []byte(canary)) {
			t.Errorf("the key is in %s", name)
		}
	}
}

// A transfer that is cut begins anew, for the server can't go on in the middle.
func TestVersionCut(t *testing.T) {
	raw := balenaDisk().build(t)
	file := pack(t, raw)
	c := &cloud{versions: []string{"6.1.2"}, files: map[string][]byte{balena.Raw: file}}
	c.fault = func(n int, w http.ResponseWriter, r *http.Request) bool {
		if n != 3 {
			return false
		}
		_, _ = w.Write(file[:len(file)/2])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	b := c.bench(t)
	if res, err := b.run.Converge(t.Context(), Step{}, b.in); err != nil || res.Status != schema.Converged || !bytes.Equal(b.unpacked(t), raw) {
		t.Errorf("%s, error %v", res.Msg, err)
	}
}

// What can't be had blocks, with a remedy, before anything is written.
func TestVersionRefusals(t *testing.T) {
	for _, tt := range []struct {
		name, check, want string
		edit              func(b *bench, c *cloud)
	}{
		{"no such version", "image", "none of 1 versions, the latest being 6.1.2, suits ~7", func(b *bench, _ *cloud) { b.in.Config.Image.Version = "~7" }},
		{"no version", "image", `config.image.version: version "newest"`, func(b *bench, _ *cloud) { b.in.Config.Image.Version = "newest" }},
		{"bad key", "image", "status 401", func(_ *bench, c *cloud) { c.key = "Bearer other" }},
		{"no image", "image", "raw image: status 400: not supported; balenaOS 6.1.2 for genericx86-64-ext, flasher image: status 400", func(*bench, *cloud) {}},
		{"no device type", "image", "no device type", func(b *bench, _ *cloud) { b.Put("/srv/config.json", "{}") }},
		{"bad device type", "image", "", func(b *bench, _ *cloud) { b.in.Config.Image.DeviceType = "x" }},
		{"open token file", "image", "chmod 600", func(b *bench, _ *cloud) {
			b.Put("/token", canary)
			b.in.Config.Balena.TokenFile = "/token"
		}},
	} {
		c := &cloud{versions: []string{"6.1.2"}}
		b := c.bench(t)
		tt.edit(b, c)
		res, err := b.run.Converge(t.Context(), Step{}, b.in)
		if err != nil || len(res.Blocked) != 1 || res.Blocked[0].Check != tt.check || !strings.Contains(res.Msg, tt.want) || res.Blocked[0].Remedy == "" || strings.Contains(res.Msg, canary) {
			t.Errorf("%s: %q, blocked %+v, error %v", tt.name, res.Msg, res.Blocked, err)
		}
		if got := b.visible(t); len(got) > 0 {
			t.Errorf("%s: work dir holds %v", tt.name, got)
		}
	}
}

// A server that can't be reached is an error of the program, not of the device.
func TestVersionWithoutServer(t *testing.T) {
	c := &cloud{}
	b := c.bench(t)
	b.in.Config.Balena.APIURL = "http://127.0.0.1:1"
	ctx, cancel := contextSoon(t)
	defer cancel()
	if _, err := b.run.Converge(ctx, Step{}, b.in); err == nil || strings.Contains(err.Error(), canary) {
		t.Errorf("error %v", err)
	}
}

func contextSoon(t *testing.T) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), 500*time.Millisecond)
}
