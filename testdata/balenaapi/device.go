package balenaapi

import (
	"net/http"
	"regexp"
	"time"
)

// Device is a row. Its heartbeat is worked out from LastGet.
type Device struct {
	ID         int64
	UUID       string
	Fleet      int64
	DeviceType string
	Key        string
	LastGet    time.Time // of its state, with its own key
	VPN        bool
	VPNOff     bool
	saysOnline bool
	fields     map[string]string // os_version and what else it tells
	Created    time.Time
}

var uuidForm = regexp.MustCompile(`^([0-9a-f]{32}|[0-9a-f]{62})$`)

// told are the texts that a registration or a state PATCH may bring.
var told = []string{"os_version", "os_variant", "supervisor_version", "mac_address", "status", "ip_address", "provisioning_state"}

// register is POST /device/register.
func (s *Server) register(w http.ResponseWriter, r *http.Request) {
	k := s.who(r)
	if k == nil || k.session {
		noKey(w)
		return
	}
	in, ok := members(w, r)
	if !ok {
		return
	}
	for _, name := range append([]string{"api_key", "device_type", "uuid"}, told...) {
		if _, ok := str(in, name); !ok {
			empty(w, 400)
			return
		}
	}
	id, ok := num(in, "application")
	deviceType, _ := str(in, "device_type")
	uuid, _ := str(in, "uuid")
	switch {
	case !ok:
		say(w, 400, "Application ID must be a valid integer")
	case deviceType == "":
		say(w, 400, "Device type must be specified")
	case uuid == "":
		say(w, 400, "UUID must be specified")
	default:
		s.registerChecked(w, k, in, id)
	}
}

func (s *Server) registerChecked(w http.ResponseWriter, k *key, in map[string]any, id int64) {
	deviceType, _ := str(in, "device_type")
	uuid, _ := str(in, "uuid")
	apiKey, _ := str(in, "api_key")
	switch {
	case s.device(uuid) != nil:
		page(w, 409, `"uuid" must be unique.`)
	case apiKey != "" && s.keys[apiKey] != nil:
		say(w, 409, `"key" must be unique.`)
	case !uuidForm.MatchString(uuid):
		say(w, 400, "Device UUID must be a 32 or 62 character long lower case hex string.")
	case s.fleet(func(f *Fleet) bool { return f.ID == id }) == nil, k.role == "provisioning" && k.fleet != id, k.role != "provisioning" && k.role != "user":
		empty(w, 401)
	case deviceTypes[deviceType] == "":
		say(w, 404, "Unknown device type "+deviceType)
	default:
		d := s.insert(id, uuid, deviceType, apiKey)
		for _, name := range told {
			if v, _ := str(in, name); v != "" {
				d.fields[name] = v
			}
		}
		reply(w, 201, struct {
			ID     int64  `json:"id"`
			UUID   string `json:"uuid"`
			APIKey string `json:"api_key"`
		}{d.ID, uuid, d.Key})
	}
}

func (s *Server) insert(fleet int64, uuid, deviceType, apiKey string) *Device {
	if apiKey == "" {
		apiKey = s.random()
	}
	d := &Device{ID: s.id(), UUID: uuid, Fleet: fleet, DeviceType: deviceType, Key: apiKey, fields: map[string]string{}, Created: s.Now()}
	s.devices = append(s.devices, d)
	s.keys[apiKey] = &key{role: "device", device: d.ID}
	return d
}

// heartbeat is api_heartbeat_state.
func (s *Server) heartbeat(d *Device) string {
	if d.LastGet.IsZero() || s.Now().Before(d.LastGet.Add(s.Delay)) {
		return "unknown"
	}
	silent := s.Now().Sub(d.LastGet)
	switch {
	case silent <= s.Poll*3/2:
		return "online"
	case silent <= s.Poll*3/2+s.Grace:
		return "timeout"
	}
	return "offline"
}

func (d *Device) online() bool { return d.VPN || d.saysOnline }

// overall is overall_status of an API version.
func (s *Server) overall(d *Device, api string) string {
	beat := s.heartbeat(d)
	switch {
	case beat == "unknown" && d.online():
		return "disconnected"
	case beat == "unknown":
		return "configuring"
	case beat == "offline" && !d.VPN:
		return "disconnected"
	case beat == "online" && (d.VPN || d.VPNOff):
		return "operational"
	case api == "v6":
		return "idle"
	}
	return "reduced-functionality"
}
