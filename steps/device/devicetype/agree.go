package devicetype

import (
	"fmt"
	"slices"
	"strings"

	"github.com/balena-community/balena-migrate/schema"
)

// Check is the name that blockers about device types carry, and that of the check to be skipped.
const Check = "device-type"

// Claims are all that say for which device type something is (E6, E37, E38). What is empty says nothing.
type Claims struct {
	// Image and ImageArch are from the image's device-type.json.
	Image, ImageArch string
	// Config is deviceType of config.json.
	Config string
	// Machine is what uname -m prints, Device the slugs that the machine can be.
	Machine string
	Device  []string
	// Asked is config.image.device_type. The image must be for it. The machine is then taken to be of this type whatever
	// was detected, and config.json may be for another.
	Asked string
}

// Disagree lists what keeps image, config.json and machine from going together.
func (c Claims) Disagree() []schema.Blocked {
	out := c.ImageDisagrees()
	if c.Asked == "" && c.Config != "" && !c.can(c.Config) {
		out = append(out, c.unlike("a config.json for "+c.Config))
	}
	return out
}

// ImageDisagrees lists what is wrong with the image.
func (c Claims) ImageDisagrees() []schema.Blocked {
	var out []schema.Blocked
	block := func(got, want, remedy string) {
		out = append(out, schema.Blocked{Check: Check, Got: got, Want: want, Remedy: remedy})
	}
	if a, b := family(c.ImageArch), family(c.Machine); a != "" && b != "" && a != b {
		block("an image for "+c.ImageArch, "one for this machine, "+c.Machine, "give the image of this machine's device type")
	}
	switch {
	case c.Image == "":
	case c.Asked != "":
		if c.Image != c.Asked {
			block("an image for "+c.Image, c.Asked+", as image.device_type says", "take the image of device type "+c.Asked+", or mend config.image.device_type")
		}
	default:
		if c.Config != "" && c.Image != c.Config {
			block("an image for "+c.Image+", a config.json for "+c.Config, "the same device type",
				"give the image and the config.json of one fleet; if both are right, set config.image.device_type to "+c.Image)
		}
		if c.Image != c.Config && !c.can(c.Image) {
			out = append(out, c.unlike("an image for "+c.Image))
		}
	}
	return out
}

// can says whether the machine can be of a type, as far as is known.
func (c Claims) can(slug string) bool { return len(c.Device) == 0 || slices.Contains(c.Device, slug) }

func (c Claims) unlike(got string) schema.Blocked {
	return schema.Blocked{
		Check: Check, Got: got, Want: "one for what this machine can be: " + strings.Join(c.Device, ", "),
		Remedy: "give that of such a device type; if this machine is one of them all the same, set config.image.device_type",
	}
}

// Overridden says what the operator's word is taken for against what was found, empty if nothing is.
func (c Claims) Overridden() string {
	var told []string
	if c.Asked == "" {
		return ""
	}
	if len(c.Device) > 0 && !slices.Contains(c.Device, c.Asked) {
		told = append(told, "this machine looks like "+strings.Join(c.Device, ", "))
	}
	if c.Config != "" && c.Config != c.Asked {
		told = append(told, "config.json is for "+c.Config+", as which the device will register")
	}
	if len(told) == 0 {
		return ""
	}
	return fmt.Sprintf("taken for a %s, as image.device_type says, though %s", c.Asked, strings.Join(told, ", and "))
}

// family tells processors apart that certainly don't run each other's programs, by what uname -m or balena calls them.
// Within a family a 32-bit system may run on a 64-bit processor (E35).
func family(arch string) string {
	switch {
	case arch == "x86_64", arch == "amd64", strings.HasPrefix(arch, "i386"), len(arch) == 4 && arch[0] == 'i' && arch[2:] == "86":
		return "x86"
	case strings.HasPrefix(arch, "arm"), arch == "aarch64", arch == "rpi":
		return "arm"
	}
	return ""
}
