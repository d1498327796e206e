package backup

import (
	"os"
	"strings"
	"testing"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps/steptest"
)

// A link leads in the volume where it led on the device: as a link where it can, else as what it leads to.
func TestLinks(t *testing.T) {
	h := device(t, "- volume: v\n  items:\n  - source: /srv/app\n- volume: w\n  items:\n  - source: /srv/app\n    filter: ^conf|picked$\n")
	h.Put("/etc/localtime", "TZif")
	h.Put("/data/records/1", "one")
	h.Link("/data/records/first", "1")
	h.Link("/data/records/up", "..")
	h.Link("/data/records/home", "/srv/app/empty")
	h.Put(workDir+"/secret", canary)
	h.Put("/dev/ttyS0", "")
	for name, target := range map[string]string{
		"inside": "conf/a.cfg", "absolute": "/srv/app/conf/a.cfg", "conf/toplevel": "/srv/app", "zone": "/etc/localtime",
		"records": "../../data/records", "parent": "..", "root": "/", "serial": "/dev/ttyS0", "work": workDir, "gone": "/none", "self": "self",
		"conf/unpicked": "../db", "conf/picked": "../picked", "picked": "conf/a.cfg", "chain": "zone",
	} {
		h.Link("/srv/app/"+name, target)
	}
	res := converge(t, steptest.RunOn(h), define(), schema.Converged)
	all := unpack(t, h, res.Facts.Backup.Path)
	want := map[string]string{
		"v/inside": "-> conf/a.cfg", "v/absolute": "-> conf/a.cfg", "v/conf/toplevel": "-> ..", "v/zone": "TZif", "v/chain": "-> zone",
		"v/records/1": "one", "v/records/first": "-> 1", "v/parent": "-> ..", "v/root": "-> /", "v/serial": "-> /dev/ttyS0",
		"v/work": "-> " + workDir, "v/gone": "-> /none", "v/self": "-> self", "v/conf/unpicked": "-> ../db", "v/records/up": "-> ..",
		"v/records/home/x": "", "w/conf/picked": "-> ../picked", "w/conf/unpicked": canary, "w/picked": "-> conf/a.cfg",
	}
	for name, w := range want {
		hd := all[name]
		if hd == nil {
			t.Errorf("%s is missing", name)
			continue
		}
		got := hd.Uname // its content, see unpack
		if hd.Linkname != "" {
			got = "-> " + hd.Linkname
		}
		if got != w {
			t.Errorf("%s is %q, expected %q", name, got, w)
		}
	}
	for name := range all {
		if strings.Contains(name, "secret") {
			t.Errorf("%s went along", name)
		}
	}
	text := strings.Join(res.Warnings, "\n")
	for _, w := range []string{
		"/srv/app/zone -> /etc/localtime", "/srv/app/records -> /data/records", "/data/records/up -> ..", "/srv/app/gone -> /none",
		"made relative: /srv/app/absolute -> /srv/app/conf/a.cfg",
	} {
		if !strings.Contains(text, w) {
			t.Errorf("warnings\n%s\nexpected %s", text, w)
		}
	}
}

// However links lead into each other's directories, what is followed has an end.
func TestLinksOfManyDirectories(t *testing.T) {
	h := device(t, "- volume: v\n  items:\n  - source: /srv/app\n")
	for _, a := range []string{"a", "b", "c", "d"} {
		h.Put("/data/"+a+"/file", a)
		h.Link("/srv/app/"+a, "/data/"+a)
		for _, b := range []string{"a", "b", "c", "d"} {
			must(t, os.Symlink("/data/"+b, put(h, "/data/"+a+"/to-"+b)))
		}
	}
	res := converge(t, steptest.RunOn(h), define(), schema.Converged)
	if n := len(unpack(t, h, res.Facts.Backup.Path)); n > 500 {
		t.Errorf("%d entries", n)
	}
}
