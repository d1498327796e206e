package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/host"
	"github.com/balena-community/balena-migrate/steps/steptest"
)

// server serves one file as servers do, except where it is told to misbehave.
type server struct {
	mu   sync.Mutex
	file []byte
	tag  string
	// asked are the ranges that were asked for, one for each request.
	asked []string
	// fault, if it is not nil, is asked first; true says that it has answered.
	fault func(n int, w http.ResponseWriter, r *http.Request) bool
	url   string
}

const query = "/balena.img.gz?sig=canary-signature"

func newServer(t *testing.T, file []byte) *server {
	t.Helper()
	s := &server{file: file, tag: `"one"`}
	h := httptest.NewServer(s)
	t.Cleanup(h.Close)
	s.url = h.URL + query
	return s
}

// ServeHTTP implements http.Handler.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.asked = append(s.asked, r.Header.Get("Range"))
	n, fault, file, tag := len(s.asked), s.fault, s.file, s.tag
	s.mu.Unlock()
	w.Header().Set("ETag", tag)
	if fault != nil && fault(n, w, r) {
		return
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(file))
}

// cut sends the head of the whole file and then so many bytes of what was asked for.
func (s *server) cut(w http.ResponseWriter, r *http.Request, n int) {
	c := &cutter{ResponseWriter: w, left: n}
	defer func() {
		if c.left <= 0 {
			panic(http.ErrAbortHandler) // the connection drops
		}
	}()
	http.ServeContent(c, r, "", time.Time{}, bytes.NewReader(s.file))
}

type cutter struct {
	http.ResponseWriter
	left int
}

var errCut = errors.New("cut")

// Write implements http.ResponseWriter.
func (c *cutter) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p[:min(len(p), max(c.left, 0))])
	if c.left -= len(p); c.left <= 0 {
		_ = http.NewResponseController(c.ResponseWriter).Flush()
		return n, errCut
	}
	return n, err
}

// impatient is a step that does not wait long.
type impatient struct{ tries int }

// Name implements steps.Step.
func (impatient) Name() string { return "prepare-image" }

// Plan implements steps.Step.
func (i impatient) Plan(ctx context.Context, v steps.View) (steps.Plan, error) {
	plan := steps.Plan{Facts: v.Facts}
	plan.Facts.Image = nil
	r := newRemote(newJob(v))
	r.patience = patience{tries: i.tries, first: time.Millisecond, most: 5 * time.Millisecond, idle: 300 * time.Millisecond, total: time.Minute, obey: 2 * time.Second}
	err := r.plan(ctx, v.Files, &plan)
	var ref *refusal
	if errors.As(err, &ref) {
		plan.Blocked = append(plan.Blocked, schema.Blocked(*ref))
		return plan, nil
	}
	return plan, err
}

func byURL(t *testing.T, s *server) *bench {
	t.Helper()
	b := newBench(t, nil)
	b.in.Config.Image.Path, b.in.Config.Image.URL = "", s.url
	return b
}

// arrived checks the result of a download: the image, no leftovers, and no address in any file.
func (b *bench) arrived(t *testing.T, raw []byte) {
	t.Helper()
	if !bytes.Equal(b.unpacked(t), raw) {
		t.Error("not the image")
	}
	if got := b.visible(t); !slices.Equal(got, []string{imageName, indexName, stampName}) {
		t.Errorf("work dir holds %v", got)
	}
	if stamp, err := b.ReadFile(workDir + "/" + stampName); err != nil || bytes.Contains(stamp, []byte("canary")) {
		t.Errorf("a credential in the stamp, error %v", err)
	}
}

// A second run asks the server nothing, whatever has become of its file; a new digest is a new image.
func TestDownload(t *testing.T) {
	raw := balenaDisk().build(t)
	s := newServer(t, pack(t, raw))
	b := byURL(t, s)
	b.in.Config.Image.SHA256 = sum(s.file)
	res := steptest.Laws(t, Step{}, b.run, b.in)
	b.arrived(t, raw)
	if f := res.Facts.Image; f.SourceSHA256 != sum(s.file) || f.DeviceType != "genericx86-64-ext" {
		t.Errorf("facts %+v", f)
	}
	if len(s.asked) != 3 { // check, plan, download
		t.Errorf("%d requests", len(s.asked))
	}
	raw[9*mib] ^= 1
	s.file, s.tag = pack(t, raw), `"two"`
	b.in.Config.Image.SHA256 = ""
	if res, err := b.run.Converge(t.Context(), Step{}, b.in); err != nil || res.Changed || len(s.asked) != 3 {
		t.Errorf("changed %v, %d requests, error %v", res.Changed, len(s.asked), err)
	}
	b.in.Config.Image.SHA256 = sum(s.file)
	if res, err := b.run.Converge(t.Context(), Step{}, b.in); err != nil || !res.Changed {
		t.Errorf("changed %v, error %v", res.Changed, err)
	}
	b.arrived(t, raw)
}

