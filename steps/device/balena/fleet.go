package balena

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// Fleet is a fleet: its number, slug ("org/name") and device type.
type Fleet struct {
	ID               int64
	Slug, DeviceType string
}

const fleetRemedy = "name the fleet by its number or slug (org/name), and see that the key may read it"

// Fleet finds a fleet by its number, its slug, or its bare name if the key sees one of that name alone.
func (c *Client) Fleet(ctx context.Context, name string) (Fleet, error) {
	what := "fleet " + name
	path, query := "/v7/application", url.Values{"$select": {"id,slug"}, "$expand": {"is_for__device_type($select=slug)"}}
	quoted := "'" + strings.ReplaceAll(name, "'", "''") + "'"
	switch {
	case name == "":
		return Fleet{}, fmt.Errorf("found no name of a fleet, expected its number or slug")
	case strings.Trim(name, "0123456789") == "":
		path += "(" + name + ")"
	case strings.Contains(name, "/"):
		query.Set("$filter", "slug eq "+strings.ToLower(quoted))
	default:
		query.Set("$filter", "app_name eq "+quoted)
	}
	rows, err := c.get(ctx, path, query, what, fleetRemedy)
	if err != nil {
		return Fleet{}, err
	}
	if len(rows) != 1 {
		return Fleet{}, &Refused{Status: http.StatusNotFound, What: what, Text: tally(rows), Keyed: c.Token != "", Remedy: fleetRemedy}
	}
	f := Fleet{ID: whole(rows[0]["id"]), Slug: said(rows[0]["slug"])}
	if types, _ := rows[0]["is_for__device_type"].([]any); len(types) == 1 {
		of, _ := types[0].(map[string]any)
		f.DeviceType = said(of["slug"])
	}
	if f.ID <= 0 {
		return Fleet{}, fmt.Errorf("%s: found no number, expected one", what)
	}
	return f, nil
}

func tally(rows []map[string]any) string {
	if len(rows) == 0 {
		return "found none that this key may see"
	}
	var slugs []string
	for _, r := range rows {
		slugs = append(slugs, said(r["slug"]))
	}
	return fmt.Sprintf("found %d of that name: %s", len(rows), strings.Join(slugs, ", "))
}

// ConfigWish is what a fleet's config.json is asked for with (E10). Poll is how often devices are to look for updates, in
// minutes.
type ConfigWish struct {
	Fleet               int64
	Version, DeviceType string
	Poll                int
}

// KeyName is the name of the provisioning keys that come with config.json, for who looks at the list of them.
const KeyName = "balena-migrate"

// Config asks for a fleet's config.json. Every request makes another provisioning key, so it is to be made once per fleet;
// one whose answer is lost leaves a key behind that nobody has.
func (c *Client) Config(ctx context.Context, w ConfigWish) ([]byte, error) {
	a, err := c.send(ctx, http.MethodPost, "/download-config", map[string]any{
		"appId": w.Fleet, "version": w.Version, "deviceType": w.DeviceType, "network": "ethernet", "appUpdatePollInterval": w.Poll,
		"provisioningKeyName": KeyName,
	}, fmt.Sprintf("config.json of fleet %d", w.Fleet), "see that fleet, device type and version of balenaOS are right, and that the key is a user's")
	return a.body, err
}
