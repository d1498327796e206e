package precheck

import (
	"fmt"
	"slices"
	"strings"

	"github.com/balena-community/balena-migrate/steps/device/configjson"
	"github.com/balena-community/balena-migrate/steps/device/devicetype"
)

const wantConfig = "balena's config.json"

// readConfigJSON reads S15's file. Nothing of its content is ever shown but what is no secret by its name.
func (l *look) readConfigJSON() configFile {
	name := l.Config.Balena.ConfigJSON
	if name == "" {
		return configFile{trouble: block("no balena.config_json", wantConfig, "download config.json for the fleet or the device from balena and name it in balena.config_json")}
	}
	f, n, err := openRegular(l.Files, name)
	if err != nil {
		return configFile{trouble: block(err.Error(), wantConfig, "put the file there, or mend balena.config_json")}
	}
	f.Close()
	if n > configjson.MaxSize {
		return configFile{trouble: block(fmt.Sprintf("%s: %d bytes", name, n), wantConfig+", a file of a few kB", "mend balena.config_json")}
	}
	data, err := l.Files.ReadFile(name)
	if err != nil {
		return configFile{trouble: block(err.Error(), wantConfig, "mend balena.config_json")}
	}
	file, err := configjson.Parse(data)
	if err != nil {
		return configFile{trouble: block(name+": "+err.Error(), wantConfig, "download it again from balena")}
	}
	return configFile{file: file}
}

// askConfigJSON is S60 and E6.
func (l *look) askConfigJSON() answer {
	if l.config.file == nil {
		return l.config.trouble
	}
	if all := l.config.file.Check(); len(all) > 0 {
		return blockAll(all)
	}
	return pass("for a %s, %s", l.config.file.DeviceType(), l.config.file.Text("apiEndpoint"))
}

// askDeviceType is E6, E37 and E38: what config.json says, what was asked for, what the image is for, and what the
// machine can be must agree.
func (l *look) askDeviceType() answer {
	if len(l.types) == 0 && l.Config.Image.DeviceType == "" {
		return block(l.board.String()+l.whyNoType(), "a machine of a known balena device type",
			"if you know that it is of one all the same, set config.image.device_type to it, and rehearse with stage2.flash false")
	}
	if l.config.file == nil || l.config.file.DeviceType() == "" {
		return unknown("there is no config.json that says the device type")
	}
	slug, claims := l.config.file.DeviceType(), l.claims()
	i := slices.IndexFunc(l.types, func(t devicetype.Type) bool { return t.Slug == slug })
	all := claims.Disagree()
	switch {
	case len(all) > 0:
		return blockAll(all)
	case claims.Overridden() != "":
		return warn(claims.Asked, claims.Overridden())
	case i < 0:
		return unknown("no device type is known for " + l.board.String())
	}
	if started := l.board.Firmware; l.types[i].Firmware != "" && l.types[i].Firmware != started {
		return warn(slug, slug+" expects "+l.types[i].Firmware+" firmware, this machine was started by "+started+": see that the new system will boot")
	}
	if remark := l.board.Remark(); remark != "" {
		return pass("%s; %s", slug, remark)
	}
	return pass("%s", slug)
}

// whyNoType says what of a machine without a type is missing, where that is known.
func (l *look) whyNoType() string {
	switch {
	case l.board.Executable() == "linux-386":
		return ": the processor has no 64-bit mode (no flag lm in /proc/cpuinfo)"
	case l.board.Machine == "aarch64" && l.board.Model == "":
		return ": neither a device tree nor EFI firmware"
	case len(l.board.Compatible) > 0:
		return ", compatible " + strings.Join(l.board.Compatible, " ")
	}
	return ""
}

// claims are all that say for which device type something is.
func (l *look) claims() devicetype.Claims {
	c := devicetype.Claims{
		Config: l.config.file.DeviceType(), Asked: l.Config.Image.DeviceType, Machine: l.Device.Machine(), Device: l.slugs(),
	}
	if f := l.Facts.Image; f != nil {
		c.Image, c.ImageArch = f.DeviceType, f.Arch
	}
	return c
}

func (l *look) slugs() []string {
	out := []string{}
	for _, t := range l.types {
		out = append(out, t.Slug)
	}
	return out
}