// Whatever the line and the server do, the image that arrives is the image.
func TestDownloadOfBadServers(t *testing.T) {
	raw := balenaDisk().build(t)
	file := pack(t, raw)
	half := len(file) / 2
	status := func(code int, header, value string, times int) func(*server) {
		return func(s *server) {
			s.fault = func(n int, w http.ResponseWriter, _ *http.Request) bool {
				if n > times {
					return false
				}
				if header != "" {
					w.Header().Set(header, value)
				}
				w.WriteHeader(code)
				return true
			}
		}
	}
	tests := []struct {
		name  string
		fault func(*server)
		want  func(asked []string) bool
	}{
		{"cut often", func(s *server) {
			s.fault = func(_ int, w http.ResponseWriter, r *http.Request) bool { s.cut(w, r, len(file)/7); return true }
		}, func(asked []string) bool { return len(asked) > 7 && strings.HasPrefix(asked[4], "bytes=") }},
		{"cut, then without ranges", func(s *server) {
			s.fault = func(n int, w http.ResponseWriter, r *http.Request) bool {
				r.Header.Del("Range")
				if n < 4 {
					s.cut(w, r, half)
				} else {
					http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(file))
				}
				return true
			}
		}, nil},
		{"cut, then another file", func(s *server) {
			s.file, s.tag = pack(t, make([]byte, len(raw))), `"old"`
			s.fault = func(n int, w http.ResponseWriter, r *http.Request) bool {
				if n == 2 {
					s.cut(w, r, 5000)
					return true
				}
				s.mu.Lock()
				defer s.mu.Unlock()
				if s.file, s.tag = file, `"new"`; n > 2 {
					w.Header().Set("ETag", s.tag)
					http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(file))
				}
				return n > 2
			}
		}, nil},
		{"cut, then another file that is not said to be one", func(s *server) {
			s.fault = func(n int, w http.ResponseWriter, r *http.Request) bool {
				if n == 2 {
					s.cut(w, r, half)
				}
				if n != 3 {
					return n == 2
				}
				r.Header.Del("If-Range")
				http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(file[:len(file)-3]))
				return true
			}
		}, nil},
		{"silent", func(s *server) {
			s.fault = func(n int, w http.ResponseWriter, r *http.Request) bool {
				if n > 3 {
					return false
				}
				w.Header().Set("Content-Length", fmt.Sprint(len(file)))
				_, _ = w.Write(file[:half])
				_ = http.NewResponseController(w).Flush()
				<-r.Context().Done()
				return true
			}
		}, nil},
		{"429 with Retry-After", status(http.StatusTooManyRequests, "Retry-After", "1", 1), nil},
		{"503 with a date", status(http.StatusServiceUnavailable, "Retry-After", "Fri, 02 Jan 2026 03:04:06 GMT", 1), nil},
		{"502 twice", status(http.StatusBadGateway, "", "", 2), nil},
		{"chunked", func(s *server) {
			s.fault = func(_ int, w http.ResponseWriter, _ *http.Request) bool {
				for p := range slices.Chunk(file, 1<<20) {
					_, _ = w.Write(p)
					_ = http.NewResponseController(w).Flush()
				}
				return true
			}
		}, nil},
		{"redirect", func(s *server) {
			s.fault = func(_ int, w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == "/there" {
					return false
				}
				http.Redirect(w, r, "/there", http.StatusTemporaryRedirect)
				return true
			}
		}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, file)
			tt.fault(s)
			b := byURL(t, s)
			res, err := b.run.Converge(t.Context(), impatient{5}, b.in)
			if err != nil || res.Status != schema.Converged {
				t.Fatal(res.Msg, err, s.asked)
			}
			b.arrived(t, raw)
			if tt.want != nil && !tt.want(s.asked) {
				t.Errorf("asked for %q", s.asked)
			}
		})
	}
}

