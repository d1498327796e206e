package balenaapi

import (
	"net/http"
	"strings"
)

// downloadConfig is /download-config: a new provisioning key every time.
func (s *Server) downloadConfig(w http.ResponseWriter, r *http.Request) {
	if !s.user(r) {
		empty(w, 401)
		return
	}
	in, ok := members(w, r)
	if !ok {
		return
	}
	id, _ := num(in, "appId")
	version, _ := str(in, "version")
	deviceType, _ := str(in, "deviceType")
	f := s.fleet(func(f *Fleet) bool { return f.ID == id })
	if f != nil && deviceType == "" {
		deviceType = f.DeviceType
	}
	switch {
	case in["appId"] == nil:
		say(w, 400, "An appId is required.")
	case version == "":
		say(w, 400, "A version is required.")
	case strings.HasPrefix(strings.TrimPrefix(version, "v"), "1.0.") || strings.HasPrefix(version, "0."):
		say(w, 400, "balenaOS versions <= 1.2.0 are no longer supported, please update")
	case f == nil:
		say(w, 404, "You do not have permission to access this application")
	case deviceTypes[deviceType] == "":
		say(w, 404, "Unknown device type "+deviceType)
	default:
		reply(w, 200, s.config(in, f, deviceType))
	}
}

func (s *Server) config(in map[string]any, f *Fleet, deviceType string) map[string]any {
	poll := int64(60000)
	if n, ok := num(in, "appUpdatePollInterval"); ok {
		poll = n * 60000
	}
	expires, _ := str(in, "provisioningKeyExpiryDate")
	name, _ := str(in, "provisioningKeyName")
	out := map[string]any{
		"applicationId": f.ID, "deviceType": deviceType, "userId": 2, "appUpdatePollInterval": poll, "listenPort": 48484, "vpnPort": 443,
		"apiEndpoint": "https://" + s.Host, "vpnEndpoint": "cloudlink." + s.Host, "registryEndpoint": "registry2." + s.Host,
		"deltaEndpoint": "https://delta." + s.Host, "mixpanelToken": "balena", "apiKey": s.provisioning(f.ID, expires, name),
	}
	if in["developmentMode"] == true || in["developmentMode"] == "true" {
		out["developmentMode"] = true
	}
	if network, _ := str(in, "network"); network == "wifi" {
		out["wifiSsid"], out["wifiKey"] = in["wifiSsid"], in["wifiKey"]
	}
	if s.RootCA != "" {
		out["balenaRootCA"] = s.RootCA
	}
	return out
}

// types are the public lists of device types.
func (s *Server) types(w http.ResponseWriter, r *http.Request) {
	slug := strings.Trim(strings.TrimPrefix(r.URL.Path, "/device-types/v1"), "/")
	if slug == "" {
		var all []any
		for name, arch := range deviceTypes {
			all = append(all, map[string]any{"slug": name, "arch": arch, "state": "RELEASED"})
		}
		reply(w, 200, all)
		return
	}
	if deviceTypes[slug] == "" {
		say(w, 404, "Unknown device type "+slug)
		return
	}
	reply(w, 200, map[string]any{"slug": slug, "arch": deviceTypes[slug], "state": "RELEASED"})
}
