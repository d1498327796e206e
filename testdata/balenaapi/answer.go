package balenaapi

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // as express makes its tags
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// browser adds what an agent gets that is neither curl nor a supervisor nor nameless.
func browser(w http.ResponseWriter, r *http.Request) {
	agent := r.Header.Get("User-Agent")
	w.Header().Set("Vary", "Accept-Encoding")
	if agent == "" || strings.HasPrefix(agent, "curl") || strings.HasPrefix(agent, "Supervisor") {
		return
	}
	w.Header().Set("X-Frame-Options", "DENY")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Access-Control-Allow-Origin", "*")
}

// send answers with a body and its weak tag.
func send(w http.ResponseWriter, status int, kind string, body []byte) {
	sum := sha1.Sum(body) //nolint:gosec // see above
	w.Header().Set("ETag", fmt.Sprintf(`W/"%x-%s"`, len(body), base64.RawStdEncoding.EncodeToString(sum[:])[:27]))
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// reply answers with JSON.
func reply(w http.ResponseWriter, status int, v any) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(err)
	}
	send(w, status, "application/json; charset=utf-8", bytes.TrimSuffix(b.Bytes(), []byte("\n")))
}

// say answers with a text as a JSON string: that is how errors look.
func say(w http.ResponseWriter, status int, text string) { reply(w, status, text) }

func text(w http.ResponseWriter, status int, body string) {
	send(w, status, "text/plain; charset=utf-8", []byte(body))
}

func page(w http.ResponseWriter, status int, body string) {
	send(w, status, "text/html; charset=utf-8", []byte(body))
}

// empty answers without a body and without its type, chunked.
func empty(w http.ResponseWriter, status int) {
	w.Header()["Content-Type"] = nil
	w.WriteHeader(status)
	if f, ok := w.(http.Flusher); ok {
		f.Flush()
	}
}

// noKey is the answer of routes that take API keys alone.
func noKey(w http.ResponseWriter) {
	reply(w, 401, map[string]string{"error": "API key required"})
}

// members reads a body, JSON or a form. Broken JSON is answered already when it returns false.
func members(w http.ResponseWriter, r *http.Request) (map[string]any, bool) {
	out := map[string]any{}
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") || r.Method == http.MethodGet {
		if err := r.ParseForm(); err != nil {
			empty(w, 400)
			return nil, false
		}
		for name, values := range r.Form {
			out[name] = values[0]
		}
		return out, true
	}
	data, err := io.ReadAll(io.LimitReader(r.Body, 512<<10))
	if err != nil {
		return nil, false
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if len(data) > 0 && dec.Decode(&out) != nil {
		page(w, 400, "<!DOCTYPE html>\n<html lang=\"en\"><body><pre>SyntaxError: Unexpected token in JSON</pre></body></html>\n")
		return nil, false
	}
	return out, true
}

// str is a member that is a text, "" for none and null; ok is false for another type.
func str(in map[string]any, name string) (string, bool) {
	switch v := in[name].(type) {
	case nil:
		return "", true
	case string:
		return v, true
	}
	return "", false
}

// num is a member that is a number, or a text of digits; ok is false otherwise.
func num(in map[string]any, name string) (int64, bool) {
	var n int64
	_, err := fmt.Sscanf(fmt.Sprint(in[name]), "%d", &n)
	return n, err == nil && fmt.Sprint(n) == fmt.Sprint(in[name])
}