// What can't be had ends with a reason, and nothing lies there as if it were an image.
func TestDownloadRefusals(t *testing.T) {
	raw := balenaDisk().build(t)
	file := pack(t, raw)
	answer := func(code int, headers ...string) func(int, http.ResponseWriter, *http.Request) bool {
		return func(_ int, w http.ResponseWriter, _ *http.Request) bool {
			for i := 0; i < len(headers); i += 2 {
				w.Header().Set(headers[i], headers[i+1])
			}
			w.WriteHeader(code)
			return true
		}
	}
	tests := []struct {
		name  string
		file  []byte
		fault func(int, http.ResponseWriter, *http.Request) bool
		edit  func(*schema.Migration, *bench)
		want  string
	}{
		{"404", file, answer(404), nil, "HTTP 404 Not Found"},
		{"403", file, answer(403), nil, "HTTP 403 Forbidden"},
		{"500 for ever", file, answer(500), nil, "HTTP 500 Internal Server Error (tried 3 times in a row)"},
		{"429 for an hour", file, answer(429, "Retry-After", "3600"), nil, "asked again in 1h0m0s"},
		{"redirect away from TLS", file, answer(302, "Location", "http://example.org/?canary"), nil, "address http://example.org without a digest"},
		{"redirect to a file", file, answer(302, "Location", "file:///etc/passwd"), nil, "address file://"},
		{"digest", file, nil, func(m *schema.Migration, _ *bench) { m.Config.Image.SHA256 = strings.Repeat("0", 64) }, "SHA-256 " + sum(file)},
		{"no room", file, nil, func(_ *schema.Migration, b *bench) { b.FreeBytes = int64(len(file)) }, "MiB free in"},
		{"a text", []byte(strings.Repeat("no image\n", 9999)), nil, nil, "a text"},
		{"too short each time", file, func(_ int, w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Content-Length", fmt.Sprint(len(file)))
			_, _ = w.Write(file[:1000])
			return true
		}, nil, "after 1000 bytes: unexpected EOF (tried 3 times in a row)"},
		{"without an end", file, func(_ int, w http.ResponseWriter, _ *http.Request) bool {
			c, buf, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_, _ = buf.WriteString("HTTP/1.0 200 OK\r\n\r\n")
				_, _ = buf.Write(file[:1000])
				_ = errors.Join(buf.Flush(), c.Close())
			}
			return true
		}, nil, "does not say where the file ends"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, tt.file)
			s.fault = tt.fault
			b := byURL(t, s)
			b.in.Config.Disk.MinFreeMB = 0
			if tt.edit != nil {
				tt.edit(b.in, b)
			}
			res, err := b.run.Converge(t.Context(), impatient{3}, b.in)
			if res.Status == schema.Converged || !strings.Contains(res.Msg, tt.want) {
				t.Errorf("%s, error %v, want %q", res.Msg, err, tt.want)
			}
			if res.Error != nil && res.Error.Hint == "" || strings.Contains(res.Msg, "canary") {
				t.Errorf("%s: %+v", res.Msg, res.Error)
			}
			if got := b.visible(t); slices.Contains(got, imageName) || tt.name == "digest" && len(got) > 0 {
				t.Errorf("work dir holds %v", got)
			}
		})
	}
}

// A run that is stopped part way leaves what it has, and the next one asks for the rest only. Whatever else lies there is
// not believed.
func TestDownloadGoesOnAfterAnotherRun(t *testing.T) {
	raw := balenaDisk().build(t)
	s := newServer(t, pack(t, raw))
	have := int64(len(s.file) / 3)
	note := func(b *bench, edit func(*schema.ImageDownload)) {
		n := newRemote(job{want: schema.ImageConfig{URL: s.url}, origin: s.url}).newNote()
		n.ETag, n.Size, n.Have = s.tag, int64(len(s.file)), have
		edit(n)
		data, err := schema.Encode(n)
		if err != nil {
			t.Fatal(err)
		}
		b.Put(workDir+"/"+noteName, string(data))
	}
	rest := fmt.Sprintf("bytes=%d-", have)
	tests := []struct {
		name   string
		file   []byte
		edit   func(*schema.ImageDownload)
		digest bool
		want   []string
	}{
		{"goes on", append(bytes.Clone(s.file[:have]), "not synced"...), func(*schema.ImageDownload) {}, false, []string{"", rest}},
		{"other address", s.file[:have], func(n *schema.ImageDownload) { n.URLSHA256 = urlSum("x") }, false, []string{"", ""}},
		{"less there", s.file[:have-1], func(*schema.ImageDownload) {}, false, []string{"", ""}},
		{"no tag", s.file[:have], func(n *schema.ImageDownload) { n.ETag = "" }, false, []string{"", ""}},
		{"no tag but a digest", s.file[:have], func(n *schema.ImageDownload) { n.ETag = "" }, true, []string{"", rest}},
		{"other tag", s.file[:have], func(n *schema.ImageDownload) { n.ETag = `"zero"` }, false, []string{"", rest}},
		{"rotten, with a digest", make([]byte, have), func(*schema.ImageDownload) {}, true, []string{"", rest, ""}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := byURL(t, s)
			s.asked = nil
			b.Put(workDir+"/"+downloadName, string(tt.file))
			note(b, tt.edit)
			if tt.digest {
				b.in.Config.Image.SHA256 = sum(s.file)
			}
			res, err := b.run.Converge(t.Context(), impatient{3}, b.in)
			if err != nil || res.Status != schema.Converged {
				t.Fatal(res.Msg, err)
			}
			b.arrived(t, raw)
			if !slices.Equal(s.asked, tt.want) {
				t.Errorf("asked for %q, want %q", s.asked, tt.want)
			}
		})
	}
}

