package seedconf

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-json"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps/device/shellvars"
)

const canary = "hunter2-S3CRET"

func none(string) bool { return false }

// run imports a text that must be accepted.
func run(t *testing.T, text string, exists func(string) bool) *schema.ConfigImport {
	t.Helper()
	got, err := Import([]byte(text), "f", exists)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	data, err := schema.Encode(got)
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Decode(data, "import", "config-import", &schema.ConfigImport{}); err != nil {
		t.Error(err)
	}
	return got
}

// S13–S36 in one file.
func TestWholeFile(t *testing.T) {
	text, err := os.ReadFile("testdata/device.conf")
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/device.json")
	if err != nil {
		t.Fatal(err)
	}
	got := run(t, string(text), none)
	if string(got.Document) != string(want) {
		t.Errorf("document\n%sexpected\n%s", got.Document, want)
	}
	var kinds []string
	for _, n := range got.Variables {
		if n.Line < 2 || n.Column < 1 || n.Kind != schema.ImportMapped && n.Text == "" || (n.Kind == schema.ImportMapped || n.Kind == schema.ImportChanged) != (len(n.Keys) > 0) && n.Variable != "HOME_DIR" {
			t.Errorf("note %+v", n)
		}
		kinds = append(kinds, n.Variable+" "+n.Kind)
	}
	if len(kinds) != strings.Count(string(text), "\n")-1 {
		t.Errorf("%d variables are told of: %q", len(kinds), kinds)
	}
	for _, k := range []string{
		"IMAGE_NAME mapped", "BACKUP_SCRIPT unused", "HAS_WIFI_CFG changed", "GRUB_CFG unused", "LOG_DEBUG obsolete", "MAX_BADBLOCKS changed",
		"DO_REBOOT changed", "TERM_EXIT changed", "MEM_MIN_FREE_S1 changed", "BACKUP_DIRECTORIES obsolete", "MK_INITRAM_VERBOSE obsolete", "HOME_DIR changed",
	} {
		if !slices.Contains(kinds, k) {
			t.Errorf("expected %s in %q", k, kinds)
		}
	}
}

