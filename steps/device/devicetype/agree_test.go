package devicetype

import (
	"strings"
	"testing"
)

// E6, E37, E38: image, config.json and machine must go together, and one option overrides.
func TestAgreement(t *testing.T) {
	nuc := []string{"genericx86-64-ext", "generic-amd64", "intel-nuc"}
	for _, tt := range []struct {
		name       string
		c          Claims
		want       []string
		overridden string
	}{
		{"nothing known", Claims{}, nil, ""},
		{"all agree", Claims{Image: "intel-nuc", ImageArch: "amd64", Config: "intel-nuc", Machine: "x86_64", Device: nuc}, nil, ""},
		{"no machine", Claims{Image: "raspberrypi3", Config: "raspberrypi3"}, nil, ""},
		{"image without a type", Claims{Config: "intel-nuc", Device: nuc}, nil, ""},
		{"machine not known", Claims{Image: "x", Config: "x", Machine: "riscv64"}, nil, ""},
		{"image and config.json", Claims{Image: "intel-nuc", Config: "generic-amd64", Device: nuc}, []string{"an image for intel-nuc, a config.json for generic-amd64"}, ""},
		{"both for another machine", Claims{Image: "jetson-xavier", Config: "jetson-xavier", Device: nuc}, []string{"a config.json for jetson-xavier"}, ""},
		{"image for another machine", Claims{Image: "raspberrypi3", Device: nuc}, []string{"an image for raspberrypi3"}, ""},
		{"all differ", Claims{Image: "raspberrypi3", Config: "jetson-xavier", Device: nuc}, []string{"an image for raspberrypi3, a config", "an image for raspberrypi3", "a config.json for jetson"}, ""},
		{"asked for", Claims{Image: "intel-nuc", Config: "intel-nuc", Device: nuc, Asked: "intel-nuc"}, nil, ""},
		{"asked for another image", Claims{Image: "intel-nuc", Config: "generic-amd64", Device: nuc, Asked: "generic-amd64"}, []string{"an image for intel-nuc"}, ""},
		{"override of the machine", Claims{Image: "surface-pro-6", Config: "surface-pro-6", Machine: "x86_64", ImageArch: "amd64", Device: nuc, Asked: "surface-pro-6"}, nil, "this machine looks like generic"},
		{"override of config.json", Claims{Image: "intel-nuc", Config: "generic-amd64", Device: nuc, Asked: "intel-nuc"}, nil, "config.json is for generic-amd64, as which"},
		{"no override of the processor", Claims{Image: "raspberrypi3", ImageArch: "armv7hf", Machine: "x86_64", Device: nuc, Asked: "raspberrypi3"}, []string{"an image for armv7hf"}, "looks like"},
		{"32 bit on 64", Claims{Image: "raspberrypi3-64", ImageArch: "aarch64", Machine: "armv7l"}, nil, ""},
		{"i686", Claims{Image: "qemux86", ImageArch: "i386", Machine: "i686"}, nil, ""},
	} {
		got := tt.c.Disagree()
		if len(got) != len(tt.want) {
			t.Errorf("%s: %+v, want %q", tt.name, got, tt.want)
			continue
		}
		for i, b := range got {
			if !strings.HasPrefix(b.Got, tt.want[i]) || b.Check != Check || b.Want == "" || b.Remedy == "" {
				t.Errorf("%s: %+v, want %q", tt.name, b, tt.want[i])
			}
		}
		if o := tt.c.Overridden(); (o == "") != (tt.overridden == "") || !strings.Contains(o, tt.overridden) {
			t.Errorf("%s: %q, want %q", tt.name, o, tt.overridden)
		}
	}
}
