package devicetype

import (
	"strings"
	"testing"

	"github.com/balena-community/balena-migrate/steps/host/hosttest"
)

// TestDetect is E5 and E37: a set, and qemux86-64 only where the vendor is QEMU.
func TestDetect(t *testing.T) {
	for _, c := range []struct{ machine, vendor, want string }{
		{"x86_64", "QEMU\n", "genericx86-64-ext generic-amd64 intel-nuc qemux86-64"},
		{"x86_64", "Intel(R) Client Systems\n", "genericx86-64-ext generic-amd64 intel-nuc"},
		{"x86_64", "", "genericx86-64-ext generic-amd64 intel-nuc"},
		{"i686", "QEMU\n", ""},
		{"aarch64", "QEMU\n", ""},
	} {
		files := map[string]string{}
		if c.vendor != "" {
			files["/sys/class/dmi/id/sys_vendor"] = c.vendor
		}
		h := hosttest.New(t, files)
		h.MachineName = c.machine
		var got []string
		for _, x := range Detect(h) {
			got = append(got, x.Slug)
			if x.Arch != "amd64" {
				t.Errorf("%s: balena architecture %q", x.Slug, x.Arch)
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s by %q: %v, want %s", c.machine, c.vendor, got, c.want)
		}
	}
}
