package balena

import (
	"context"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/goccy/go-json"
)

// slug is what device types are named by.
var slug = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]*$`)

func checkSlug(deviceType string) error {
	if !slug.MatchString(deviceType) {
		return fmt.Errorf("device type %q: found other characters than a-z, 0-9, '.', '_' and '-'", deviceType)
	}
	return nil
}

// release is a version and the host application that it is of.
type release struct {
	version Version
	app     string
}

// extended says whether it is of extended support: those are numbered by year and are on another policy than the rest
// (P27).
func (r release) extended() bool {
	return strings.HasSuffix(r.app, "-esr") || r.version.Major >= 2000
}

// releases lists the finished versions of balenaOS for a device type (E12).
func (c *Client) releases(ctx context.Context, deviceType string) ([]release, error) {
	if err := checkSlug(deviceType); err != nil {
		return nil, err
	}
	host := "a/is_host eq true and a/is_for__device_type/any(dt:dt/slug eq '" + deviceType + "')"
	q := c.request("/v7/release", url.Values{
		"$select": {"raw_version"},
		"$expand": {"belongs_to__application($select=slug)"},
		"$filter": {"is_final eq true and is_invalidated eq false and status eq 'success' and belongs_to__application/any(a:" + host + ")"},
	})
	what := "versions of balenaOS for " + deviceType
	a, err := c.ask(ctx, q, what, false)
	if err != nil {
		return nil, err
	}
	out, err := parseReleases(a.body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return out, nil
}

// parseReleases reads an answer. Versions that are none are left out: the list is long, and old.
func parseReleases(body []byte) ([]release, error) {
	var tree any // exact keys: the decoder would match those of a struct regardless of case
	if err := json.Unmarshal(body, &tree); err != nil {
		return nil, fmt.Errorf("found %d bytes that are not JSON, expected a list of releases", len(body))
	}
	doc, _ := tree.(map[string]any)
	rows, ok := doc["d"].([]any)
	if !ok {
		return nil, fmt.Errorf("found no list %q in %d bytes, expected releases", "d", len(body))
	}
	var out []release
	for _, row := range rows {
		r, _ := row.(map[string]any)
		text, _ := r["raw_version"].(string)
		v, err := ParseVersion(text)
		if err != nil {
			continue
		}
		out = append(out, release{version: v, app: appSlug(r["belongs_to__application"])})
	}
	return out, nil
}

// appSlug reads what was expanded: a list of one.
func appSlug(v any) string {
	list, _ := v.([]any)
	if len(list) == 0 {
		return ""
	}
	app, _ := list[0].(map[string]any)
	text, _ := app["slug"].(string)
	return text
}

// Choose returns the version that is wished for. Of those with extended support only one that is named exactly is.
func (c *Client) Choose(ctx context.Context, deviceType string, w Wish) (Version, error) {
	all, err := c.releases(ctx, deviceType)
	if err != nil {
		return Version{}, err
	}
	var versions []Version
	for _, r := range all {
		if w.exact != nil || !r.extended() {
			versions = append(versions, r.version)
		}
	}
	v, err := w.Choose(versions)
	if err != nil {
		return v, fmt.Errorf("%s: %w", deviceType, err)
	}
	return v, nil
}
