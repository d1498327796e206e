package balenaapi

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// resource is what stands behind /v7/: a name, and perhaps a key.
var resource = regexp.MustCompile(`^/(v6|v7|resin)/([a-z_]+)(?:\(([^()]*)\))?$`)

// equals is the one comparison that is understood, in keys and filters.
var equals = regexp.MustCompile(`\(?([a-z_]+)(?: eq |=)(?:'((?:[^']|'')*)'|(\d+))\)?`)

// alias is how a device type is found by any of its names; here each has one.
var alias = regexp.MustCompile(`device_type_alias/any\(dta:dta/is_referenced_by__alias eq ('[^']*')\)`)

// row is a row of a resource as it is shown.
type row map[string]any

// odata is what /v6 and /v7 have.
func (s *Server) odata(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-cache")
	at := resource.FindStringSubmatch(r.URL.Path)
	if at == nil {
		say(w, 400, "Malformed url: '"+r.URL.RequestURI()+"'")
		return
	}
	k := s.who(r)
	rows, known := s.rows(at[1], at[2])
	vpn := k != nil && k.role == "vpn" && r.Method == http.MethodPatch
	if !known || k == nil || k.role != "user" && !vpn && at[2] != "device_type" {
		empty(w, 401)
		return
	}
	match, ok := where(at[3], query(r).Get("$filter"))
	if !ok {
		empty(w, 500)
		return
	}
	var found []row
	for _, one := range rows {
		if match(one) {
			found = append(found, one)
		}
	}
	switch {
	case r.Method == http.MethodGet:
		get(w, found, query(r))
	case r.Method == http.MethodDelete && at[2] == "device" && (at[3] != "" || query(r).Get("$filter") != ""):
		for _, one := range found {
			s.remove(s.device(fmt.Sprint(one["uuid"])))
		}
		empty(w, 200)
	case r.Method == http.MethodDelete && at[2] == "application":
		for _, one := range found {
			s.fleet(func(f *Fleet) bool { return f.ID == one["id"] }).Deleted = true
		}
		empty(w, 200)
	case r.Method == http.MethodPatch && at[2] == "device":
		s.patchRows(w, r, found)
	case r.Method == http.MethodPost:
		s.insertRow(w, r, at[2])
	default:
		empty(w, 401)
	}
}

// query is what a request asks for. A semicolon parts nothing in it: it is OData's own, inside an expansion.
func query(r *http.Request) url.Values {
	q, err := url.ParseQuery(strings.ReplaceAll(r.URL.RawQuery, ";", "%3B"))
	if err != nil {
		return nil
	}
	return q
}

// where makes a filter of a key and a filter: comparisons of which one has to hold, as keys have one and filters are asked.
func where(id, filter string) (func(row) bool, bool) {
	if id != "" && strings.Trim(id, "0123456789") == "" {
		id = "id=" + id
	}
	var any [][]string
	for _, text := range []string{id, filter} {
		if text == "" {
			continue
		}
		text = alias.ReplaceAllString(text, "slug eq $1")
		all := equals.FindAllStringSubmatch(text, -1)
		rest := strings.Trim(strings.NewReplacer(" or ", "", "(", "", ")", "").Replace(equals.ReplaceAllString(text, "")), " ")
		if strings.Contains(text, "is_host") { // the filter for releases is not looked into
			return func(row) bool { return true }, true
		}
		if len(all) == 0 || rest != "" {
			return nil, false
		}
		any = append(any, all...)
	}
	return func(one row) bool {
		for _, c := range any {
			want := strings.ReplaceAll(c[2], "''", "'") + c[3]
			if have, ok := one[c[1]]; ok && fmt.Sprint(have) == want {
				return true
			}
		}
		return len(any) == 0
	}, true
}

// get answers with the selected members of rows. One that does not exist is an error of the server's.
func get(w http.ResponseWriter, rows []row, q url.Values) {
	out := []row{}
	for _, one := range rows {
		shown := row{}
		for _, name := range fields(q.Get("$select"), one) {
			v, ok := one[name]
			if !ok {
				empty(w, 500)
				return
			}
			shown[name] = v
		}
		for name := range one {
			if strings.HasPrefix(q.Get("$expand"), name+"(") {
				shown[name] = one[name]
			}
		}
		out = append(out, shown)
	}
	reply(w, 200, map[string]any{"d": out})
}

