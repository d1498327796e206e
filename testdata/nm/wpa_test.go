package nm

import (
	"bufio"
	"crypto/pbkdf2"
	"crypto/sha1"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// wpaNetwork is what wpa_supplicant itself read in a network block.
type wpaNetwork struct {
	ssid     string
	pmk      string // hex
	priority string
	values   map[string]string // dumps of text settings
}

var (
	blockStart = regexp.MustCompile(`^Line: (\d+) - start of a new network block`)
	textDump   = regexp.MustCompile(`^(\w+) - hexdump_ascii\(len=(\d+)\):`)
	keyDump    = regexp.MustCompile(`^PSK(?: \(from passphrase\))? - hexdump\(len=32\): ([0-9a-f ]+)`)
	priority   = regexp.MustCompile(`^priority=(\d+)`)
)

// askWPA starts wpa_supplicant without a driver in a network namespace and reads what it says of each block, by line.
func askWPA(t *testing.T, conf string) map[string]wpaNetwork {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "unshare", "--net", "--pid", "--fork", "--kill-child", "wpa_supplicant", "-c", conf, "-i", "lo", "-D", "none", "-dd", "-K")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	found, line, end := map[string]wpaNetwork{}, "", false
	lines := bufio.NewScanner(out)
	for !end && lines.Scan() {
		text := lines.Text()
		n := found[line]
		switch {
		case blockStart.MatchString(text):
			line = blockStart.FindStringSubmatch(text)[1]
			found[line] = wpaNetwork{values: map[string]string{}}
			continue
		case textDump.MatchString(text):
			m := textDump.FindStringSubmatch(text)
			length, _ := strconv.Atoi(m[2])
			if value := dumped(t, lines, length); m[1] == "ssid" {
				n.ssid = value
			} else if n.values != nil {
				n.values[m[1]] = value
			}
		case keyDump.MatchString(text):
			n.pmk = strings.ReplaceAll(keyDump.FindStringSubmatch(text)[1], " ", "")
		case priority.MatchString(text):
			n.priority = priority.FindStringSubmatch(text)[1]
		case strings.HasPrefix(text, "Priority group"), strings.HasPrefix(text, "Failed"):
			end = true
		}
		if line != "" {
			found[line] = n
		}
	}
	cmd.Process.Kill()
	cmd.Wait()
	if !end {
		t.Fatalf("wpa_supplicant ended before it had read %s", conf)
	}
	return found
}

// dumped reads the lines of a dump: sixteen bytes each.
func dumped(t *testing.T, lines *bufio.Scanner, length int) string {
	t.Helper()
	const row = 16
	var out []byte
	for len(out) < length && lines.Scan() {
		columns := strings.TrimSpace(lines.Text())
		for _, pair := range strings.Fields(columns)[:min(row, length-len(out))] {
			b, err := hex.DecodeString(pair)
			if err != nil {
				t.Fatalf("dump %q: %v", columns, err)
			}
			out = append(out, b...)
		}
	}
	return string(out)
}

// odd are blocks in which quoting and escapes matter.
const odd = `network={
	ssid=P"tab\there \x41\101 \"q\" \\ \e"
	psk="pass\word \"x\""
}
network={
	ssid="a#b" # comment
	psk=" leading and trailing "	# another
	priority=7
}
network={
	ssid=ff00c3
	psk="12345678"
}
network={
	ssid="say "hi""
	psk="with "quotes" in"
}
	network = {
	ssid="blanks around the sign"
	psk="12345678"
}
network={
	ssid="1;2;"
	psk=CA4A12ca4a12ca4a12ca4a12ca4a12ca4a12ca4a12ca4a12ca4a12ca4a12ca4a
}
network={
	ssid="eap"
	key_mgmt=WPA-EAP
	eap=PEAP
	identity="who \ am # i"
	password="canary \ pass"
}
`

// TestWPASupplicant: what goes along has the SSIDs, keys and priorities that wpa_supplicant itself reads in the file.
func TestWPASupplicant(t *testing.T) {
	const path = "/etc/wpa_supplicant/wpa_supplicant.conf"
	for name, conf := range map[string]string{"real": wpaSupplicant().files[path], "odd": odd} {
		t.Run(name, func(t *testing.T) {
			d := wpaSupplicant()
			// Blanks around the first equals sign are ours to forgive; wpa_supplicant refuses the whole file.
			strict := strings.Replace(conf, "\tnetwork = {", "network={", 1)
			strict = strings.Replace(strict, "ctrl_interface=DIR=/var/run/wpa_supplicant GROUP=netdev\n", "\n", 1)
			d.files[path] = conf
			file := filepath.Join(t.TempDir(), "wpa.conf")
			if err := os.WriteFile(file, []byte(strict), 0o600); err != nil {
				t.Fatal(err)
			}
			asked := askWPA(t, file)
			dir, res := collect(t, d)
			j := judge(t, dir)
			if len(j.complaints()) > 0 {
				t.Errorf("NetworkManager complains: %q", j.complaints())
			}
			for _, c := range res.Facts.Network.Connections {
				_, line, _ := strings.Cut(c.Source, ":")
				want, ok := asked[line]
				if !ok {
					t.Errorf("%s comes of a block that wpa_supplicant does not see (%s)", c.File, c.Source)
					continue
				}
				delete(asked, line)
				compare(t, c.SSID, j.files[c.File], want)
			}
			left := len(asked)
			if wantLeft := strings.Count(conf, "wep_key0") + strings.Count(conf, "disabled=1"); left != wantLeft {
				t.Errorf("%d of wpa_supplicant's networks do not go along, want %d: %v", left, wantLeft, asked)
			}
		})
	}
}

func compare(t *testing.T, shown string, got map[string]string, want wpaNetwork) {
	t.Helper()
	if raw, ok := strings.CutPrefix(shown, "0x"); ok {
		b, _ := hex.DecodeString(raw)
		shown = string(b)
	}
	if shown != want.ssid {
		t.Errorf("SSID %q, wpa_supplicant reads %q", shown, want.ssid)
	}
	if want.priority != "" && got["connection.autoconnect-priority"] != want.priority {
		t.Errorf("%q: priority %s, wpa_supplicant reads %s", shown, got["connection.autoconnect-priority"], want.priority)
	}
	if got[access] == "wpa-psk" {
		key := got[psk]
		if len(key) != 64 {
			derived, err := pbkdf2.Key(sha1.New, key, []byte(want.ssid), 4096, 32)
			if err != nil {
				t.Fatal(err)
			}
			key = hex.EncodeToString(derived)
		}
		if !strings.EqualFold(key, want.pmk) {
			t.Errorf("%q: key %s, wpa_supplicant reads %s", shown, key, want.pmk)
		}
	}
	for setting, property := range map[string]string{"identity": "802-1x.identity", "password": "802-1x.password", "anonymous_identity": "802-1x.anonymous-identity"} {
		if value, ok := want.values[setting]; ok && got[property] != value {
			t.Errorf("%q: %s %q, wpa_supplicant reads %q", shown, property, got[property], value)
		}
	}
}
