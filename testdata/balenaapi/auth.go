package balenaapi

import (
	"net/http"
	"strings"
	"time"
)

// who is the key of a request: that of the header, or an API key in the query. An expired one counts as none.
func (s *Server) who(r *http.Request) *key {
	text, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !bearer {
		text = r.URL.Query().Get("apikey")
	}
	k := s.keys[text]
	if k == nil || !bearer && k.session || !k.expires.IsZero() && k.expires.Before(s.Now()) {
		return nil
	}
	return k
}

// user says whether somebody with an account asks, by session or key.
func (s *Server) user(r *http.Request) bool {
	k := s.who(r)
	return k != nil && k.role == "user"
}

// tries is how often a wrong password may be given for one name.
const tries = 10

func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	in, ok := members(w, r)
	if !ok {
		return
	}
	name, _ := str(in, "username")
	password, _ := str(in, "password")
	if s.wrong[name] >= tries {
		w.Header().Set("Retry-After", "3600")
		say(w, 429, "Too Many Requests")
		return
	}
	for text, k := range s.keys {
		if k.session && k.role == "user" && name == "operator" && password == "password" {
			send(w, 200, "text/plain; charset=utf-8", []byte(text))
			return
		}
	}
	s.wrong[name]++
	empty(w, 401)
}

func (s *Server) whoami(w http.ResponseWriter, r *http.Request) {
	k := s.who(r)
	switch {
	case k == nil:
		empty(w, 401)
	case r.URL.Path == "/user/v1/whoami" && k.role == "user":
		reply(w, 200, map[string]any{"id": 2, "username": "operator", "email": "operator@balena.test"})
	case r.URL.Path == "/user/v1/whoami":
		empty(w, 401)
	case k.role == "user":
		reply(w, 200, map[string]any{"id": 3, "actorType": "user", "actorTypeId": 2, "username": "operator", "email": "operator@balena.test"})
	case k.role == "device":
		for _, d := range s.devices {
			if d.ID == k.device {
				reply(w, 200, map[string]any{"id": 5000 + d.ID, "actorType": "device", "actorTypeId": d.ID, "uuid": d.UUID})
				return
			}
		}
		say(w, 401, "Actor 77 is not associated to any resource")
	default:
		reply(w, 200, map[string]any{"id": 4, "actorType": "application", "actorTypeId": k.fleet})
	}
}

// newKey makes keys: of a user, for provisioning (three routes), of a device.
func (s *Server) newKey(w http.ResponseWriter, r *http.Request) {
	in, ok := members(w, r)
	if !ok {
		return
	}
	if !s.user(r) {
		empty(w, 401)
		return
	}
	part := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	kind := strings.Join(part[1:], "/")
	switch {
	case kind == "user/full":
		text := s.random()
		s.keys[text] = &key{role: "user"}
		say(w, 200, text)
	case kind == "v1", kind == "v2":
		if _, there := in["expiryDate"]; !there && kind == "v2" {
			say(w, 400, "Key expiry date should be a valid date")
			return
		}
		id, _ := num(in, "actorTypeId")
		s.provision(w, in, id)
	case len(part) == 4 && part[1] == "application" && part[3] == "provisioning":
		id, _ := num(map[string]any{"id": part[2]}, "id")
		s.provision(w, in, id)
	case len(part) == 4 && part[1] == "device" && part[3] == "device-key":
		s.deviceKey(w, in, part[2])
	default:
		empty(w, 404)
	}
}

func (s *Server) provision(w http.ResponseWriter, in map[string]any, fleet int64) {
	if s.fleet(func(f *Fleet) bool { return f.ID == fleet }) == nil {
		text(w, 500, "No application found to associate with the api key")
		return
	}
	at, _ := str(in, "expiryDate")
	name, _ := str(in, "name")
	say(w, 200, s.provisioning(fleet, at, name))
}

func (s *Server) provisioning(fleet int64, expires, name string) string {
	at, _ := time.Parse(time.RFC3339, expires)
	text := s.random()
	s.keys[text] = &key{role: "provisioning", fleet: fleet, expires: at, name: name}
	return text
}

func (s *Server) deviceKey(w http.ResponseWriter, in map[string]any, id string) {
	n, _ := num(map[string]any{"id": id}, "id")
	text, ok := str(in, "apiKey")
	for _, d := range s.devices {
		if d.ID != n || !ok {
			continue
		}
		if text == "" {
			text = s.random()
		}
		if s.keys[text] != nil {
			say(w, 409, `"key" must be unique.`)
			return
		}
		s.keys[text] = &key{role: "device", device: d.ID}
		say(w, 200, text)
		return
	}
	text500(w)
}

func text500(w http.ResponseWriter) { text(w, 500, "No device found to associate with the api key") }

// Role says whose key a header Authorization has: user, provisioning, device, vpn, or none.
func (s *Server) Role(header string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	text, _ := strings.CutPrefix(header, "Bearer ")
	if k := s.keys[text]; k != nil {
		return k.role
	}
	return "none"
}