func fields(selected string, one row) []string {
	if selected != "" {
		return strings.Split(selected, ",")
	}
	var all []string
	for name := range one {
		all = append(all, name)
	}
	return all
}

// rows are all rows of a resource.
func (s *Server) rows(api, name string) ([]row, bool) {
	var out []row
	switch name {
	case "device":
		for _, d := range s.devices {
			out = append(out, s.deviceRow(d, api))
		}
	case "application":
		for _, f := range s.fleets {
			if !f.Deleted {
				arch := []row{{"slug": deviceTypes[f.DeviceType]}}
				out = append(out, row{"id": f.ID, "slug": f.Slug, "app_name": f.Name, "uuid": f.UUID,
					"is_for__device_type": []row{{"slug": f.DeviceType, "is_of__cpu_architecture": arch}}})
			}
		}
	case "device_type":
		n := 0
		for slug, arch := range deviceTypes {
			n++
			out = append(out, row{"id": n, "slug": slug, "is_of__cpu_architecture": []row{{"slug": arch}}})
		}
	case "release":
		for _, v := range s.versions {
			out = append(out, row{"raw_version": v, "belongs_to__application": []row{{"slug": "balena_os/host"}}})
		}
	default:
		return nil, false
	}
	return out, true
}

func (s *Server) deviceRow(d *Device, api string) row {
	out := row{
		"id": d.ID, "uuid": d.UUID, "device_name": "wild-moon", "belongs_to__application": row{"__id": d.Fleet}, "is_online": d.online(),
		"is_connected_to_vpn": d.VPN, "api_heartbeat_state": s.heartbeat(d), "overall_status": s.overall(d, api),
		"last_connectivity_event": nil, "provisioning_progress": nil, "created_at": d.Created.UTC().Format("2006-01-02T15:04:05.000Z"),
	}
	for _, name := range told {
		out[name] = nil
		if v := d.fields[name]; v != "" {
			out[name] = v
		}
	}
	if !d.LastGet.IsZero() {
		out["last_connectivity_event"] = d.LastGet.UTC().Format("2006-01-02T15:04:05.000Z")
	}
	return out
}

func (s *Server) patchRows(w http.ResponseWriter, r *http.Request, found []row) {
	in, ok := members(w, r)
	if !ok {
		return
	}
	for _, one := range found {
		if v, ok := in["is_connected_to_vpn"].(bool); ok {
			s.device(fmt.Sprint(one["uuid"])).VPN = v
		}
	}
	empty(w, 200)
}

func (s *Server) insertRow(w http.ResponseWriter, r *http.Request, name string) {
	in, ok := members(w, r)
	if !ok {
		return
	}
	uuid, _ := str(in, "uuid")
	fleet, _ := num(in, "belongs_to__application")
	app, _ := str(in, "app_name")
	switch {
	case name == "device" && s.device(uuid) != nil:
		say(w, 409, `"uuid" must be unique.`)
	case name == "device":
		d := s.insert(fleet, uuid, "", "")
		w.Header().Set("Location", fmt.Sprintf("/v7/device(@id)?@id=%d", d.ID))
		reply(w, 201, s.deviceRow(d, "v7"))
	case name == "application" && in["device_type"] != nil:
		empty(w, 500)
	case name == "application" && s.fleet(func(f *Fleet) bool { return f.Name == app }) != nil:
		say(w, 409, `"slug" must be unique.`)
	case name == "application":
		f := &Fleet{ID: s.id(), Slug: "operator/" + app, Name: app, UUID: s.random(), DeviceType: "generic-amd64"}
		s.fleets = append(s.fleets, f)
		w.Header().Set("Location", fmt.Sprintf("/v7/application(@id)?@id=%d", f.ID))
		reply(w, 201, row{"id": f.ID, "slug": f.Slug, "app_name": f.Name, "uuid": f.UUID, "is_for__device_type": row{"__id": in["is_for__device_type"]}})
	default:
		empty(w, 401)
	}
}
