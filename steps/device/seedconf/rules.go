package seedconf

import (
	"strconv"
	"strings"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps/device/shellvars"
)

// rule turns a variable into members of the configuration.
type rule func(im *importer, s shellvars.Setting)

// rules are the variables that mean something here (S13–S34).
func rules() map[string]rule {
	return map[string]rule{
		"IMAGE_NAME":             toFile("image.path"),
		"HOME_DIR":               home,
		"BALENA_CONFIG":          toFile("balena.config_json"),
		"BALENA_WIFI":            toBool("network.from_config_json", false),
		"MIGRATE_ALL_WIFIS":      later,
		"MIGRATE_WIFI_CFG":       later,
		"COPY_NMGR_FILES":        connectionFiles,
		"HAS_WIFI_CFG":           firstIndex,
		"REQUIRE_NMGR_FILE":      toBool("network.require", false),
		"BACKUP_SCRIPT":          later,
		"BACKUP_DEFINITION":      later,
		"LOG_DRIVE":              toText("stage2.log_device"),
		"LOG_FS_TYPE":            toText("stage2.log_fs"),
		"DO_REBOOT":              reboot,
		"NO_FLASH":               toBool("stage2.flash", true),
		"NO_SETUP":               toBool("boot.arm", true),
		"TERM_EXIT":              termExit,
		"DEBUG":                  toBool("boot.debug", false),
		"MEM_MIN_FREE_S1":        later,
		"MEM_MIN_FREE_S2":        later,
		"MIN_ROOT_AVAIL":         toMiB("disk.min_free_mb"),
		"MAX_BADBLOCKS":          wonOver("--bad-blocks", toText("disk.max_bad_blocks")),
		"MIN_WRITE_SPEED":        wonOver("--write-speed", toNumber("disk.min_write_kb_s")),
		"WARN_WRITE_SPEED":       toNumber("disk.warn_write_kb_s"),
		"BALENA_API_HOST":        later,
		"BALENA_API_PORT":        later,
		"BALENA_VPN_HOST":        later,
		"BALENA_VPN_PORT":        later,
		"BALENA_CONNECT_TIMEOUT": toNumber("balena.connect_timeout_s"),
		"GRUB_BOOT_DEV":          toText("boot.grub.boot_device"),
		"GRUB_INSTALL":           later,
		"GRUB_CFG":               later,
		"GRUB_BOOT_IMG":          later,
		"GRUB_CORE_IMG":          later,
		"MIG_BALENA_VER":         toText("image.version"),
	}
}

// later is for variables that mean something only together: see together.go.
func later(*importer, shellvars.Setting) {}

// toText takes a value as it is; one that is empty leaves the default, as it did.
func toText(key string) rule {
	return func(im *importer, s shellvars.Setting) {
		if im.empty(s) {
			return
		}
		im.set(s, key, s.Value)
	}
}

// toFile takes the name of a file.
func toFile(key string) rule {
	return func(im *importer, s shellvars.Setting) {
		if im.empty(s) {
			return
		}
		im.set(s, key, im.file(s.Value))
	}
}

// toBool takes TRUE, FALSE or nothing, which is FALSE; reversed for variables that begin with NO.
func toBool(key string, reversed bool) rule {
	return func(im *importer, s shellvars.Setting) {
		if value, ok := im.truth(s); ok {
			im.set(s, key, value != reversed)
		}
	}
}

// toNumber takes a number; nothing leaves the default.
func toNumber(key string) rule {
	return func(im *importer, s shellvars.Setting) {
		if im.empty(s) {
			return
		}
		if n, ok := im.number(s); ok {
			im.set(s, key, n)
		}
	}
}

// toMiB takes a number of KiB.
func toMiB(key string) rule {
	return func(im *importer, s shellvars.Setting) {
		if im.empty(s) {
			return
		}
		if n, ok := im.number(s); ok {
			im.set(s, key, mib(n))
		}
	}
}

// mib rounds KiB up to MiB.
func mib(kib int64) int64 { return (kib + 1023) / 1024 }

// wonOver is for variables that used to win over an option (S9).
func wonOver(option string, r rule) rule {
	return func(im *importer, s shellvars.Setting) {
		r(im, s)
		if s.Value != "" {
			im.note(s, schema.ImportChanged, "it used to win over "+option+" on the command line; there is no such option now")
		}
	}
}

