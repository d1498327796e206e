package boot

import (
	"strings"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/grubenv"
)

// What grub.cfg must have, from the scripts 00_header and 41_custom of /etc/grub.d.
const (
	oneShot = `set default="${next_entry}"`
	wantCfg = "a grub.cfg as update-grub writes it"
	// waitForEver is what GRUB_TIMEOUT=-1 makes, and Ubuntu 14.04 after a boot that failed.
	waitForEver = "set timeout=-1"
)

// askConfig says why an entry in custom.cfg and next_entry in grubenv would not be booted with this grub.cfg. Numbers,
// titles and "saved" in GRUB_DEFAULT don't matter, nor do submenus and passwords: next_entry goes before them, and our
// entry is unrestricted.
func askConfig(text string) []schema.Blocked {
	var out []schema.Blocked
	block := func(got, remedy string) {
		out = append(out, schema.Blocked{Check: "boot-loader", Got: got, Want: wantCfg, Remedy: remedy})
	}
	for _, want := range []string{"next_entry", "custom.cfg"} {
		if !strings.Contains(text, want) {
			block(grubCfg+" without "+want, "look for missing scripts 00_header and 41_custom in /etc/grub.d and run update-grub")
		}
	}
	lines := commands(text)
	for i, l := range lines {
		switch {
		case l == "blscfg" || strings.HasPrefix(l, "blscfg "):
			block("entries of the Boot Loader Specification (blscfg in "+grubCfg+")", "this version arms GRUB as Debian and Ubuntu configure it; set GRUB_ENABLE_BLSCFG=false and run grub-mkconfig")
		case l == waitForEver && (i == 0 || !strings.Contains(lines[i-1], "recordfail")):
			block("a menu that waits for somebody to choose (set timeout=-1)", "set GRUB_TIMEOUT in /etc/default/grub to some seconds and run update-grub")
		}
	}
	if setsDefault(afterOneShot(lines)) {
		block(grubCfg+" sets the default again after next_entry was looked at", "look for set default= in /etc/grub.d/40_custom and run update-grub")
	}
	return out
}

// askVariables is about what grubenv holds from earlier boots. Ubuntu's services clear both at every boot that succeeds.
func askVariables(env *grubenv.Env, cfg string) []schema.Blocked {
	is := func(name string) bool { value, _ := env.Get(name); return value == "1" }
	block := func(got, want, service, name string) []schema.Blocked {
		return []schema.Blocked{{
			Check: "grubenv", Got: got, Want: want, Remedy: "see that " + service + " clears it at every boot, or grub-editenv " + grubEnv + " unset " + name,
		}}
	}
	switch {
	case is("recordfail") && waitsAfterFailure(commands(cfg)):
		return block("recordfail=1: GRUB thinks that the last boot failed, and will show its menu until somebody chooses", "a GRUB that boots by itself",
			"grub-common's service", "recordfail")
	case is("initrdfail") && strings.Contains(cfg, "initrdfail"):
		return block("initrdfail=1: GRUB thinks that a start without initramfs failed, and will start its last entry in place of next_entry",
			"a GRUB that looks at next_entry", "grub-initrd-fallback.service", "initrdfail")
	}
	return nil
}

// waitsAfterFailure says whether the menu stays when grubenv has recordfail. Since Ubuntu 16.04 it goes on after 30 s.
func waitsAfterFailure(lines []string) bool {
	for i, l := range lines {
		if i > 0 && l == waitForEver && strings.Contains(lines[i-1], "recordfail") {
			return true
		}
	}
	return false
}

// askCustom is about the rest of custom.cfg, which is read after grub.cfg.
func askCustom(text string) []schema.Blocked {
	if !setsDefault(commands(text)) {
		return nil
	}
	return []schema.Blocked{{
		Check: "boot-loader", Got: grubCustom + " sets the default itself", Want: "a default that next_entry can override",
		Remedy: "use GRUB_DEFAULT in /etc/default/grub in its place and run update-grub",
	}}
}

// commands are the lines of a script without blanks around them and without comments.
func commands(text string) []string {
	var out []string
	for l := range strings.SplitSeq(text, "\n") {
		if l = strings.TrimSpace(l); l != "" && !strings.HasPrefix(l, "#") {
			out = append(out, l)
		}
	}
	return out
}

// afterOneShot is what follows the condition that takes next_entry: its other branch sets the usual default.
func afterOneShot(lines []string) []string {
	taken := false
	for i, l := range lines {
		taken = taken || l == oneShot
		if taken && l == "fi" {
			return lines[i+1:]
		}
	}
	return nil
}

func setsDefault(lines []string) bool {
	for _, l := range lines {
		if strings.HasPrefix(l, "set default=") || strings.HasPrefix(l, "default=") {
			return true
		}
	}
	return false
}
