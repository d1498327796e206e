package balena

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/balena-community/balena-migrate/steps/host"
	"github.com/balena-community/balena-migrate/steps/host/hosttest"
)

const canary = "canary-api-key"

// server answers as balena's API does. faults come first, one for each request.
type server struct {
	t      *testing.T
	mu     sync.Mutex
	faults []http.HandlerFunc
	asked  []*http.Request
	rows   string
	// refuse maps an image type to the answer it gets.
	refuse map[string]http.HandlerFunc
	public bool
}

const typeJSON = "application/json; charset=utf-8"

func answer(status int, kind, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if kind != "" {
			w.Header().Set("Content-Type", kind)
		}
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

func row(version, app string) string {
	return fmt.Sprintf(`{"raw_version":%q,"belongs_to__application":[{"slug":"balena_os/%s"}]}`, version, app)
}

func rows(deviceType string, versions ...string) string {
	var out []string
	for _, v := range versions {
		out = append(out, row(v, deviceType))
	}
	return strings.Join(out, ",")
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if fault := s.next(r); fault != nil {
		fault(w, r)
		return
	}
	if !s.public && r.Header.Get("Authorization") != "Bearer "+canary {
		w.WriteHeader(http.StatusUnauthorized) // 401 empty
		return
	}
	q := r.URL.Query()
	switch r.URL.Path {
	case "/v7/release":
		filter := q.Get("$filter")
		for _, want := range []string{"is_final eq true", "is_invalidated eq false", "status eq 'success'", "a/is_host eq true", "dt/slug eq 'intel-nuc'"} {
			if !strings.Contains(filter, want) {
				s.t.Errorf("filter %q lacks %q", filter, want)
			}
		}
		if q.Get("$select") != "raw_version" || strings.Contains(r.URL.RawQuery, "+") {
			s.t.Errorf("query %q", r.URL.RawQuery)
		}
		w.Header().Set("Cache-Control", "no-cache")
		answer(200, typeJSON, `{"d":[`+s.rows+`]}`, "ETag", `W/"x"`)(w, r)
	case "/download":
		if q.Get("deviceType") != "intel-nuc" || q.Get("fileType") != ".gz" || q.Get("version") == "" || r.Method != http.MethodGet {
			s.t.Errorf("%s %s", r.Method, r.URL.RawQuery)
		}
		if refuse := s.refuse[q.Get("imageType")]; refuse != nil {
			refuse(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/zip")
		for range 200 { // chunked: no length
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	default:
		answer(404, "", "")(w, r)
	}
}

// next notes the request and takes its fault, if it is to have one.
func (s *server) next(r *http.Request) http.HandlerFunc {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, r.Clone(context.Background()))
	if len(s.faults) == 0 {
		return nil
	}
	fault := s.faults[0]
	s.faults = s.faults[1:]
	return fault
}

// start runs the server and returns a client whose waits take no time and are noted.
func (s *server) start(t *testing.T) (*Client, *[]time.Duration) {
	t.Helper()
	s.t = t
	web := httptest.NewServer(s)
	t.Cleanup(web.Close)
	if s.rows == "" {
		s.rows = rows("intel-nuc", "2.98.33", "6.1.2", "6.2.0-rc.1", "junk", "6.1.24")
	}
	waits := &[]time.Duration{}
	return &Client{
		Net: hosttest.New(t, nil), URL: web.URL + "/", Token: canary, Idle: 2 * time.Second,
		Wait: func(_ context.Context, d time.Duration) error { *waits = append(*waits, d); return nil },
	}, waits
}

func wish(t *testing.T, text string) Wish {
	t.Helper()
	w, err := ParseWish(text)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// P3, P27–P29, E11, E12: a version is chosen and the raw image asked for, the flasher where there is no other.
func TestResolve(t *testing.T) {
	extended := rows("intel-nuc", "6.1.2", "6.1.24") + "," + row("2024.7.0", "intel-nuc") + "," + row("7.0.0", "intel-nuc-esr")
	for _, tt := range []struct {
		name, wish, rows string
		refuse           map[string]http.HandlerFunc
		version, kind    string
	}{
		{"latest", "latest", "", nil, "6.1.24", Raw},
		{"range", "~2.98", "", nil, "2.98.33", Raw},
		{"exact", "6.2.0-rc.1", "", nil, "6.2.0-rc.1", Raw},
		{"no raw image", "6.1.2", "", map[string]http.HandlerFunc{Raw: answer(400, typeJSON, `"imageType raw is not supported"`)}, "6.1.2", Flasher},
		{"no raw image, not found", "6.1.2", "", map[string]http.HandlerFunc{Raw: answer(404, "", "")}, "6.1.2", Flasher},
		{"no extended support", "latest", extended, nil, "6.1.24", Raw},
		{"no extended support in a range", "^7", extended + "," + rows("x", "7.0.1"), nil, "7.0.1", Raw},
		{"extended support if named", "2024.7.0", extended, nil, "2024.7.0", Raw},
	} {
		s := &server{rows: tt.rows, refuse: tt.refuse}
		c, _ := s.start(t)
		d, err := c.Resolve(t.Context(), "intel-nuc", wish(t, tt.wish))
		if err != nil || d.Version.String() != tt.version || d.Kind != tt.kind {
			t.Errorf("%s: %s, error %v", tt.name, d, err)
			continue
		}
		u, err := url.Parse(d.Request.URL)
		if err != nil || u.Query().Get("imageType") != tt.kind || u.Query().Get("version") != tt.version || strings.Contains(d.Request.URL, canary) {
			t.Errorf("%s: request %s, error %v", tt.name, d.Request.URL, err)
		}
		if d.Request.Header.Get("Authorization") != "Bearer "+canary || strings.Contains(d.String(), canary) {
			t.Errorf("%s: header %v", tt.name, d.Request.Header)
		}
		if agent := s.asked[0].Header.Get("User-Agent"); agent != "balena-migrate" {
			t.Errorf("%s: agent %s", tt.name, agent)
		}
	}
}

// cut announces more than it sends.
func cut(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", "1000")
	_, _ = w.Write([]byte(`{"d":[`))
}

// slow does not answer in time.
func slow(_ http.ResponseWriter, r *http.Request) {
	select {
	case <-r.Context().Done():
	case <-time.After(10 * time.Second):
	}
}

// hangUp closes the connection.
func hangUp(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// What goes by itself is waited for, as long as the server says.
func TestRetries(t *testing.T) {
	date := hosttest.New(t, nil).Now().Add(30 * time.Second).Format(http.TimeFormat)
	for name, tt := range map[string]struct {
		faults []http.HandlerFunc
		waits  []time.Duration
	}{
		"429 with seconds": {[]http.HandlerFunc{answer(429, typeJSON, `"Too Many Requests"`, "Retry-After", "7")}, []time.Duration{7 * time.Second}},
		"429 with a date":  {[]http.HandlerFunc{answer(429, typeJSON, `"Too Many Requests"`, "Retry-After", date)}, []time.Duration{30 * time.Second}},
		"429 with nothing": {[]http.HandlerFunc{answer(429, "", "")}, []time.Duration{time.Second}},
		"429 with junk":    {[]http.HandlerFunc{answer(429, "", "", "Retry-After", "soon")}, []time.Duration{time.Second}},
		"500 empty":        {[]http.HandlerFunc{answer(500, "", ""), answer(500, "", "")}, []time.Duration{time.Second, 2 * time.Second}},
		"502, 503, 504, cut": {
			[]http.HandlerFunc{answer(502, "text/html", "<html>"), answer(503, "", "", "Retry-After", "0"), answer(504, "", ""), cut},
			[]time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second},
		},
		"slow":    {[]http.HandlerFunc{slow}, []time.Duration{time.Second}},
		"hung up": {[]http.HandlerFunc{hangUp}, []time.Duration{time.Second}},
	} {
		s := &server{faults: tt.faults}
		c, waits := s.start(t)
		c.Idle = 500 * time.Millisecond
		v, err := c.Choose(t.Context(), "intel-nuc", wish(t, "latest"))
		if err != nil || v.String() != "6.1.24" || fmt.Sprint(*waits) != fmt.Sprint(tt.waits) {
			t.Errorf("%s: %s, error %v, waits %v, want %v", name, v, err, *waits, tt.waits)
		}
	}
}

func repeat(n int, h http.HandlerFunc) []http.HandlerFunc {
	var out []http.HandlerFunc
	for range n {
		out = append(out, h)
	}
	return out
}

// What does not go by itself is an error that says what the server said, and never the key.
func TestRefusals(t *testing.T) {
	for _, tt := range []struct {
		name, want, hint string
		faults           []http.HandlerFunc
		asked            int
	}{
		{"bad key", "versions of balenaOS for intel-nuc: status 401: Unauthorized", "not known to this API", []http.HandlerFunc{answer(401, "", "")}, 1},
		{"JSON string", "status 400: A version is required.", "", []http.HandlerFunc{answer(400, typeJSON, `"A version is required."`)}, 1},
		{"object", "status 401: API key required", "not known", []http.HandlerFunc{answer(401, typeJSON, `{"error":"API key required"}`)}, 1},
		{"page", "status 404: Not Found", "", []http.HandlerFunc{answer(404, "text/html", "<html>"+canary)}, 1},
		{"text in HTML", `status 409: uuid must be unique.`, "", []http.HandlerFunc{answer(409, "text/html", `uuid must be unique.`)}, 1},
		{"overloaded for good", "status 429", "later", repeat(5, answer(429, "", "")), 5},
		{"an hour", "asks to wait for 1h0m0s", "later", []http.HandlerFunc{answer(429, typeJSON, `"Too Many Requests"`, "Retry-After", "3600")}, 1},
		{"down for good", "status 500: Internal Server Error", "api_url", repeat(5, answer(500, "", "")), 5},
		{"cut for good", "unexpected EOF", "", repeat(5, cut), 5},
		{"no list", `found no list "d"`, "", []http.HandlerFunc{answer(200, typeJSON, `{}`)}, 1},
		{"empty", "not JSON", "", []http.HandlerFunc{answer(200, "", "")}, 1},
		{"no versions", "no version at all, expected latest", "", []http.HandlerFunc{answer(200, typeJSON, `{"d":[]}`)}, 1},
		{"endless", "an answer of more than 8388608 bytes", "", repeat(5, answer(200, typeJSON, strings.Repeat(" ", 9<<20))), 5},
		{"redirect to http", "api.example.com: a key is not sent over http", "", repeat(1, answer(301, "", "", "Location", "http://api.example.com/")), 1},
	} {
		s := &server{faults: tt.faults}
		c, _ := s.start(t)
		_, err := c.Choose(t.Context(), "intel-nuc", wish(t, "latest"))
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: error %v, want %q", tt.name, err, tt.want)
			continue
		}
		var r *Refused
		if errors.As(err, &r) && !strings.Contains(r.Hint(), tt.hint) {
			t.Errorf("%s: hint %q, want %q", tt.name, r.Hint(), tt.hint)
		}
		if len(s.asked) != tt.asked {
			t.Errorf("%s: asked %d times, want %d", tt.name, len(s.asked), tt.asked)
		}
	}
}

// No image of any kind names both refusals; trouble with the key or the server is no reason to take a flasher.
func TestNoImage(t *testing.T) {
	s := &server{refuse: map[string]http.HandlerFunc{Raw: answer(404, "", ""), Flasher: answer(400, typeJSON, `"no such version"`)}}
	c, _ := s.start(t)
	_, err := c.Resolve(t.Context(), "intel-nuc", wish(t, "latest"))
	if err == nil || !strings.Contains(err.Error(), "raw image: status 404") || !strings.Contains(err.Error(), "flasher image: status 400: no such version") {
		t.Errorf("error %v", err)
	}
	s = &server{refuse: map[string]http.HandlerFunc{Raw: answer(403, "", "")}}
	c, _ = s.start(t)
	if d, err := c.Resolve(t.Context(), "intel-nuc", wish(t, "latest")); err == nil {
		t.Errorf("%s in spite of a bad key", d)
	}
	if _, err := c.Resolve(t.Context(), "x' or 'a' eq 'a", wish(t, "latest")); err == nil || !strings.Contains(err.Error(), "other characters") {
		t.Errorf("error %v", err)
	}
}

// A key does not go over the network for all to read.
func TestPlainHTTP(t *testing.T) {
	c := &Client{Net: host.At(t.TempDir()), URL: "http://api.example.com", Token: canary, Wait: func(context.Context, time.Duration) error { t.Error("tried again"); return nil }}
	if _, err := c.Choose(t.Context(), "intel-nuc", wish(t, "latest")); !errors.Is(err, ErrPlain) || strings.Contains(err.Error(), canary) {
		t.Errorf("error %v", err)
	}
}

func TestInterrupted(t *testing.T) {
	s := &server{faults: repeat(9, slow)}
	c, waits := s.start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := c.Choose(ctx, "intel-nuc", wish(t, "latest")); !errors.Is(err, context.DeadlineExceeded) || len(*waits) > 0 {
		t.Errorf("error %v, waits %v", err, *waits)
	}
	c.Wait = nil
	if err := c.wait(ctx, time.Hour); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("wait: %v", err)
	}
}

// Any answer: no crash, and what is read are versions.
func FuzzReleases(f *testing.F) {
	f.Add([]byte(`{"d":[` + rows("x", "1.2.3", "2.0.0") + `]}`))
	f.Add([]byte(`{"d":[{"raw_version":1,"belongs_to__application":{}},null,[]]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		all, err := parseReleases(body)
		if err != nil {
			return
		}
		for _, r := range all {
			if _, err := ParseVersion(r.version.String()); err != nil {
				t.Error(err)
			}
			r.extended()
		}
		word(reply{body: body})
	})
}
