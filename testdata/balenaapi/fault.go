package balenaapi

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"
)

// Fault is what goes wrong with requests whose method and path begin with At ("POST /device/register", "" for all), Times
// times, after the first After of them.
type Fault struct {
	At           string
	Times, After int
	// Status answers with that status and Header, and nothing is done.
	Status int
	Header map[string]string
	Body   string
	// Slow waits before anything else is done.
	Slow time.Duration
	// Drop closes the connection before anything is done; Lose after all is done, before a word of the answer; Cut in the
	// middle of the answer's body.
	Drop, Lose, Cut bool
}

// Fail adds a fault.
func (s *Server) Fail(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &f)
}

// Pending says how many faults have not happened yet.
func (s *Server) Pending() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, f := range s.faults {
		n += f.Times
	}
	return n
}

// Request is a request that came, and the status of its answer: 0 where the connection was closed.
type Request struct {
	Method, Path string
	Query        string
	Header       http.Header
	Body         string
	Status       int
}

// Requests are those so far whose method and path begin with at.
func (s *Server) Requests(at string) []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Request
	for _, r := range s.requests {
		if strings.HasPrefix(r.Method+" "+r.Path, at) {
			out = append(out, r)
		}
	}
	return out
}

// Forget empties the record of requests.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = nil
}

// record notes a request; its place is where the status goes.
func (s *Server) record(r *http.Request) (int, *Fault) {
	body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20)) // what is cut is as short as it is
	r.Body = io.NopCloser(bytes.NewReader(body))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, Request{
		Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery, Header: r.Header.Clone(), Body: string(body),
	})
	for _, f := range s.faults {
		if f.Times == 0 || !strings.HasPrefix(r.Method+" "+r.URL.Path, f.At) {
			continue
		}
		if f.After > 0 {
			f.After--
			continue
		}
		f.Times--
		return len(s.requests) - 1, f
	}
	return len(s.requests) - 1, nil
}

func (s *Server) status(at, status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at < len(s.requests) {
		s.requests[at].Status = status
	}
}

// withFaults is answer with what is to go wrong.
func (s *Server) withFaults(w http.ResponseWriter, r *http.Request, answer http.HandlerFunc) {
	at, f := s.record(r)
	if f == nil {
		f = &Fault{}
	}
	select {
	case <-time.After(f.Slow):
	case <-r.Context().Done():
		return
	}
	if f.Drop {
		panic(http.ErrAbortHandler)
	}
	if f.Status > 0 {
		for name, value := range f.Header {
			w.Header().Set(name, value)
		}
		s.status(at, f.Status)
		w.WriteHeader(f.Status)
		_, _ = io.WriteString(w, f.Body)
		return
	}
	if !f.Lose && !f.Cut {
		seen := &statusWriter{ResponseWriter: w}
		answer(seen, r)
		s.status(at, seen.status)
		return
	}
	done := httptest.NewRecorder()
	answer(done, r)
	if f.Cut {
		for name, values := range done.Header() {
			w.Header()[name] = values
		}
		w.Header().Set("Content-Length", "100000")
		w.WriteHeader(done.Code)
		_, _ = w.Write(done.Body.Bytes()[:done.Body.Len()/2])
		w.(http.Flusher).Flush()
	}
	panic(http.ErrAbortHandler)
}

// statusWriter notes the status.
type statusWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter.
func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Flush implements http.Flusher.
func (w *statusWriter) Flush() { w.ResponseWriter.(http.Flusher).Flush() }
