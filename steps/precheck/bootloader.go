package precheck

import (
	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/grubenv"
	"github.com/balena-community/balena-migrate/steps/device/boot"
	"github.com/balena-community/balena-migrate/steps/device/target"
)

// standsAgainst picks the blockers of one check.
func (l *look) standsAgainst(name string) []schema.Blocked {
	var out []schema.Blocked
	for _, b := range l.bootBlocked {
		if b.Check == name {
			out = append(out, b)
		}
	}
	return out
}

// askBootLoader wants a way to start stage 2 once, and only once. What does not belong to grubenv belongs here.
func (l *look) askBootLoader() answer {
	var all []schema.Blocked
	for _, b := range l.bootBlocked {
		if b.Check != "grubenv" {
			all = append(all, b)
		}
	}
	switch {
	case len(all) > 0:
		return blockAll(all)
	case l.backend == nil && len(l.bootBlocked) == 0:
		return block("no way to start stage 2 called "+l.Config.Boot.Method, "a known boot.method", "set boot.method to auto")
	case l.backend == nil:
		return pass("GRUB, but see grubenv")
	}
	if installer := boot.RecoverySystem(l.site); installer != "" {
		return warn(l.backend.Name()+", started by "+installer, "the whole disk is overwritten: "+installer+" and every other system that it installed go too")
	}
	if pitfall := boot.Pitfall(l.site); pitfall != "" {
		return warn(l.backend.Name(), pitfall)
	}
	if _, found := target.FindWord(l.site, l.Files, l.WorkDir); l.loads() && !found && l.Config.Stage2.LogDevice == "" {
		return warn(l.backend.Name(), "stage 2 can mount no file system of this system: should it fail, the old system comes back, but the reason is only on the console; "+
			"name a partition of another disk in stage2.log_device")
	}
	return pass("%s", l.backend.Name())
}

const grubEnvFile = "/boot/grub/grubenv"

// askGrubenv is S109: an entry that GRUB can't clear would start at every boot.
func (l *look) askGrubenv() answer {
	if all := l.standsAgainst("grubenv"); len(all) > 0 {
		return blockAll(all)
	}
	if l.backend == nil {
		return unknown("no boot loader that has a grubenv was recognised")
	}
	if l.backend.Name() != (boot.Grub{}).Name() {
		return pass("not needed: the boot loader is %s", l.backend.Name())
	}
	m, _, err := l.site.Locate(grubEnvFile)
	if err != nil {
		return unknown(err.Error())
	}
	data, err := l.Device.ReadFile(grubEnvFile)
	if err != nil {
		return pass("none yet; arm-boot makes it, on %s", m.Type)
	}
	env, err := grubenv.Parse(data)
	if err != nil {
		return unknown(err.Error())
	}
	if next, _ := env.Get("next_entry"); next != "" && !l.backend.Armed(l.Device) {
		return warn("next_entry is set already", "somebody has chosen the entry of the next boot; arm-boot will replace it")
	}
	return pass("on %s, where GRUB can write it", m.Type)
}
