package balenaapi

import (
	"fmt"
	"net/http"
	"strings"
)

// state is what devices ask for and tell: /device/v2/:uuid/state, /device/v3/:uuid/state, /device/v3/state.
func (s *Server) state(w http.ResponseWriter, r *http.Request) {
	part := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	v3 := part[1] == "v3"
	switch {
	case r.Method == http.MethodGet && len(part) == 4 && part[3] == "state":
		s.getState(w, r, part[2], v3)
	case r.Method == http.MethodPatch && !v3 && len(part) == 4:
		s.patchState(w, r, part[2])
	case r.Method == http.MethodPatch && v3 && len(part) == 3:
		s.patchStates(w, r)
	default:
		empty(w, 404)
	}
}

func (s *Server) getState(w http.ResponseWriter, r *http.Request, uuid string, v3 bool) {
	k, d := s.who(r), s.device(uuid)
	if k == nil {
		if v3 {
			empty(w, 401)
		} else {
			noKey(w)
		}
		return
	}
	if d == nil || k.role != "user" && k.device != d.ID {
		w.WriteHeader(304)
		return
	}
	if k.role == "device" {
		d.LastGet = s.Now()
	}
	body := s.stateOf(d, v3)
	rec := &tagged{ResponseWriter: w, want: r.Header.Get("If-None-Match")}
	reply(rec, 200, body)
}

// tagged answers 304 where the asker has it already.
type tagged struct {
	http.ResponseWriter
	want string
	same bool
}

// WriteHeader implements http.ResponseWriter.
func (t *tagged) WriteHeader(status int) {
	if t.want != "" && t.want == t.Header().Get("ETag") {
		t.same, status = true, 304
		t.Header().Del("Content-Length")
	}
	t.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (t *tagged) Write(p []byte) (int, error) {
	if t.same {
		return len(p), nil
	}
	return t.ResponseWriter.Write(p)
}

func (s *Server) stateOf(d *Device, v3 bool) any {
	f := s.fleet(func(f *Fleet) bool { return f.ID == d.Fleet })
	name, none := "wild-moon", map[string]any{}
	config := map[string]string{"RESIN_SUPERVISOR_POLL_INTERVAL": fmt.Sprint(s.Poll.Milliseconds())}
	if f == nil {
		f = &Fleet{}
	}
	if v3 {
		apps := map[string]any{f.UUID: map[string]any{"id": f.ID, "name": f.Name, "is_host": false, "class": "fleet"}}
		return map[string]any{d.UUID: map[string]any{"name": name, "apps": apps, "config": config}}
	}
	apps := map[string]any{fmt.Sprint(f.ID): map[string]any{"name": f.Name, "services": none, "networks": none, "volumes": none}}
	return map[string]any{
		"local": map[string]any{"name": name, "config": config, "apps": apps}, "dependent": map[string]any{"apps": none, "devices": none},
	}
}

// note takes what a device tells. Unknown members are ignored.
func (d *Device) note(in map[string]any) bool {
	for _, name := range told {
		if _, ok := str(in, name); !ok {
			return false
		}
	}
	for _, name := range told {
		if v, _ := str(in, name); v != "" {
			d.fields[name] = v
		}
	}
	if v, ok := in["is_online"].(bool); ok {
		d.saysOnline = v
	}
	return true
}

func (s *Server) patchState(w http.ResponseWriter, r *http.Request, uuid string) {
	if s.who(r) == nil {
		noKey(w)
		return
	}
	in, ok := members(w, r)
	if !ok {
		return
	}
	local, ok := in["local"].(map[string]any)
	d := s.device(uuid)
	if !ok || d != nil && !d.note(local) {
		empty(w, 400)
		return
	}
	empty(w, 200) // for a device that does not exist as well
}

func (s *Server) patchStates(w http.ResponseWriter, r *http.Request) {
	in, ok := members(w, r)
	if !ok {
		return
	}
	if s.who(r) == nil {
		noKey(w)
		return
	}
	for uuid, of := range in {
		d := s.device(uuid)
		if d == nil {
			empty(w, 401)
			return
		}
		about, ok := of.(map[string]any)
		if !ok || !d.note(about) {
			empty(w, 400)
			return
		}
	}
	empty(w, 200)
}
