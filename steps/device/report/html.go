package report

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // the page's parts
	"encoding/base64"
	"html/template"
	"io"

	"github.com/goccy/go-json"

	"github.com/balena-community/balena-migrate/schema"
)

//go:embed page.html
var pageHTML string

//go:embed page.css
var pageCSS string

//go:embed page.js
var pageJS string

// page is what the template is given.
type page struct {
	Fleet  *schema.FleetReport
	Policy string
	Style  template.CSS
	Script template.JS
	Data   template.JS
}

// HTML writes the report as one page that needs nothing else: no network, no server. Its policy (CSP, level 3) lets the
// browser run and load nothing but the script and the style whose digests it names, so a text that a device brings can't
// do anything, even if it got through the escaping.
func HTML(w io.Writer, fleet *schema.FleetReport) error {
	t, err := template.New("page").Parse(pageHTML)
	if err != nil {
		return err
	}
	data, err := payload(fleet)
	if err != nil {
		return err
	}
	return t.Execute(w, page{
		Fleet: fleet, Data: template.JS(data), Style: template.CSS(pageCSS), Script: template.JS(pageJS),
		Policy: "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; style-src " + digest(pageCSS) + "; script-src " + digest(pageJS),
	})
}

// payload is the report as JSON that can't leave a script element: HTML ends one at "</script", and begins a comment that
// swallows the end at "<!--" (HTML standard, 4.12.1.3). In JSON a "<" stands in strings only, and the encoder escapes it.
func payload(fleet *schema.FleetReport) (string, error) {
	data, err := schema.Encode(fleet)
	if err != nil {
		return "", err
	}
	var short bytes.Buffer
	if err := json.Compact(&short, data); err != nil {
		return "", err
	}
	return short.String(), nil
}

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}
