package host

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

func serve(t *testing.T, handle http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(handle)
	t.Cleanup(s.Close)
	return s.URL
}

func fetch(t *testing.T, q Request) (int, string, error) {
	t.Helper()
	answer, err := At("/").Fetch(t.Context(), q)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(body), err
}

// What comes back is what was sent: nothing is unpacked, and a status is no error.
func TestFetch(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	at := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		w.WriteHeader(http.StatusTeapot)
		_, _ = w.Write([]byte(r.Method + r.Header.Get("Range") + r.Header.Get("Accept-Encoding") + packed.String()))
	})
	status, body, err := fetch(t, Request{Method: http.MethodPut, URL: at, Header: http.Header{"Range": {"bytes=1-"}}})
	if err != nil || status != http.StatusTeapot || body != "PUTbytes=1-"+packed.String() {
		t.Errorf("%d %q, error %v", status, body, err)
	}
}

func TestFetchAsksBeforeItConnects(t *testing.T) {
	asked, served := 0, 0
	at := serve(t, func(w http.ResponseWriter, r *http.Request) {
		served++
		http.Redirect(w, r, "http://other.invalid/?key=canary", http.StatusFound)
	})
	no := errors.New("not there")
	_, _, err := fetch(t, Request{URL: at, Allow: func(u *url.URL) error {
		if asked++; u.Host == "other.invalid" {
			return no
		}
		return nil
	}})
	if !errors.Is(err, no) || asked != 2 || served != 1 || strings.Contains(err.Error(), "canary") {
		t.Errorf("asked %d, served %d, error %v", asked, served, err)
	}
	loop := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/", http.StatusFound) })
	if _, _, err := fetch(t, Request{URL: loop}); err == nil || !strings.Contains(err.Error(), "more than 10 redirects") {
		t.Errorf("error %v", err)
	}
}

// A server that falls silent, before its answer or within it, does not hold the program.
func TestFetchIdle(t *testing.T) {
	for _, first := range []string{"", "some"} {
		at := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if first != "" {
				_, _ = w.Write([]byte(first))
				_ = http.NewResponseController(w).Flush()
			}
			<-r.Context().Done()
		})
		start := time.Now()
		_, body, err := fetch(t, Request{URL: at + "/?key=canary", Idle: 100 * time.Millisecond})
		if !errors.Is(err, ErrIdle) || body != first || time.Since(start) > 20*time.Second || strings.Contains(err.Error(), "canary") {
			t.Errorf("after %q: %q, error %v", first, body, err)
		}
	}
}

// Slow is not silent: the time between two reads of ours does not count either.
func TestFetchSlow(t *testing.T) {
	at := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		for range 4 {
			_, _ = w.Write([]byte("x"))
			_ = http.NewResponseController(w).Flush()
			time.Sleep(150 * time.Millisecond)
		}
	})
	answer, err := At("/").Fetch(context.Background(), Request{URL: at, Idle: 400 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	time.Sleep(100 * time.Millisecond)
	if body, err := io.ReadAll(answer.Body); err != nil || string(body) != "xxxx" {
		t.Errorf("%q, error %v", body, err)
	}
}

func TestShown(t *testing.T) {
	for address, want := range map[string]string{
		"https://user:canary@example.org:8/a/b?sig=canary#canary": "https://example.org:8/a/b", "://": "(not an address)",
	} {
		if got := Shown(address); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	if _, _, err := fetch(t, Request{URL: "http://127.0.0.1:1/?key=canary"}); err == nil || strings.Contains(err.Error(), "canary") {
		t.Errorf("error %v", err)
	}
}

func TestPartStays(t *testing.T) {
	h := At(t.TempDir())
	for _, text := range []string{"one", "two"} {
		p, err := h.OpenPart("/f", 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Seek(0, io.SeekEnd); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(p.Sync(), p.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if data, err := h.ReadFile("/f"); err != nil || string(data) != "onetwo" {
		t.Errorf("%q, error %v", data, err)
	}
}
