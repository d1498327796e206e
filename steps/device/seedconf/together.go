package seedconf

import (
	"strconv"
	"strings"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps/device/shellvars"
)

// wifi decides which networks go along (S17, S18, S76): all of them, those that a file lists, or none.
func (im *importer) wifi() {
	all, allSet := im.Get("MIGRATE_ALL_WIFIS")
	list, listSet := im.Get("MIGRATE_WIFI_CFG")
	if yes, ok := im.truth(all); !ok {
		return
	} else if yes {
		im.set(all, "network.wifi", "all")
		if listSet {
			im.note(list, schema.ImportUnused, "it has no effect beside MIGRATE_ALL_WIFIS=TRUE")
		}
		return
	}
	by := list
	if !listSet {
		by = all
		list.Value = "migrate-wifis" // the predecessor's default
		if !im.exists(im.file(list.Value)) {
			list.Value = ""
		}
	}
	if !allSet && !listSet {
		im.implied(list.Value)
		return
	}
	if list.Value == "" {
		im.set(by, "network.wifi", "none")
	} else {
		im.set(by, "network.wifi", "listed")
		im.set(by, "network.ssid_file", im.file(list.Value))
	}
	if listSet && allSet {
		im.mapped(all, "network.wifi")
	}
}

// implied is for files that say nothing of networks, to which the predecessor took none but those of its default list.
// No variable stands for it, so the note is on the file's first line.
func (im *importer) implied(list string) {
	here := shellvars.Setting{Position: shellvars.Position{Line: 1, Column: 1}, Name: "MIGRATE_ALL_WIFIS"}
	if list == "" {
		im.set(here, "network.wifi", "none")
	} else {
		im.set(here, "network.wifi", "listed")
		im.set(here, "network.ssid_file", im.file(list))
	}
	im.note(here, schema.ImportChanged, "it is not set, and the predecessor's default is kept; without a word of it, all networks go along now")
}

// hosts takes whom to connect to (S33): the host with its port, or the port in a variable of its own. No host switches
// the check off.
func (im *importer) hosts() {
	const https = 443
	if host, port, ok := im.address("BALENA_API_HOST", "BALENA_API_PORT", "api.balena-cloud.com", https); ok {
		url := ""
		if host != "" {
			url = "https://" + host
			if port != https {
				url += ":" + strconv.FormatInt(port, 10)
			}
		}
		im.setBoth("BALENA_API_HOST", "BALENA_API_PORT", "balena.api_url", url)
	}
	if host, port, ok := im.address("BALENA_VPN_HOST", "BALENA_VPN_PORT", "vpn.balena-cloud.com", https); ok {
		im.setBoth("BALENA_VPN_HOST", "", "balena.vpn_host", host)
		if port != https {
			im.setBoth("BALENA_VPN_HOST", "BALENA_VPN_PORT", "balena.vpn_port", port)
		}
	}
}

// address is what two variables say together; not ok when neither is set, or one is no use.
func (im *importer) address(hostName, portName, host string, port int64) (string, int64, bool) {
	h, hostSet := im.Get(hostName)
	p, portSet := im.Get(portName)
	if hostSet {
		if strings.ContainsAny(h.Value, "/ ") || h.List != nil {
			im.Refuse(h.Position, "another value for "+hostName, "a host, or host:port", "correct it")
			return "", 0, false
		}
		var own string
		host, own, _ = strings.Cut(h.Value, ":")
		if own != "" {
			p, portSet = shellvars.Setting{Position: h.Position, Name: h.Name, Value: own}, true
		}
	}
	if !portSet || p.Value == "" {
		if portSet {
			im.empty(p)
		}
		return host, port, hostSet
	}
	n, ok := im.number(p)
	if ok && p.Name == portName && n == port {
		im.note(p, schema.ImportUnused, "it is the default")
	}
	return host, n, ok
}

// setBoth gives a member its value from those of two variables that are set.
func (im *importer) setBoth(first, second, key string, value any) {
	for _, name := range []string{second, first} {
		if s, ok := im.Get(name); ok && !im.told(s) {
			im.set(s, key, value)
		}
	}
}

// told says whether a variable was found to decide nothing.
func (im *importer) told(s shellvars.Setting) bool {
	for _, n := range im.notes {
		if n.Variable == s.Name && n.Line == s.Line && n.Kind == schema.ImportUnused {
			return true
		}
	}
	return false
}

// backup takes the script, else the definition (S87, S88).
func (im *importer) backup() {
	script, hasScript := im.Get("BACKUP_SCRIPT")
	definition, hasDefinition := im.Get("BACKUP_DEFINITION")
	if hasScript {
		toFile("backup.script")(im, script)
	}
	if !hasDefinition {
		return
	}
	if script.Value != "" && definition.Value != "" {
		im.note(definition, schema.ImportUnused, "it has no effect beside BACKUP_SCRIPT")
		return
	}
	toFile("backup.definition")(im, definition)
}

// grub takes the boot loader's files, which mattered only where one was to be installed (S34, S57).
func (im *importer) grub() {
	install, ok := im.Get("GRUB_INSTALL")
	yes, valid := im.truth(install)
	files := map[string]string{"GRUB_CFG": "boot.grub.cfg", "GRUB_BOOT_IMG": "boot.grub.boot_img", "GRUB_CORE_IMG": "boot.grub.core_img"}
	images := 0
	for _, name := range []string{"GRUB_CFG", "GRUB_BOOT_IMG", "GRUB_CORE_IMG"} {
		s, set := im.Get(name)
		switch {
		case !set:
		case s.Value == "" || s.List != nil:
			im.empty(s)
		case !yes:
			im.note(s, schema.ImportUnused, "it had no effect without GRUB_INSTALL=TRUE, and is left out")
		default:
			toFile(files[name])(im, s)
			if name != "GRUB_CFG" {
				images++
			}
		}
	}
	if !ok || !valid {
		return
	}
	how := "none"
	if yes {
		how = "host" // grub-install
		if images == 2 {
			how = "files"
		}
	}
	im.set(install, "boot.grub.install", how)
}

// memory takes the larger of what had to stay free in the two stages (S29), for which there is one measure here.
func (im *importer) memory() {
	var most int64
	var by []shellvars.Setting
	for _, name := range []string{"MEM_MIN_FREE_S1", "MEM_MIN_FREE_S2"} {
		s, set := im.Get(name)
		if !set || im.empty(s) {
			continue
		}
		if n, ok := im.number(s); ok {
			by = append(by, s)
			most = max(most, n)
		}
	}
	for _, s := range by {
		im.set(s, "stage2.min_free_mb", mib(most))
		im.note(s, schema.ImportChanged, "one limit stands for both stages: the larger, in MiB")
	}
}