// part is a document's member in one line.
func part(t *testing.T, doc []byte, names ...string) string {
	t.Helper()
	var tree map[string]any
	if err := json.Unmarshal(doc, &tree); err != nil {
		t.Fatal(err)
	}
	node := tree["config"]
	for _, n := range names {
		m, _ := node.(map[string]any)
		node = m[n]
	}
	text, err := json.Marshal(node)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestMeaning(t *testing.T) {
	list := func(name string) bool { return name == "migrate-wifis" || name == "/home/migrate-wifis" }
	for _, c := range []struct {
		text   string
		exists func(string) bool
		member string
		want   string
	}{
		{"MIGRATE_ALL_WIFIS=TRUE", none, "network", `{"wifi":"all"}`},
		{"MIGRATE_ALL_WIFIS=TRUE\nMIGRATE_WIFI_CFG=x", none, "network", `{"wifi":"all"}`},
		{"MIGRATE_ALL_WIFIS=FALSE", none, "network", `{"wifi":"none"}`},
		{"MIGRATE_ALL_WIFIS=FALSE", list, "network", `{"ssid_file":"migrate-wifis","wifi":"listed"}`},
		{"MIGRATE_WIFI_CFG=x", none, "network", `{"ssid_file":"x","wifi":"listed"}`},
		{"MIGRATE_WIFI_CFG=", list, "network", `{"wifi":"none"}`},
		{"", none, "network", `{"wifi":"none"}`},
		{"HOME_DIR=/home", list, "network", `{"ssid_file":"/home/migrate-wifis","wifi":"listed"}`},
		{"HOME_DIR=/home\nIMAGE_NAME=a/b.gz", none, "image", `{"path":"/home/a/b.gz"}`},
		{"HOME_DIR=/home\nIMAGE_NAME=/a/b.gz", none, "image", `{"path":"/a/b.gz"}`},
		{"BACKUP_SCRIPT=s.sh\nBACKUP_DEFINITION=d.yml", none, "backup", `{"script":"s.sh"}`},
		{"BACKUP_SCRIPT=\nBACKUP_DEFINITION=d.yml", none, "backup", `{"definition":"d.yml"}`},
		{"COPY_NMGR_FILES=(a 'b c')", none, "network", `{"files":["a","b c"],"wifi":"none"}`},
		{"COPY_NMGR_FILES=a\nCOPY_NMGR_FILES+=' b'", none, "network", `{"files":["a","b"],"wifi":"none"}`},
		{"COPY_NMGR_FILES=(a)\nCOPY_NMGR_FILES+=(b)", none, "network", `{"files":["a","b"],"wifi":"none"}`},
		{"HAS_WIFI_CFG=TRUE", none, "network", `{"first_index":2,"wifi":"none"}`},
		{"DO_REBOOT=TRUE", none, "reboot", `{"delay_s":1}`},
		{"DO_REBOOT=0", none, "reboot", `{"delay_s":1}`},
		{"DO_REBOOT=", none, "reboot", `null`},
		{"NO_FLASH=\nNO_SETUP=TRUE", none, "stage2", `{"flash":true}`},
		{"NO_SETUP=TRUE", none, "boot", `{"arm":false}`},
		{"TERM_EXIT='exit 0'", none, "stage2", `{"after_no_flash":"continue"}`},
		{"TERM_EXIT='/bin/sh'", none, "stage2", `{"after_no_flash":"continue"}`},
		{"BALENA_API_HOST=api.balena-cloud.com:443\nBALENA_VPN_HOST=", none, "balena", `{"api_url":"https://api.balena-cloud.com","vpn_host":""}`},
		{"BALENA_API_HOST=", none, "balena", `{"api_url":""}`},
		{"BALENA_API_PORT=8443\nBALENA_VPN_PORT=444", none, "balena", `{"api_url":"https://api.balena-cloud.com:8443","vpn_port":444}`},
		{"BALENA_API_HOST=a\nBALENA_API_PORT=443\nBALENA_VPN_HOST=v\nBALENA_VPN_PORT=", none, "balena", `{"api_url":"https://a","vpn_host":"v"}`},
		{"BALENA_API_HOST=\nBALENA_API_PORT=8443", none, "balena", `{"api_url":""}`},
		{"GRUB_INSTALL=TRUE\nGRUB_CFG=g\nGRUB_BOOT_IMG=b\nGRUB_CORE_IMG=c", none, "boot", `{"grub":{"boot_img":"b","cfg":"g","core_img":"c","install":"files"}}`},
		{"GRUB_INSTALL=TRUE\nGRUB_CFG=g", none, "boot", `{"grub":{"cfg":"g","install":"host"}}`},
		{"GRUB_CORE_IMG=b\nGRUB_CORE_IMG=c\nGRUB_INSTALL=TRUE", none, "boot", `{"grub":{"core_img":"c","install":"host"}}`},
		{"MIG_BALENA_VER=2.26.0", none, "image", `{"version":"2.26.0"}`},
		{"\xef\xbb\xbfIMAGE_NAME=a\r\nDEBUG=\"TRUE\"\r\n", none, "image", `{"path":"a"}`},
		{"IMAGE_NAME=a; DEBUG=TRUE", none, "boot", `{"debug":true}`},
	} {
		if got := part(t, run(t, c.text, c.exists).Document, c.member); got != c.want {
			t.Errorf("%q: %s is %s, expected %s", c.text, c.member, got, c.want)
		}
	}
}

// A unit file of migdb (F9): each variable has its reason, and no value of it is anywhere.
func TestUnitFile(t *testing.T) {
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(obsolete())) {
		fmt.Fprintf(&text, "%s=\"%s\"\n", name, canary)
	}
	got := run(t, text.String(), none)
	data, err := schema.Encode(got)
	if err != nil || strings.Contains(string(data), canary) {
		t.Errorf("%v, or a value is in %s", err, data)
	}
	if len(got.Variables) != len(obsolete())+1 { // and one for the networks, of which nothing is said
		t.Errorf("%d variables are told of", len(got.Variables))
	}
	for name := range rules() {
		if obsolete()[name] != "" {
			t.Errorf("%s is both mapped and obsolete", name)
		}
	}
}

