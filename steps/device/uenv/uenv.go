// Package uenv reads a uEnv.txt: lines NAME=VALUE that U-Boot imports into its environment (U-Boot, lib/hashtable.c,
// himport_r, which is `env import -t`), where the scripts of a BeagleBone's U-Boot find them.
package uenv

import (
	"errors"
	"fmt"
	"strings"
)

// Variable is a line.
type Variable struct {
	Name, Value string
	// Line is where it stands, from 1 on.
	Line int
}

// File is what a uEnv.txt sets, in its order.
type File []Variable

// Parse reads a file. A line that goes on in the next, or that deletes a variable, is an error.
func Parse(text string) (File, error) {
	if strings.ContainsAny(text, "\r\x00") {
		return nil, errors.New("lines that end as on Windows, or bytes 0: expected text with lines that end in a line feed")
	}
	var out File
	for n, line := range strings.Split(text, "\n") {
		line = strings.TrimLeft(line, " \t")
		if line == "" || line[0] == '#' {
			continue
		}
		if strings.HasSuffix(line, `\`) {
			return nil, fmt.Errorf("line %d: a line that goes on in the next, expected NAME=VALUE in one", n+1)
		}
		name, value, found := strings.Cut(line, "=")
		switch {
		case !found:
			return nil, fmt.Errorf("line %d: %q, expected NAME=VALUE", n+1, line)
		case name == "" || strings.ContainsAny(name, " \t\"'\\"):
			return nil, fmt.Errorf("line %d: the name %q, expected one of letters", n+1, name)
		}
		out = append(out, Variable{Name: name, Value: unescape(value), Line: n + 1})
	}
	return out, nil
}

// unescape takes out the backslashes that protect a character.
func unescape(value string) string {
	var b strings.Builder
	for i := 0; i < len(value); i++ {
		if value[i] == '\\' && i+1 < len(value) {
			i++
		}
		b.WriteByte(value[i])
	}
	return b.String()
}

// Get returns a variable's value; the last line counts.
func (f File) Get(name string) (string, bool) {
	for i := len(f) - 1; i >= 0; i-- {
		if f[i].Name == name {
			return f[i].Value, true
		}
	}
	return "", false
}

// Unknown lists the variables of which it is not known that they leave alone what U-Boot starts.
func (f File) Unknown() []Variable {
	var out []Variable
	for _, v := range f {
		if !harmless(v.Name) {
			out = append(out, v)
		}
	}
	return out
}

// harmless are the variables of BeagleBoard's images that choose the kernel's release, which is compared, its arguments,
// and device trees (https://elinux.org/Beagleboard:BeagleBoneBlack_Debian, "U-Boot Overlays").
func harmless(name string) bool {
	switch name {
	case "uname_r", "cmdline", "console", "optargs", "uuid", "mmcrootfstype", "dtb", "fdtfile", "dtb_overlay", "cape_disable", "cape_enable",
		"enable_uboot_overlays", "enable_uboot_cape_universal", "fdt_high", "initrd_high":
		return true
	}
	return strings.HasPrefix(name, "uboot_") || strings.HasPrefix(name, "disable_uboot_")
}

// Block makes a BeagleBone's U-Boot load another initramfs and add to the kernel's arguments. Its script uname_boot runs
// loadrd for the initramfs, and puts the arguments together after that. Addresses, partition and device tree remain
// U-Boot's own. What U-Boot can't load of ours leaves everything as it was: the old system starts.
//
// Releases of U-Boot before 2016 know no devtype, and then the disk is one of type mmc.
func Block(initramfs, args string) string {
	load := func(file string) string {
		return "load ${devtype} ${bootpart} ${rdaddr} " + file + " || load mmc ${bootpart} ${rdaddr} " + file
	}
	return "loadrd=if " + load(initramfs) + `; then setenv rdsize ${filesize}; setenv cmdline "${cmdline} ` + args + `"; ` +
		"else " + load("${bootdir}/${rdfile}") + "; setenv rdsize ${filesize}; fi\n"
}
