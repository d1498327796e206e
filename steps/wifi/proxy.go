package wifi

import (
	"cmp"
	"fmt"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strings"
	"unicode"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/disarm"
	"github.com/balena-community/balena-migrate/steps"
	"github.com/balena-community/balena-migrate/steps/host"
)

// ProxyDir is the directory in the work dir, and on the new boot partition, that holds the proxy's files (E31, P34).
const ProxyDir = "system-proxy"

// The names balenaOS knows in it.
const (
	redsocksName = "redsocks.conf"
	noProxyName  = "no_proxy"
)

// proxy is the one through which the old system reached the network, by the environment that its programs are given.
type proxy struct {
	source string
	// kind is redsocks' word for the protocol.
	kind, host, port string
	login, password  string
	// direct are the addresses and networks that are reached without it.
	direct []string
}

// proxySources are where distributions keep the environment of all programs (environment(7), pam_env(8)).
func proxySources() []string { return []string{"/etc/environment", "/etc/profile.d/proxy.sh"} }

// readProxy finds the proxy, nil when there is none. problem names one that can't be carried, and why.
func readProxy(r host.Reader) (p *proxy, problem string, err error) {
	for _, name := range proxySources() {
		data, unreadable, err := read(r, name)
		if err != nil {
			return nil, "", err
		}
		if unreadable != "" {
			continue
		}
		env := environment(string(data))
		text := cmp.Or(env["https_proxy"], env["http_proxy"], env["all_proxy"])
		if text == "" {
			continue
		}
		p, why := parseProxy(text)
		if why != "" {
			return nil, name + ": " + why, nil
		}
		p.source, p.direct = name, networks(env["no_proxy"])
		return p, "", nil
	}
	return nil, "", nil
}

// environment reads assignments, with export or without, names in lower case; the first of a name counts, as programs
// prefer the spelling in small letters no more than the other.
func environment(text string) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "export "), "=")
		key = strings.ToLower(strings.TrimSpace(key))
		value = strings.Trim(strings.TrimSpace(value), `"'`)
		if ok && value != "" && out[key] == "" {
			out[key] = value
		}
	}
	return out
}

// parseProxy reads an address such as http://user:password@host:3128. why says what keeps it from being carried; it never
// repeats the address, which may hold a password.
func parseProxy(text string) (p *proxy, why string) {
	if !strings.Contains(text, "://") {
		text = "http://" + text // as programs take it
	}
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" {
		return nil, "found something that is no address, expected http://host:port"
	}
	kinds := map[string]struct{ kind, port string }{
		"http": {"http-connect", "80"}, "socks": {"socks5", "1080"}, "socks4": {"socks4", "1080"}, "socks5": {"socks5", "1080"}, "socks5h": {"socks5", "1080"},
	}
	k, ok := kinds[strings.ToLower(u.Scheme)]
	if !ok {
		return nil, "found a proxy by " + u.Scheme + ", expected http, socks4 or socks5, which redsocks speaks"
	}
	p = &proxy{kind: k.kind, host: u.Hostname(), port: cmp.Or(u.Port(), k.port), login: u.User.Username()}
	p.password, _ = u.User.Password()
	if addr, err := netip.ParseAddr(p.host); err == nil && addr.Is6() {
		return nil, "found an IPv6 address, expected a name or an IPv4 address, which redsocks speaks"
	}
	if strings.Trim(p.host, hostLetters) != "" {
		return nil, "found something that is no host name, expected http://host:port"
	}
	if strings.ContainsFunc(p.login+p.password, func(c rune) bool { return c == '"' || c == '\\' || unicode.IsControl(c) }) {
		return nil, "found a quote, a backslash or a control character in its user or password: redsocks.conf has no way to write them"
	}
	return p, ""
}

// networks are the entries of no_proxy that balenaOS can take: addresses and networks, not names.
func networks(list string) []string {
	var out []string
	for _, entry := range strings.FieldsFunc(list, func(c rune) bool { return c == ',' || c == ' ' }) {
		_, errA := netip.ParseAddr(entry)
		_, errP := netip.ParsePrefix(entry)
		if (errA == nil || errP == nil) && !slices.Contains(out, entry) {
			out = append(out, entry)
		}
	}
	return out
}

// redsocks is the configuration as balenaOS documents it: it takes the port and redirects to it all that leaves the device.
func (p *proxy) redsocks() []byte {
	var b strings.Builder
	b.WriteString("base {\n\tlog_debug = off;\n\tlog_info = on;\n\tlog = stderr;\n\tdaemon = off;\n\tredirector = iptables;\n}\n\nredsocks {\n")
	fmt.Fprintf(&b, "\ttype = %s;\n\tip = %s;\n\tport = %s;\n", p.kind, p.host, p.port)
	if p.login != "" {
		fmt.Fprintf(&b, "\tlogin = \"%s\";\n\tpassword = \"%s\";\n", p.login, p.password)
	}
	b.WriteString("\tlocal_ip = 127.0.0.1;\n\tlocal_port = 12345;\n}\n")
	return []byte(b.String())
}

// entries are the proxy's files.
func (p *proxy) entries() []entry {
	if p == nil {
		return nil
	}
	out := []entry{{name: redsocksName, data: p.redsocks()}}
	if len(p.direct) > 0 {
		out = append(out, entry{name: noProxyName, data: []byte(strings.Join(p.direct, "\n") + "\n")})
	}
	return out
}

// planProxy lays down the proxy's files, or removes those of one that is gone, and returns its facts.
func planProxy(v steps.View, p *steps.Plan) (*schema.ProxyFacts, error) {
	found, problem, err := readProxy(v.Device)
	if err != nil {
		return nil, err
	}
	if problem != "" {
		p.Warn("the old system uses a proxy that does not go along (" + problem + "): if the new system needs one, put " +
			path.Join(ProxyDir, redsocksName) + " on the image's boot partition")
	}
	dir, entries := path.Join(v.WorkDir, ProxyDir), found.entries()
	if err := compare(v.Files, dir, entries, p); err != nil || found == nil {
		return nil, err
	}
	out := &schema.ProxyFacts{Dir: dir, Source: found.source, Type: found.kind, Address: found.host + ":" + found.port, Files: []schema.ProxyFile{}}
	for _, e := range entries {
		out.Files = append(out.Files, schema.ProxyFile{File: e.name, SHA256: disarm.Sum(e.data)})
	}
	return out, nil
}