// Interrupted while it downloads, it goes on; after the download nothing is transferred again.
func TestDownloadInterrupted(t *testing.T) {
	raw := balenaDisk().build(t)
	s := newServer(t, pack(t, raw))
	for _, stage := range []string{"download image", "prepare image"} {
		b := byURL(t, s)
		s.asked = nil
		ctx, cancel := context.WithCancel(t.Context())
		run := b.run
		run.Progress = func(what string, done, _ int64) {
			if what == stage && done > 0 {
				cancel()
			}
		}
		if _, err := run.Converge(ctx, Step{}, b.in); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: error %v", stage, err)
		}
		steptest.Laws(t, Step{}, b.run, b.in)
		b.arrived(t, raw)
		if stage == "prepare image" && len(s.asked) != 2 {
			t.Errorf("asked %q, want one look and one download", s.asked)
		}
		if last := s.asked[len(s.asked)-1]; stage == "download image" && !strings.HasPrefix(last, "bytes=") {
			t.Errorf("asked %q", s.asked)
		}
	}
}

// The pauses grow, are never nothing, and are as long as the server wants.
func TestPause(t *testing.T) {
	p := defaultPatience()
	for failures := 1; failures < 30; failures++ {
		wait, err := p.pause(failures, host.ErrIdle)
		if err != nil || wait < p.first/2 || wait > p.most || failures > 8 && wait < p.most/2 {
			t.Errorf("after %d failures: %s, error %v", failures, wait, err)
		}
	}
	if wait, err := p.pause(1, &statusError{status: 429, after: 7 * time.Second}); err != nil || wait != 7*time.Second {
		t.Errorf("%s, error %v", wait, err)
	}
	for text, want := range map[string]time.Duration{"": 0, "-1": 0, "x": 0, "30": 30 * time.Second, "Fri, 02 Jan 2026 03:05:05 GMT": time.Minute} {
		if got := retryAfter(text, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)); got != want {
			t.Errorf("Retry-After %q: %s, want %s", text, got, want)
		}
	}
}

// An image that was prepared elsewhere is taken as it is, and only with the index that belongs to it.
func TestDownloadOfPrepared(t *testing.T) {
	raw := balenaDisk().build(t)
	elsewhere := newBench(t, raw)
	if _, err := elsewhere.run.Converge(t.Context(), Step{}, elsewhere.in); err != nil {
		t.Fatal(err)
	}
	read := func(b *bench, name string) []byte {
		t.Helper()
		data, err := b.ReadFile(workDir + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	file, index := read(elsewhere, imageName), read(elsewhere, indexName)
	s := newServer(t, file)
	b := byURL(t, s)
	b.Put("/in/index.json", string(index))
	b.in.Config.Image.Index = "/in/index.json"
	steptest.Laws(t, Step{}, b.run, b.in)
	b.arrived(t, raw)
	if !bytes.Equal(read(b, imageName), file) || !bytes.Equal(read(b, indexName), index) {
		t.Error("the image or its index was made anew")
	}
	other := byURL(t, newServer(t, pack(t, raw))) // the same image, packed by another
	other.Put("/in/index.json", string(index))
	other.in.Config.Image.Index = "/in/index.json"
	if res, err := other.run.Converge(t.Context(), Step{}, other.in); err == nil || !strings.Contains(err.Error(), "do not belong together") {
		t.Errorf("%+v, %v; want a refusal", res, err)
	}
	// Index and sizes fit, one byte does not.
	file[len(file)/2] ^= 1
	bad := byURL(t, newServer(t, file))
	bad.Put("/in/index.json", string(index))
	bad.in.Config.Image.Index = "/in/index.json"
	if res, err := bad.run.Converge(t.Context(), Step{}, bad.in); err == nil {
		t.Errorf("%+v: damage was taken for an image", res)
	}
	if _, err := bad.Stat(workDir + "/" + imageName); err == nil {
		t.Error("a damaged image has the final name")
	}
}
