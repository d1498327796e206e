package balena

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps/device/configjson"
	"github.com/balena-community/balena-migrate/steps/host/hosttest"
)

func config(t *testing.T, text string) *configjson.File {
	t.Helper()
	f, err := configjson.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// The key: from the environment, else a file, else config.json, and that only to its own API.
func TestKeys(t *testing.T) {
	own := `{"apiEndpoint":"https://api.example.com","apiKey":"fleet","deviceApiKey":"device"}`
	for _, tt := range []struct {
		name, env, file, url, config string
		wantURL, want                string
	}{
		{"config.json", "", "", "https://api.example.com", own, "https://api.example.com", "device"},
		{"config.json's API", "", "", "", own, "https://api.example.com", "device"},
		{"fleet's key", "", "", "", strings.Replace(own, `"device"`, `""`, 1), "https://api.example.com", "fleet"},
		{"another API", "", "", "https://api.balena-cloud.com", own, "https://api.balena-cloud.com", ""},
		{"file", "", "file\n", "https://api.balena-cloud.com", own, "https://api.balena-cloud.com", "file"},
		{"environment", "env", "file", "https://api.example.com", own, "https://api.example.com", "env"},
		{"no config.json", "env", "", "https://api.balena-cloud.com", "", "https://api.balena-cloud.com", "env"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv(TokenVariable, tt.env)
			h := hosttest.New(t, nil)
			c := schema.BalenaConfig{APIURL: tt.url}
			if tt.file != "" {
				c.TokenFile = "/token"
				h.Put("/token", tt.file)
				if err := os.Chmod(filepath.Join(h.Root(), "token"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			var file *configjson.File
			if tt.config != "" {
				file = config(t, tt.config)
			}
			got, err := NewClient(h, c, file)
			if err != nil || got.URL != tt.wantURL || got.Token != tt.want {
				t.Errorf("%s with %q, error %v", got.URL, got.Token, err)
			}
		})
	}
}

func TestBadKeys(t *testing.T) {
	h := hosttest.New(t, map[string]string{"/open": canary, "/dir/x": "", "/two": canary + "\n" + canary, "/none": "\n", "/large": strings.Repeat("x", 9000)})
	for _, name := range []string{"/two", "/none", "/large"} {
		if err := os.Chmod(filepath.Join(h.Root(), name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv(TokenVariable, "")
	for name, want := range map[string]string{"/open": "chmod 600", "/dir": "expected a file", "/two": "no key", "/none": "0 bytes", "/large": "at most 8192", "/missing": "no such file"} {
		_, err := NewClient(h, schema.BalenaConfig{APIURL: "https://x", TokenFile: name}, nil)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: error %v, want %q", name, err, want)
		}
	}
	if _, err := NewClient(h, schema.BalenaConfig{}, config(t, "{}")); err == nil {
		t.Error("no API, and no error")
	}
	t.Setenv(TokenVariable, canary+" "+canary)
	if _, err := NewClient(h, schema.BalenaConfig{APIURL: "https://x"}, nil); err == nil || strings.Contains(err.Error(), canary) {
		t.Errorf("error %v", err)
	}
}
