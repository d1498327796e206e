// Package balenaapi is balena's API as far as a migration needs it, for tests: it answers as open-balena-api 49 was seen to
// answer, to the content type and the empty bodies, and beyond that fails in the ways that networks and servers have.
package balenaapi

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Server is one API with its database. Set its fields before use; it is an http.Handler.
type Server struct {
	// Host is what config.json names as the API's host; Poll is how often a device asks for its state, Grace how long it
	// stays in "timeout" after 1.5 times that, Delay how long the write of a heartbeat takes.
	Host  string
	Poll  time.Duration
	Grace time.Duration
	Delay time.Duration
	// RootCA is put into config.json, base64 of PEM.
	RootCA string
	// Now is the clock.
	Now func() time.Time

	mu       sync.Mutex
	fleets   []*Fleet
	devices  []*Device
	keys     map[string]*key
	versions []string
	wrong    map[string]int
	ids      int64
	faults   []*Fault
	requests []Request
}

// Fleet is an application.
type Fleet struct {
	ID                           int64
	Slug, Name, UUID, DeviceType string
	Deleted                      bool
}

// key is an API key or a session token (session is true). The rows of deleted devices stay.
type key struct {
	role    string // user, provisioning, device, vpn
	session bool
	fleet   int64
	device  int64
	expires time.Time
	name    string
}

// The device types that are known, with their architecture.
var deviceTypes = map[string]string{
	"generic-amd64": "amd64", "genericx86-64-ext": "amd64", "intel-nuc": "amd64", "raspberrypi4-64": "aarch64", "raspberrypi3": "armv7hf",
	"generic-aarch64": "aarch64",
}

// New is a server with one user, who has an API key and a session token, and no fleet.
func New(userKey, session string) *Server {
	return &Server{
		Host: "api.balena.test", Poll: 15 * time.Minute, Grace: 15 * time.Second, Delay: 300 * time.Millisecond, Now: time.Now,
		keys: map[string]*key{userKey: {role: "user"}, session: {role: "user", session: true}}, ids: 1000, wrong: map[string]int{},
		versions: []string{"2.98.33", "6.1.2", "6.1.24"},
	}
}

// AddFleet makes a fleet, slug such as "org/name".
func (s *Server) AddFleet(slug, deviceType string) *Fleet {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, name, _ := strings.Cut(slug, "/")
	f := &Fleet{ID: s.id(), Slug: slug, Name: name, UUID: s.random(), DeviceType: deviceType}
	s.fleets = append(s.fleets, f)
	return f
}

// AddKey makes a key of a role: "vpn", or "provisioning" for a fleet, which expires unless at is zero.
func (s *Server) AddKey(role string, fleet int64, at time.Time) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := s.random()
	s.keys[text] = &key{role: role, fleet: fleet, expires: at}
	return text
}

// Revoke deletes a key.
func (s *Server) Revoke(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.keys, text)
}

// Keys counts the provisioning keys of a fleet.
func (s *Server) Keys(fleet int64) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, k := range s.keys {
		if k.role == "provisioning" && k.fleet == fleet {
			n++
		}
	}
	return n
}

// Devices are copies of all devices that there are.
func (s *Server) Devices() []Device {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Device
	for _, d := range s.devices {
		out = append(out, *d)
	}
	return out
}

// Delete deletes a device as its owner does in the dashboard.
func (s *Server) Delete(uuid string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(s.device(uuid))
}

func (s *Server) id() int64 { s.ids++; return s.ids }

// random is like the server's keys: 32 characters.
func (s *Server) random() string {
	return fmt.Sprintf("%016x%016x", uint64(s.id())*0x9e3779b97f4a7c15, uint64(s.id())*0x2545f4914f6cdd1d)
}

func (s *Server) fleet(match func(*Fleet) bool) *Fleet {
	for _, f := range s.fleets {
		if !f.Deleted && match(f) {
			return f
		}
	}
	return nil
}

func (s *Server) device(uuid string) *Device {
	for _, d := range s.devices {
		if d.UUID == uuid {
			return d
		}
	}
	return nil
}

// remove takes a device away, and leaves the row of its key.
func (s *Server) remove(d *Device) {
	s.devices = slices.DeleteFunc(s.devices, func(o *Device) bool { return o == d })
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.withFaults(w, r, s.answer) }

// answer is the API without faults.
func (s *Server) answer(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	browser(w, r)
	if r.Header.Get("X-Forwarded-For") != "" && r.Header.Get("X-Forwarded-Proto") != "https" && r.URL.Path != "/ping" {
		http.Redirect(w, r, "https://"+s.Host+r.URL.RequestURI(), http.StatusMovedPermanently)
		return
	}
	at := r.Method + " " + r.URL.Path
	switch path := r.URL.Path; {
	case path == "/ping" && (r.Method == "GET" || r.Method == "HEAD"):
		text(w, 200, "OK")
	case at == "GET /connectivity-check":
		w.WriteHeader(204)
	case at == "POST /login_":
		s.login(w, r)
	case at == "GET /user/v1/whoami", at == "GET /actor/v1/whoami":
		s.whoami(w, r)
	case at == "POST /device/register":
		s.register(w, r)
	case path == "/download-config" && (r.Method == "GET" || r.Method == "POST"):
		s.downloadConfig(w, r)
	case strings.HasPrefix(path, "/api-key/") && r.Method == "POST":
		s.newKey(w, r)
	case strings.HasPrefix(path, "/device/v2/"), strings.HasPrefix(path, "/device/v3/"):
		s.state(w, r)
	case strings.HasPrefix(path, "/device-types/v1"):
		s.types(w, r)
	case strings.HasPrefix(path, "/v6/"), strings.HasPrefix(path, "/v7/"), strings.HasPrefix(path, "/resin/"):
		s.odata(w, r)
	case strings.HasPrefix(path, "/application/") && strings.HasSuffix(path, "/generate-api-key"):
		say(w, 404, "Role 'user-api-key' not found")
	default:
		empty(w, 404)
	}
}
