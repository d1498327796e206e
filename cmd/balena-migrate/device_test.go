package main

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-json"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/balena-community/balena-migrate/testdata/balenaapi"
)

const userKey = "canary-user-key"

// serveAPI gives a script a server of its own, with a fleet.
func serveAPI(t *testing.T, env *testscript.Env) {
	t.Helper()
	api := balenaapi.New(userKey, "canary-session")
	api.Delay = 0
	fleet := api.AddFleet("operator/gateways", "generic-amd64")
	web := httptest.NewServer(api)
	env.Defer(web.Close)
	env.Setenv("API", web.URL)
	env.Setenv("FLEET", fmt.Sprint(fleet.ID))
}

// arrive FILE is a device with that config.json that comes online: it asks $API for its state, and tells its version.
func arrive(ts *testscript.TestScript, neg bool, args []string) {
	var c struct{ UUID, DeviceAPIKey string }
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &c))
	call := func(method, path, body string) {
		q, err := http.NewRequest(method, ts.Getenv("API")+path, strings.NewReader(body))
		ts.Check(err)
		q.Header.Set("Authorization", "Bearer "+c.DeviceAPIKey)
		q.Header.Set("Content-Type", "application/json")
		res, err := http.DefaultClient.Do(q)
		ts.Check(err)
		res.Body.Close()
		if (res.StatusCode != http.StatusOK) != neg {
			ts.Fatalf("%s %s: %s", method, path, res.Status)
		}
	}
	call("GET", "/device/v3/"+c.UUID+"/state", "")
	call("PATCH", "/device/v3/state", fmt.Sprintf(`{%q:{"os_version":"balenaOS 6.1.24"}}`, c.UUID))
}

// An openBalena with certificates of its own: trusted by --ca, and later by the registration, without which nothing is sent.
func TestOwnAuthority(t *testing.T) {
	api := balenaapi.New(userKey, "canary-session")
	api.AddFleet("operator/gateways", "generic-amd64")
	web := httptest.NewUnstartedServer(api)
	web.Config.ErrorLog = nil
	web.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	web.StartTLS()
	defer web.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw})
	api.RootCA = base64.StdEncoding.EncodeToString(ca)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), ca, 0o600); err != nil {
		t.Fatal(err)
	}
	bm := func(want int, args ...string) string {
		t.Helper()
		cmd := exec.Command("balena-migrate", append([]string{"device"}, args...)...)
		cmd.Env = append(os.Environ(), "BALENA_API_TOKEN="+userKey)
		cmd.Dir = dir
		out, _ := cmd.CombinedOutput() // the exit code says it
		if cmd.ProcessState.ExitCode() != want || bytes.Contains(out, []byte("canary")) {
			t.Errorf("%v: exit code %d, want %d\n%s", args, cmd.ProcessState.ExitCode(), want, out)
		}
		return string(out)
	}
	register := []string{"register", "gateway-1", "--fleet", "operator/gateways", "--os-version", "6.1.24", "--state", "state", "--api-url", web.URL}
	bm(0, append(register, "--ca", "ca.pem")...)
	if out := bm(1, "wait", "gateway-1", "--state", "state", "--once"); !strings.Contains(out, "is not online: heartbeat unknown") {
		t.Error(out)
	}
	bm(0, "remove", "gateway-1", "--state", "state")
	seen := len(api.Requests(""))
	register[1] = "gateway-2"
	began := time.Now()
	out := bm(1, register...)
	if !strings.Contains(out, "--ca") || len(api.Requests("")) != seen || time.Since(began) > 8*time.Second {
		t.Errorf("%d requests without the authority, want %d; after %s, want at once\n%s", len(api.Requests("")), seen, time.Since(began), out)
	}
}
