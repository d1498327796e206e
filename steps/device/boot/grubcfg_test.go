package boot

import (
	"strings"
	"testing"

	"github.com/balena-community/balena-migrate/steps/host/hosttest"
)

// header is what 00_header writes; %s is the default that GRUB_DEFAULT asks for.
func header(def, timeout string) string {
	return `if [ -s $prefix/grubenv ]; then
  set have_grubenv=true
  load_env
fi
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
   set next_entry=
   save_env next_entry
   set boot_once=true
else
   set default="` + def + `"
fi
` + timeout
}

const (
	custom41   = "if [ -f  ${config_directory}/custom.cfg ]; then\n  source ${config_directory}/custom.cfg\nfi\n"
	trustyWait = "if [ \"${recordfail}\" = 1 ] ; then\n  set timeout=-1\nelse\n  set timeout=10\nfi\n" // GRUB 2.02 beta of Ubuntu 14.04
)

// TestGrubConfigs are what is met: each is armed, or refused by name.
func TestGrubConfigs(t *testing.T) {
	for name, c := range map[string]struct{ text, refused string }{
		"a number":                     {header("2", "set timeout=5\n") + custom41, ""},
		"a submenu and number":         {header("1>2", "set timeout=5\n") + custom41, ""},
		"a title":                      {header("Debian GNU/Linux", "set timeout=5\n") + custom41, ""},
		"saved (GRUB_DEFAULT=saved)":   {header("${saved_entry}", "set timeout=5\n") + custom41, ""},
		"Ubuntu 14.04, 2.02 beta":      {header("0", trustyWait) + custom41, ""},
		"with a password":              {header("0", "set timeout=5\nset superusers=\"root\"\npassword_pbkdf2 root grub.x\n") + custom41, ""},
		"waits for ever":               {header("0", "set timeout=-1\n") + custom41, "waits for somebody"},
		"BLS (Fedora, Red Hat)":        {header("0", "set timeout=5\nblscfg\n") + custom41, "Boot Loader Specification"},
		"another default in 40_custom": {header("0", "set timeout=5\n") + "set default=3\n" + custom41, "sets the default again"},
		"without custom.cfg":           {header("0", "set timeout=5\n"), "without custom.cfg"},
		"2.00 without next_entry":      {"set default=0\n" + custom41, "without next_entry"},
	} {
		t.Run(name, func(t *testing.T) {
			h := hosttest.Debian(t)
			h.Put(grubCfg, c.text)
			b, blocked := Find(site(t, h), "auto")
			if c.refused == "" && (b == nil || len(blocked) > 0) {
				t.Fatalf("refused: %+v", blocked)
			}
			if c.refused != "" && (len(blocked) != 1 || !strings.Contains(blocked[0].Got, c.refused) || blocked[0].Remedy == "") {
				t.Fatalf("blocked by %+v, want %q", blocked, c.refused)
			}
		})
	}
}

// TestRecordFail: a boot that failed keeps the menu of Ubuntu 14.04 up until somebody chooses; later ones go on.
func TestRecordFail(t *testing.T) {
	for timeout, refused := range map[string]bool{trustyWait: true, strings.Replace(trustyWait, "-1", "30", 1): false} {
		h := hosttest.Debian(t)
		h.Put(grubCfg, header("0", timeout)+custom41)
		h.Put(grubEnv, hosttest.Grubenv("recordfail=1\n"))
		_, blocked := Find(site(t, h), "auto")
		if refused != (len(blocked) == 1) || refused && (blocked[0].Check != "grubenv" || !strings.Contains(blocked[0].Remedy, "unset recordfail")) {
			t.Errorf("%s: blocked by %+v, want %v", timeout, blocked, refused)
		}
	}
}

// TestInitrdFail: Ubuntu's GRUB of clouds puts another entry in the place of ours when it thinks that a start without
// initramfs failed, and ours would come at some later boot.
func TestInitrdFail(t *testing.T) {
	const clouds = `if [ "${initrdfail}" = 2 ]; then
  set initrdfail=
elif [ "${initrdfail}" = 1 ]; then
  set next_entry="${prev_entry}"
  set prev_entry=
  save_env prev_entry
fi
`
	for text, refused := range map[string]bool{clouds + header("0", "set timeout=5\n") + custom41: true, header("0", "set timeout=5\n") + custom41: false} {
		h := hosttest.Debian(t)
		h.Put(grubCfg, text)
		h.Put(grubEnv, hosttest.Grubenv("initrdfail=1\n"))
		_, blocked := Find(site(t, h), "auto")
		if refused != (len(blocked) == 1) || refused && (blocked[0].Check != "grubenv" || !strings.Contains(blocked[0].Remedy, "unset initrdfail")) {
			t.Errorf("%s: blocked by %+v, want %v", text, blocked, refused)
		}
	}
}

func TestGrubOfOtherDistributions(t *testing.T) {
	h := hosttest.Debian(t)
	if err := h.Remove(grubCfg); err != nil {
		t.Fatal(err)
	}
	h.Put("/boot/grub2/grub.cfg", "")
	if _, blocked := Find(site(t, h), "auto"); len(blocked) != 1 || !strings.Contains(blocked[0].Got, "/boot/grub2") {
		t.Errorf("blocked by %+v", blocked)
	}
}
