package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/balena-community/balena-migrate/steps/host/hosttest"
)

// The program downloads through the proxy of its environment, and says nowhere what is secret in the address.
func TestDownloadByProxy(t *testing.T) {
	image := hosttest.Image(t)
	var asked []string
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.RequestURI)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(image))
	}))
	defer proxy.Close()
	dir := t.TempDir()
	const address = "http://images.test/balena.img?sig=canary"
	doc := fmt.Sprintf(`{"schema":"migration/1","config":{"disk":{"min_free_mb":0},"image":{"url":%q,"sha256":"%x"}}}`, address, sha256.Sum256(image))
	if err := os.WriteFile(filepath.Join(dir, "m.json"), []byte(doc), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("balena-migrate", "step", "prepare-image", "--root", dir, "--work-dir", filepath.Join(dir, "work"), "--input", filepath.Join(dir, "m.json"))
	cmd.Env = append(os.Environ(), "HTTP_PROXY="+proxy.URL, "NO_PROXY=")
	out, err := cmd.CombinedOutput()
	if err != nil || len(asked) == 0 || asked[len(asked)-1] != address {
		t.Fatalf("asked %q, error %v\n%s", asked, err, out)
	}
	if bytes.Contains(out, []byte("canary")) {
		t.Errorf("a secret shows:\n%s", out)
	}
	files, err := filepath.Glob(filepath.Join(dir, "work", "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, error %v", files, err)
	}
	for _, name := range files {
		if data, err := os.ReadFile(name); err != nil || bytes.Contains(data, []byte("canary")) {
			t.Errorf("%s: a secret shows, error %v", name, err)
		}
	}
}
