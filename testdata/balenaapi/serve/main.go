// Command serve runs the API of package balenaapi by itself, for virtual machines and for a look with curl:
//
//	BALENA_API_TOKEN=key go run ./testdata/balenaapi/serve -listen 127.0.0.1:8080 -fleet operator/fleet -type generic-amd64
//
// It prints its address and the fleet's number as JSON on the first line. All is lost when it ends.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/balena-community/balena-migrate/testdata/balenaapi"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address")
	slug := flag.String("fleet", "operator/fleet", "slug of the fleet")
	deviceType := flag.String("type", "generic-amd64", "its device type")
	poll := flag.Duration("poll", 15*time.Minute, "how often devices ask for their state")
	flag.Parse()
	if err := serve(*listen, *slug, *deviceType, *poll); err != nil {
		fmt.Fprintln(os.Stderr, "serve:", err)
		os.Exit(1)
	}
}

func serve(listen, slug, deviceType string, poll time.Duration) error {
	token := os.Getenv("BALENA_API_TOKEN")
	if token == "" {
		return fmt.Errorf("found no BALENA_API_TOKEN, expected the key that the user is to have")
	}
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	api := balenaapi.New(token, token+"-session")
	api.Poll, api.Host = poll, l.Addr().String()
	f := api.AddFleet(slug, deviceType)
	if err := json.NewEncoder(os.Stdout).Encode(map[string]any{"url": "http://" + l.Addr().String(), "fleet": f.ID}); err != nil {
		return err
	}
	return http.Serve(l, api) //nolint:gosec // for tests, without limits
}