// What can't be imported is refused by place, all of it at once, and nothing of it is shown or run.
func TestRefusals(t *testing.T) {
	touched := t.TempDir() + "/touched"
	for text, want := range map[string]string{
		"A=$(touch " + touched + ")":                "1:3: found a command substitution",
		"IMAGE_NAME=`touch " + touched + "`":        "1:12: found a command substitution",
		"\n  IMAGE_NAME=\"x $(id) " + canary + "\"": "2:17: found a command substitution",
		"IMAGE_NAME=$HOME/" + canary:                "1:12: found the value of a variable",
		"IMAGE_NAME=\"${X:-" + canary + "}\"":       "1:13: found the value of a variable",
		"DO_REBOOT=$((1+2))":                        "1:11: found arithmetic",
		"IMAGE_NAME=<(touch " + touched + ")":       "1:12: found a process substitution",
		"IMAGE_NAME=~/x":                            "1:12: found ~",
		"COPY_NMGR_FILES=(*.conf)":                  "1:18: found a pattern",
		"COPY_NMGR_FILES=({a,b})":                   "1:18: found a pattern",
		"IMAGE_NAME=$'a\\nb'":                       "1:12: found $'…' with escapes",
		"touch " + touched:                          "1:1: found a command",
		"DEBUG=TRUE touch " + touched:               "1:12: found a command",
		"IMAGE_NAME=a b":                            "1:14: found a command",
		"IMAGE_NAME=a >" + touched:                  "1:1: found a command",
		"IMAGE_NAME=a &":                            "1:1: found a command",
		"! IMAGE_NAME=a":                            "1:1: found a command",
		"if true; then IMAGE_NAME=a; fi":            "1:1: found a command",
		"IMAGE_NAME=a && touch " + touched:          "1:1: found a command",
		"f() { touch " + touched + "; }":            "1:1: found a command",
		". /etc/secret":                             "1:1: found a command",
		"local IMAGE_NAME=a":                        "1:1: found local",
		"export -n IMAGE_NAME":                      "1:8: found an option",
		"A[1]=b":                                    "1:1: found an option or an element",
		"COPY_NMGR_FILES=([0]=b)":                   "1:19: found an element with an index",
		"IMAGE_NAME=\"" + canary:                    "1:12: found no shell syntax",
		"IMAGE_NAMES=" + canary:                     "1:1: found the variable IMAGE_NAMES",
		"NO_FLASH=" + canary:                        "1:1: found another value for NO_FLASH, expected TRUE, FALSE or nothing",
		"NO_FLASH=true":                             "1:1: found another value for NO_FLASH",
		"DO_REBOOT=-1":                              "1:1: found another value for DO_REBOOT, expected a number",
		"HAS_WIFI_CFG=99":                           "1:1: found another value for HAS_WIFI_CFG",
		"BALENA_API_HOST=https://" + canary:         "1:1: found another value for BALENA_API_HOST",
		"LOG_FS_TYPE=" + canary:                     "1:1: found LOG_FS_TYPE with another value, expected value must be one of",
		"LOG_DRIVE=" + canary:                       "1:1: found LOG_DRIVE with another value",
		"BALENA_VPN_HOST=v:99999":                   "1:1: found BALENA_VPN_HOST with another value, expected must be <= 65535",
		"COPY_NMGR_FILES=('')":                      "1:1: found COPY_NMGR_FILES with another value",
		"IMAGE_NAME=(a b)":                          "1:1: found a list for IMAGE_NAME",
		strings.Repeat("#", 64<<10+1):               "1:1: found 65537 bytes",
	} {
		_, err := Import([]byte(text), "f", none)
		var refused *shellvars.Refused
		if !errors.As(err, &refused) || !strings.HasPrefix(err.Error(), "f:"+want) {
			t.Errorf("%.60q: %v, expected f:%s", text, err, want)
			continue
		}
		if strings.Contains(err.Error(), canary) {
			t.Errorf("%q: the value is in %v", text, err)
		}
	}
	if _, err := os.Stat(touched); err == nil {
		t.Error("something was run")
	}
	_, err := Import([]byte("A=$(id)\nFOO=1\nNO_FLASH=x\nLOG_FS_TYPE=zfs\nb\n"), "f", none)
	if lines := strings.Split(fmt.Sprint(err), "\n"); len(lines) != 5 {
		t.Errorf("five problems gave %q", lines)
	}
}

// Whatever the file holds, the answer is a valid document or a list of problems with their places.
func FuzzImport(f *testing.F) {
	data, err := os.ReadFile("testdata/device.conf")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte("COPY_NMGR_FILES=(a 'b' \"c\")\nIMAGE_NAME+=x\nexport A=\\\n$'x'\n"))
	f.Add([]byte("A=$(b) C=`d` E=${F} G=$((1)) H=<(i) J=~ [k]=l\r\n((((\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := Import(data, "f", none)
		if err == nil {
			if err := schema.Decode(got.Document, "f", "migration", schema.NewMigration()); err != nil {
				t.Error(err)
			}
			return
		}
		var refused *shellvars.Refused
		if !errors.As(err, &refused) || len(refused.Problems) == 0 {
			t.Fatalf("error %v", err)
		}
		lines := strings.Count(string(data), "\n") + 1
		for _, p := range refused.Problems {
			if p.Line < 1 || p.Line > lines || p.Column < 1 || p.Got == "" || p.Want == "" || p.Remedy == "" {
				t.Errorf("problem %+v in %d lines", p, lines)
			}
		}
	})
}
