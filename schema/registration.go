package schema

// RegistrationName is the name and version of what the controller keeps of each device that it registered.
const RegistrationName = "registration/1"

// RegistrationState says how far a registration is.
type RegistrationState string

// The states of a registration. A requested one may be known to the API or not.
const (
	Requested  RegistrationState = "requested"
	Registered RegistrationState = "registered"
	Removed    RegistrationState = "removed"
	None       RegistrationState = "none" // of DeviceRegistration alone
)

// Registration is a device's registration in balena, kept on the controller (E7, E8). It holds the device's key and is for
// its owner alone.
type Registration struct {
	Schema     string            `json:"schema"`
	Name       string            `json:"name"`
	State      RegistrationState `json:"state"`
	APIURL     string            `json:"api_url"`
	Fleet      int64             `json:"fleet"`
	DeviceType string            `json:"device_type"`
	// UUID and APIKey are chosen, and kept, before the API is asked.
	UUID   string `json:"uuid"`
	APIKey string `json:"api_key"`
	// DeviceID is the API's number; RegisteredAt is in seconds since 1970. Both are 0 until it is registered.
	DeviceID     int64 `json:"device_id"`
	RegisteredAt int64 `json:"registered_at"`
	// OSVersion is what the device is to run, empty for any; RootCA are more certificates that vouch for the API, in PEM.
	OSVersion string `json:"os_version"`
	RootCA    string `json:"root_ca"`
}

// DeviceRegistrationName is the name and version of what `device register` and `device remove` answer.
const DeviceRegistrationName = "device-registration/1"

// DeviceRegistration is what became of a registration. It holds no key.
type DeviceRegistration struct {
	Schema     string            `json:"schema"`
	Name       string            `json:"name"`
	State      RegistrationState `json:"state"`
	UUID       string            `json:"uuid"`
	DeviceID   int64             `json:"device_id"`
	Fleet      int64             `json:"fleet"`
	DeviceType string            `json:"device_type"`
	APIURL     string            `json:"api_url"`
	// ConfigJSON is the path of the device's own config.json, empty when it has none.
	ConfigJSON string `json:"config_json"`
	Check      bool   `json:"check"`
	Changed    bool   `json:"changed"`
	Failed     bool   `json:"failed"`
	Msg        string `json:"msg"`
}

// DeviceArrivalName is the name and version of what `device wait` answers.
const DeviceArrivalName = "device-arrival/1"

// DeviceArrival is what was last seen of a device in balena (E14). Times are RFC 3339 in UTC, texts empty where nothing is
// known.
type DeviceArrival struct {
	Schema   string `json:"schema"`
	Name     string `json:"name"`
	UUID     string `json:"uuid"`
	DeviceID int64  `json:"device_id"`
	Fleet    int64  `json:"fleet"`
	APIURL   string `json:"api_url"`
	// Online is heartbeat and version together; IsOnline is the API's own word, which follows the VPN alone.
	Online     bool   `json:"online"`
	Registered bool   `json:"registered"`
	Heartbeat  string `json:"api_heartbeat_state"`
	Status     string `json:"overall_status"`
	IsOnline   bool   `json:"is_online"`
	VPN        bool   `json:"is_connected_to_vpn"`
	OSVersion  string `json:"os_version"`
	OSVariant  string `json:"os_variant"`
	Supervisor string `json:"supervisor_version"`
	Expected   string `json:"expected_os_version"`
	// Progress is in percent, -1 where the device says nothing.
	Provisioning string  `json:"provisioning_state"`
	Progress     int64   `json:"provisioning_progress"`
	LastEvent    string  `json:"last_connectivity_event"`
	Since        string  `json:"since"`
	Seen         string  `json:"seen"`
	Looks        int     `json:"looks"`
	Waited       float64 `json:"waited_s"`
	Trouble      string  `json:"trouble"`
	// RetryAfter is for how long the API wants to be left alone, in seconds.
	RetryAfter float64 `json:"retry_after_s,omitempty"`
	Changed    bool    `json:"changed"`
	Failed     bool    `json:"failed"`
	Msg        string  `json:"msg"`
}
