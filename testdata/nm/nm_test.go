// Package nm lets the programs that will read them judge the connection files of collect-wifi: NetworkManager loads every
// file that comes of a device, and wpa_supplicant says what it reads in the file that some of them come from.
package nm

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps/host/hosttest"
	"github.com/balena-community/balena-migrate/steps/steptest"
	"github.com/balena-community/balena-migrate/steps/wifi"
)

// judged is what NetworkManager made of a directory: settings by file, and its log.
type judged struct {
	files map[string]map[string]string
	log   string
}

// judge runs judge.sh on a directory.
func judge(t *testing.T, dir string) judged {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "./judge.sh", dir)
	var complaints strings.Builder
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("judge.sh: %v\n%s", err, complaints.String())
	}
	j := judged{files: map[string]map[string]string{}}
	settings, log, ok := strings.Cut(string(out), "@log\n")
	if !ok {
		t.Fatalf("judge.sh printed no log:\n%s", out)
	}
	j.log = log
	var in map[string]string
	for line := range strings.Lines(settings) {
		line = strings.TrimSuffix(line, "\n")
		if name, ok := strings.CutPrefix(line, "@file "); ok {
			in = map[string]string{}
			j.files[name] = in
			continue
		}
		if key, value, ok := strings.Cut(line, ":"); ok && in != nil {
			in[key] = value
		}
	}
	return j
}

// complaints are the lines of the log that say something is wrong with a connection file.
func (j judged) complaints() []string {
	var out []string
	for line := range strings.Lines(j.log) {
		wrong := strings.Contains(line, "<warn>") || strings.Contains(line, "<error>")
		if wrong && (strings.Contains(line, "keyfile") || strings.Contains(line, "settings") || strings.Contains(line, "connection")) {
			out = append(out, strings.TrimSpace(line))
		}
	}
	return out
}

// collect runs collect-wifi on a device and returns the directory with what goes along.
func collect(t *testing.T, d device) (string, *schema.Result) {
	t.Helper()
	h := hosttest.New(t, d.files)
	in := schema.NewMigration()
	in.Config.Balena.ConfigJSON, in.Config.Network.FromConfigJSON = d.configJSON, d.configJSON != ""
	in.Config.Network.Files = append(in.Config.Network.Files, d.own...)
	res, err := steptest.RunOn(h).Converge(context.Background(), wifi.Step{}, in)
	if err != nil || res.Status != schema.Converged {
		t.Fatalf("collect-wifi: %s, %v, blocked %+v", res.Status, err, res.Blocked)
	}
	steptest.Valid(t, res, "canary")
	return filepath.Join(h.Root(), res.Facts.Network.Dir), res
}

// TestNetworkManager: it loads every file of every device without a word, and reads in them what the old system had.
func TestNetworkManager(t *testing.T) {
	for _, d := range devices() {
		t.Run(d.name, func(t *testing.T) {
			dir, res := collect(t, d)
			j := judge(t, dir)
			for _, line := range j.complaints() {
				t.Errorf("NetworkManager complains: %s", line)
			}
			if len(j.files) != len(d.want) || len(res.Facts.Network.Connections) != len(d.want) {
				t.Errorf("%d files, of which NetworkManager loaded %d, want %d: %+v", len(res.Facts.Network.Connections), len(j.files), len(d.want), res.Facts.Network.Connections)
			}
			for name, fields := range d.want {
				got, failed := j.files[name], false
				if got["connection.id"] != name && len(d.own) == 0 {
					t.Errorf("%s: id %q", name, got["connection.id"])
				}
				for key, want := range fields {
					if got[key] != want {
						failed = true
						t.Errorf("%s: %s is %q, want %q", name, key, got[key], want)
					}
				}
				if failed {
					data, _ := os.ReadFile(filepath.Join(dir, name))
					t.Logf("%s:\n%s", name, data)
				}
			}
		})
	}
}

// TestJudgeSeesFaults: what NetworkManager does not take shows, so that the test above can fail.
func TestJudgeSeesFaults(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"good":   "[connection]\nid=good\ntype=wifi\n[wifi]\nssid=x\n",
		"type":   "[connection]\nid=type\ntype=nothing\n",
		"ssid":   "[connection]\nid=ssid\ntype=wifi\n[wifi]\n",
		"value":  "[connection]\nid=value\ntype=wifi\n[wifi]\nssid=x\n[ipv4]\nmethod=manual\naddress1=no.address\n",
		"dns":    "[connection]\nid=dns\ntype=wifi\n[wifi]\nssid=x\n[ipv4]\nmethod=auto\ndns=bad/dns\";\n", // whose complaint names no file
		"syntax": "[connection\nid=syntax\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	j := judge(t, dir)
	if _, ok := j.files["good"]; !ok {
		t.Errorf("the good file was not loaded; log:\n%s", j.log)
	}
	for _, name := range []string{"type", "ssid", "value", "dns", "syntax"} {
		seen := slices.ContainsFunc(j.complaints(), func(line string) bool { return strings.Contains(line, "/"+name+"\"") })
		if _, loaded := j.files[name]; loaded && !seen {
			t.Errorf("NetworkManager loaded the file %q without a word; log:\n%s", name, j.log)
		}
	}
	if len(j.complaints()) == 0 {
		t.Errorf("no complaint was found in the log:\n%s", j.log)
	}
}
