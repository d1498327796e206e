package wifi

import (
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/device/configjson"
	"github.com/balena-community/balena-migrate/steps/host"
)

// system is what the old system has beside connections and config.json has a place for (E2).
type system struct {
	ntp, dns []string
}

// readSystem looks for time servers and name servers that somebody set. Those that a distribution ships with are its own.
func readSystem(r host.Reader) (system, error) {
	var s system
	unit, err := readUnits(r, "/etc/systemd/timesyncd.conf")
	if err != nil {
		return s, err
	}
	s.ntp = hosts(fields(unit.all("Time", "NTP")))
	for _, name := range []string{"/etc/chrony/chrony.conf", "/etc/chrony.conf", "/etc/ntp.conf", "/etc/ntpsec/ntp.conf"} {
		data, problem, err := read(r, name)
		if err != nil {
			return s, err
		}
		if problem == "" && len(s.ntp) == 0 {
			s.ntp = ntpServers(data)
		}
	}
	if unit, err = readUnits(r, "/etc/systemd/resolved.conf"); err != nil {
		return s, err
	}
	for _, text := range fields(unit.all("Resolve", "DNS")) {
		text, _, _ = strings.Cut(text, "#")
		if addr, err := netip.ParseAddr(text); err == nil && !addr.IsLoopback() {
			s.dns = append(s.dns, addr.String())
		}
	}
	return s, nil
}

// readUnits reads a configuration file of systemd with its drop-ins.
func readUnits(r host.Reader, name string) (unitFile, error) {
	data, problem, err := read(r, name)
	if err != nil {
		return nil, err
	}
	var out unitFile
	if problem == "" {
		out = parseUnit(data)
	}
	drops, _, err := readAll(r, name+".d", func(name string) bool { return path.Ext(name) == ".conf" })
	for _, drop := range sortedNames(drops) {
		out = append(out, parseUnit(drops[drop])...)
	}
	return out, err
}

// ntpServers reads the lines server and pool of chrony.conf(5) and ntp.conf(5).
func ntpServers(data []byte) []string {
	var out []string
	for line := range strings.Lines(string(data)) {
		w := words(line)
		if len(w) > 1 && (w[0] == "server" || w[0] == "pool" || w[0] == "peer") {
			out = append(out, w[1])
		}
	}
	return hosts(out)
}

// hostLetters are what names and addresses of hosts are made of.
const hostLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:_"

// hosts leaves what is a name or an address, and no server that belongs to a distribution's pool, to a loopback clock
// (127.127.0.0/16 in ntp.conf) or to balenaOS itself.
func hosts(names []string) []string {
	var out []string
	for _, n := range names {
		stock := strings.HasSuffix(n, "pool.ntp.org") || strings.HasSuffix(n, "ntp.ubuntu.com") || strings.HasPrefix(n, "127.")
		if n != "" && strings.Trim(n, hostLetters) == "" && !stock && !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}

// leftBehind warns of what has no place in the new system, or none that could be filled without a guess: certificate
// authorities, because balenaRootCA speaks for the API and for nothing else.
func leftBehind(v steps.View, p *steps.Plan) error {
	r := v.Device
	const dir = "/usr/local/share/ca-certificates"
	certs, _, err := readAll(r, dir, func(name string) bool { return path.Ext(name) == ".crt" })
	if len(certs) > 0 && !hasRootCA(v) {
		p.Warn("the old system trusts certificates of its own (" + path.Join(dir, sortedNames(certs)[0]) + "), which do not go along: if balena's API needs one, set balenaRootCA in config.json")
	}
	return err
}

// hasRootCA says whether the operator thought of the API's certificate authority.
func hasRootCA(v steps.View) bool {
	data, problem, err := read(v.Files, v.Config.Balena.ConfigJSON)
	if err != nil || problem != "" {
		return false
	}
	c, err := configjson.Parse(data)
	return err == nil && c.Text("balenaRootCA") != ""
}

// facts is what config.json is to be given, nil when it is nothing.
func (s system) facts() *schema.SystemFacts {
	if len(s.ntp)+len(s.dns) == 0 {
		return nil
	}
	return &schema.SystemFacts{NTPServers: append([]string{}, s.ntp...), DNSServers: append([]string{}, s.dns...)}
}