// empty notes a variable without a value.
func (im *importer) empty(s shellvars.Setting) bool {
	if s.List != nil {
		im.Refuse(s.Position, "a list for "+s.Name, "one value", "write NAME=value")
		return true
	}
	if s.Value == "" {
		im.note(s, schema.ImportUnused, "it has no value, which leaves the default")
		return true
	}
	return false
}

// truth is the value of a switch. The predecessor took whatever is not exactly TRUE for no.
func (im *importer) truth(s shellvars.Setting) (value, ok bool) {
	switch {
	case s.List == nil && s.Value == "TRUE":
		return true, true
	case s.List == nil && (s.Value == "" || s.Value == "FALSE"):
		return false, true
	}
	im.Refuse(s.Position, "another value for "+s.Name, "TRUE, FALSE or nothing", "the predecessor took it for FALSE; say which is meant")
	return false, false
}

// number is a count.
func (im *importer) number(s shellvars.Setting) (int64, bool) {
	n, err := strconv.ParseInt(s.Value, 10, 64)
	const most = 1 << 40
	if err != nil || n < 0 || n > most {
		im.Refuse(s.Position, "another value for "+s.Name, "a number", "correct it")
		return 0, false
	}
	return n, true
}

func home(im *importer, s shellvars.Setting) {
	if !im.empty(s) {
		im.note(s, schema.ImportChanged, "names of files get it in front of them; products go into --work-dir, and the command line always wins")
	}
}

// connectionFiles takes NetworkManager's files (S19, S81).
func connectionFiles(im *importer, s shellvars.Setting) {
	files := []string{}
	for _, name := range s.Words() {
		files = append(files, im.file(name))
	}
	if len(files) == 0 {
		im.note(s, schema.ImportUnused, "it has no value, which leaves the default")
		return
	}
	im.set(s, "network.files", files)
	im.note(s, schema.ImportChanged, "a file that is missing was skipped in silence; it blocks now")
}

// firstIndex takes the number of connection files that are in the image already (S10, S20).
func firstIndex(im *importer, s shellvars.Setting) {
	const most = 98
	n, err := strconv.Atoi(s.Value)
	switch {
	case s.List == nil && (s.Value == "" || s.Value == "FALSE"):
		n = 0
	case s.Value == "TRUE":
		n = 1
	case err != nil || n < 0 || n > most:
		im.Refuse(s.Position, "another value for "+s.Name, "TRUE, FALSE, nothing or a number", "write how many connection files the image has")
		return
	}
	im.set(s, "network.first_index", n+1)
	if n == 0 {
		return
	}
	im.note(s, schema.ImportChanged, "in this file it had no effect, for it was read too early; it has now")
}

// reboot takes the delay (S24).
func reboot(im *importer, s shellvars.Setting) {
	switch s.Value {
	case "", "FALSE":
		im.note(s, schema.ImportUnused, "off, as here: a reboot is asked for by --reboot")
		return
	case "TRUE":
		im.set(s, "reboot.delay_s", 1)
	default:
		n, ok := im.number(s)
		if !ok {
			return
		}
		im.set(s, "reboot.delay_s", max(n, 1))
	}
	im.note(s, schema.ImportChanged, "it is the delay alone; that there is a reboot is asked for by: balena-migrate migrate --yes --reboot")
}

// termExit takes what was run when nothing was flashed (S27). Nothing of it is run here: it may say which way to go.
func termExit(im *importer, s shellvars.Setting) {
	first, _, _ := strings.Cut(strings.TrimSpace(s.Value), " ")
	switch first {
	case "reboot":
		im.set(s, "stage2.after_no_flash", "reboot")
	case "exit":
		im.set(s, "stage2.after_no_flash", "continue")
	case "":
		im.note(s, schema.ImportUnused, "it has no value; where the predecessor then stopped for good, the old system goes on")
		return
	default:
		im.set(s, "stage2.after_no_flash", "continue")
	}
	im.note(s, schema.ImportChanged, "no command is run: a rehearsal goes on with the old system or reboots it")
}
