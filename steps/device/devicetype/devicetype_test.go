package devicetype

import (
	"strings"
	"testing"

	"github.com/balena-community/balena-migrate/steps/host/hosttest"
)

func slugs(b Board) string {
	var out []string
	for _, x := range b.Types() {
		out = append(out, x.Slug)
	}
	return strings.Join(out, " ")
}

const x86Set = "genericx86-64-ext generic-amd64 intel-nuc"

// TestX86 is E5 and E37: a set, qemux86-64 only where the vendor is QEMU; and a 32-bit system on a 64-bit processor.
func TestX86(t *testing.T) {
	for _, c := range []struct{ machine, vendor, flags, want string }{
		{"x86_64", "QEMU\n", "", x86Set + " qemux86-64"},
		{"x86_64", "Intel(R) Client Systems\n", "", x86Set},
		{"x86_64", "", "", x86Set},
		{"i686", "QEMU\n", "fpu lm pae", x86Set + " qemux86-64"},
		{"i686", "", "fpu pae lm", x86Set},
		{"i686", "", "fpu pae lahf_lm", ""},
		{"i686", "", "", ""},
		{"aarch64", "QEMU\n", "", ""},
		{"riscv64", "", "", ""},
	} {
		h := hosttest.New(t, map[string]string{"/proc/cpuinfo": "processor\t: 0\nflags\t\t: " + c.flags + "\n"})
		if c.vendor != "" {
			h.Put("/sys/class/dmi/id/sys_vendor", c.vendor)
		}
		h.MachineName = c.machine
		if got := slugs(Look(h)); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

func TestARMWithEFI(t *testing.T) {
	h := hosttest.New(t, map[string]string{"/sys/firmware/efi/runtime": ""})
	h.MachineName = "aarch64"
	if got := slugs(Look(h)); got != "generic-aarch64" {
		t.Error(got)
	}
}

// TestRevisions are codes in use (S45, E34; Raspberry Pi documentation), with and without higher bits.
func TestRevisions(t *testing.T) {
	for want, codes := range map[string][]uint32{
		"raspberry-pi":                                     {0x2, 0x9, 0xd, 0x15, 0x1000002, 0x900092, 0x920093, 0x9000c1, 0x900021, 0x900032, 0x900061},
		"raspberry-pi2":                                    {0xa01040, 0xa01041, 0xa21041, 0xa22042, 0x2a01041},
		"raspberrypi3 raspberrypi3-64":                     {0xa02082, 0xa22082, 0xa32082, 0xa020d3, 0xa020d4, 0x9020e0},
		"raspberrypi4-64":                                  {0xa03111, 0xc03114, 0x80c03111, 0xd03115},
		"raspberrypi400-64 raspberrypi4-64":                {0xc03130},
		"raspberrypicm4-ioboard raspberrypi4-64":           {0xa03140, 0xb03141, 0xa03150},
		"raspberrypi0-2w-64":                               {0x902120},
		"raspberrypi5":                                     {0xc04170, 0xd04171, 0xb04180, 0xd04190, 0xc041a0},
		"raspberrypi3 raspberrypi3-64 fincm3 revpi-core-3": {0xa020a0, 0xa02100},
		"": {0, 1, 0x16, 0x1f, 0x9000f0, 0xc04160, 0xc041f0},
	} {
		for _, code := range codes {
			if got := strings.Join(byRevision(code), " "); got != want {
				t.Errorf("%x: %q, want %q", code, got, want)
			}
		}
	}
}

// TestTree is E32 and E33, without a revision code: what kernels of other distributions show.
func TestTree(t *testing.T) {
	for compatible, want := range map[string]string{
		"raspberrypi,model-b-rev2 brcm,bcm2835":               "raspberry-pi",
		"raspberrypi,model-zero-w brcm,bcm2835":               "raspberry-pi",
		"raspberrypi,compute-module brcm,bcm2835":             "raspberry-pi",
		"raspberrypi,2-model-b brcm,bcm2836":                  "raspberry-pi2",
		"raspberrypi,3-model-b-plus brcm,bcm2837":             "raspberrypi3 raspberrypi3-64",
		"raspberrypi,3-compute-module-lite brcm,bcm2837":      "raspberrypi3 raspberrypi3-64 fincm3 revpi-core-3",
		"raspberrypi,model-zero-2-w brcm,bcm2837":             "raspberrypi0-2w-64",
		"raspberrypi,4-model-b brcm,bcm2711":                  "raspberrypi4-64",
		"raspberrypi,400 brcm,bcm2711":                        "raspberrypi400-64 raspberrypi4-64",
		"raspberrypi,4-compute-module-s brcm,bcm2711":         "raspberrypicm4-ioboard raspberrypi4-64",
		"raspberrypi,5-model-b brcm,bcm2712":                  "raspberrypi5",
		"raspberrypi,5-compute-module brcm,bcm2712":           "raspberrypi5",
		"raspberrypi,9-model-b brcm,bcm2799":                  "",
		"ti,am335x-bone-black ti,am335x-bone ti,am33xx":       "beaglebone-black",
		"ti,am335x-bone-green ti,am335x-bone-black ti,am33xx": "beaglebone-green",
		"seeed,am335x-bone-green ti,am33xx":                   "beaglebone-green",
		"ti,am335x-bone ti,am33xx":                            "beaglebone-black beaglebone-green",
		"ti,am335x-pocketbeagle ti,am335x-bone ti,am33xx":     "beaglebone-pocket",
		"beagle,am335x-pocketbeagle ti,am33xx":                "beaglebone-pocket",
		"sancloud,am335x-boneenhanced ti,am335x-bone-black":   "",
		"nvidia,p2972-0000 nvidia,tegra194":                   "jetson-xavier",
		"nvidia,p3509-0000+p3668-0000 nvidia,tegra194":        "jetson-xavier-nx-devkit",
		"nvidia,p3449-0000+p3668-0001 nvidia,tegra194":        "jetson-xavier-nx-devkit-emmc",
		"xunlong,orangepi-zero allwinner,sun8i-h2-plus":       "",
	} {
		h := hosttest.New(t, map[string]string{
			"/sys/firmware/devicetree/base/model":      "Some Board Rev 1.0\x00",
			"/sys/firmware/devicetree/base/compatible": strings.ReplaceAll(compatible, " ", "\x00") + "\x00",
		})
		h.MachineName = "aarch64"
		b := Look(h)
		if got := slugs(b); got != want || b.Model != "Some Board Rev 1.0" || b.Firmware != "" {
			t.Errorf("%s: %q, want %q; %+v", compatible, got, want, b)
		}
	}
}

// TestHostNameSaysNothing is S44: the seed took a machine called raspberrypi for one.
func TestHostNameSaysNothing(t *testing.T) {
	h := hosttest.New(t, map[string]string{"/proc/sys/kernel/hostname": "raspberrypi\n", "/etc/hostname": "raspberrypi\n"})
	if got := slugs(Look(h)); got != x86Set {
		t.Error(got)
	}
}

func TestExecutable(t *testing.T) {
	for machine, want := range map[string]string{
		"x86_64": "linux-amd64", "i686": "linux-386", "i586": "linux-386", "aarch64": "linux-arm64", "armv7l": "linux-armv7",
		"armv8l": "linux-armv7", "armv6l": "linux-armv6", "armv5tel": "", "riscv64": "", "ia64": "", "": "",
	} {
		if got := (Board{Machine: machine}).Executable(); got != want {
			t.Errorf("%s: %q, want %q", machine, got, want)
		}
	}
}

func TestRemark(t *testing.T) {
	for code, want := range map[uint32]bool{0xd03115: true, 0xb03141: true, 0xd03114: false, 0xa03140: false, 0xc04175: false, 0x5: false} {
		if got := (Board{Revision: code}).Remark(); (got != "") != want {
			t.Errorf("%x: %q", code, got)
		}
	}
}
