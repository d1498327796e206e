package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps/host/hosttest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"balena-migrate": main, "peak": peak})
}

// TestScripts runs the command line as its users do. Each script finds a Debian device in $ROOT, whose work dir is
// $ROOT/var/lib/balena-migrate, in its own folder a small image, a config.json and a migration document, in $GOLDEN
// testdata/golden, and at $API a server that answers as balena's, with the fleet $FLEET.
func TestScripts(t *testing.T) {
	image := hosttest.Image(t)
	golden, err := filepath.Abs("../../testdata/golden")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:  "../../testdata/scripts",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"arrive": arrive},
		Setup: func(env *testscript.Env) error {
			h := hosttest.Debian(t)
			h.Put("/etc/wpa_supplicant/wpa_supplicant.conf", "network={\n ssid=\"lab\"\n psk=\"canary-passphrase\"\n}\n")
			h.Put("/srv/app/data", "canary-data")
			env.Setenv("ROOT", h.Root())
			env.Setenv("GOLDEN", golden)
			serveAPI(t, env)
			for name, data := range inputFiles(image) {
				if err := os.WriteFile(filepath.Join(env.WorkDir, name), data, 0o600); err != nil {
					return err
				}
			}
			return nil
		},
	})
}

// inputFiles is what an operator brings.
func inputFiles(image []byte) map[string][]byte {
	return map[string][]byte{
		"balena.img": image,
		"config.json": []byte(`{"apiEndpoint":"https://api.balena-cloud.com","vpnEndpoint":"vpn.balena-cloud.com","vpnPort":443,` +
			`"registryEndpoint":"r","deltaEndpoint":"d","applicationId":1,"deviceType":"genericx86-64-ext","listenPort":48484,` +
			`"appUpdatePollInterval":600000,"apiKey":"canary-key"}`),
		"backup.yml": []byte("- volume: app\n  items:\n    - source: /srv/app\n"),
		"m.json": []byte(`{"schema":"migration/1","config":{"image":{"path":"balena.img"},"balena":{"config_json":"config.json"},` +
			`"backup":{"definition":"backup.yml"},"checks":{"skip":["api","vpn","memory"]}}}`),
	}
}

// The names of the steps are the same in the program, in the schema and in the order of the role.
func TestStepNamesAgree(t *testing.T) {
	text, err := schema.Text("result")
	if err != nil {
		t.Fatal(err)
	}
	role, err := os.ReadFile("../../ansible/roles/migrate/tasks/main.yml")
	if err != nil {
		t.Fatal(err)
	}
	reboot, err := os.ReadFile("../../ansible/roles/migrate/tasks/reboot.yml")
	if err != nil {
		t.Fatal(err)
	}
	tasks, at := string(role)+string(reboot), 0
	for _, name := range stepNames() {
		if !strings.Contains(string(text), `"`+name+`"`) {
			t.Errorf("result.json has no step %s", name)
		}
		next := strings.Index(tasks[at:], "name: "+name+"\n")
		if next < 0 {
			t.Errorf("the role does not run %s in its place", name)
			continue
		}
		at += next
	}
}
