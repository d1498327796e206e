package wifi

import (
	"strings"
	"testing"

	"github.com/balena-community/balena-migrate/stage2/disarm"
	"github.com/balena-community/balena-migrate/steps/host/hosttest"
)

// E31, P34: the proxy of the old system's programs becomes system-proxy's files, its password in none but those.
func TestProxy(t *testing.T) {
	h := hosttest.New(t, map[string]string{
		nmHome: nm("home", "canary-key"),
		"/etc/environment": "PATH=/bin\nHTTP_PROXY=http://other:1\nexport https_proxy=\"http://ann:canary%21@proxy.plant.example:3128/\"\n" +
			"no_proxy=localhost,192.0.2.7,10.0.0.0/8,.plant.example\n",
	})
	res := converge(t, h, document(nil))
	expectWarned(t, res)
	p := res.Facts.Network.Proxy
	if p == nil || p.Source != "/etc/environment" || p.Type != "http-connect" || p.Address != "proxy.plant.example:3128" || len(p.Files) != 2 {
		t.Fatalf("facts %+v", p)
	}
	want := map[string]string{
		redsocksName: "base {\n\tlog_debug = off;\n\tlog_info = on;\n\tlog = stderr;\n\tdaemon = off;\n\tredirector = iptables;\n}\n\n" +
			"redsocks {\n\ttype = http-connect;\n\tip = proxy.plant.example;\n\tport = 3128;\n\tlogin = \"ann\";\n\tpassword = \"canary!\";\n" +
			"\tlocal_ip = 127.0.0.1;\n\tlocal_port = 12345;\n}\n",
		noProxyName: "192.0.2.7\n10.0.0.0/8\n",
	}
	for _, f := range p.Files {
		data, err := h.ReadFile(p.Dir + "/" + f.File)
		info, statErr := h.Stat(p.Dir + "/" + f.File)
		if err != nil || statErr != nil || string(data) != want[f.File] || info.Mode().Perm() != 0o600 || f.SHA256 != disarm.Sum(data) {
			t.Errorf("%s: %v %v\n%s\nwant\n%s", f.File, err, statErr, data, want[f.File])
		}
	}
	h.Put("/etc/environment", "PATH=/bin\n")
	if res = converge(t, h, document(nil)); res.Facts.Network.Proxy != nil {
		t.Errorf("the proxy is gone, the facts are %+v", res.Facts.Network.Proxy)
	}
	if left, err := h.ReadDir("/var/lib/balena-migrate/" + ProxyDir); err == nil && len(left) > 0 {
		t.Errorf("files of a proxy that is gone: %v", left)
	}
}

func TestParseProxy(t *testing.T) {
	for text, want := range map[string]string{
		"http://proxy:3128":         "http-connect proxy 3128",
		"proxy:3128":                "http-connect proxy 3128",
		"HTTP://192.0.2.1":          "http-connect 192.0.2.1 80",
		"socks5h://[2001:db8::1]":   "found an IPv6 address",
		"socks4://p:9":              "socks4 p 9",
		"https://p:443":             "found a proxy by https",
		"http://u:can%22ary@p:1":    "found a quote",
		"http://u:canary\\x@p:1":    "found something that is no address",
		"http://a;b:1":              "found something that is no host name",
		"http://":                   "found something that is no address",
		"http://u:canary@[::1:3128": "found something that is no address",
	} {
		p, why := parseProxy(text)
		got := why
		if p != nil {
			got = p.kind + " " + p.host + " " + p.port
		}
		if !strings.HasPrefix(got, want) || strings.Contains(why, "canary") {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

// A proxy that can't be carried is named, without its password.
func TestProxyLeftBehind(t *testing.T) {
	h := hosttest.New(t, map[string]string{nmHome: nm("home", "canary-key"), "/etc/profile.d/proxy.sh": "export all_proxy=https://u:canary@p:1\n"})
	expectWarned(t, converge(t, h, document(nil)), "proxy that does not go along (/etc/profile.d/proxy.sh: found a proxy by https")
}

func FuzzProxy(f *testing.F) {
	f.Add("http://u:p@h:1")
	f.Add("socks5://[::1]:2")
	f.Fuzz(func(t *testing.T, text string) {
		p, why := parseProxy(text)
		if (p == nil) == (why == "") {
			t.Fatalf("%q: %+v, %q", text, p, why)
		}
		if p != nil && strings.Count(string(p.redsocks()), "\n") > 18 {
			t.Errorf("%q adds lines:\n%s", text, p.redsocks())
		}
	})
}
