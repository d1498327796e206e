package lab

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// found is what the firmware takes from the card: copies of the files, and the kernel's arguments.
type found struct {
	kernel, initramfs         string // local files; no initramfs is ""
	kernelName, initramfsName string // on the card
	cmdline                   string
	config                    string // the file of settings
}

// readCard does what the firmware of a Raspberry Pi does with the FAT partition of its card (Raspberry Pi documentation,
// config.txt), by mtools: nothing of the code under test takes part.
func readCard(ctx context.Context, card string, model Model, trial bool, dir string) (found, error) {
	boot, err := openBoot(ctx, card)
	if err != nil {
		return found{}, err
	}
	f := found{config: "config.txt", kernel: filepath.Join(dir, "kernel")}
	if trial { // "Fail-safe OS updates (tryboot)": another file, and the sections [tryboot] count
		f.config, model.Filters = "tryboot.txt", append([]string{"tryboot"}, model.Filters...)
	}
	c := settings{"kernel": model.Kernel, "cmdline": "cmdline.txt"}
	if err := c.include(ctx, boot, f.config, model, 0); err != nil {
		return found{}, err
	}
	prefix := c["os_prefix"]
	f.kernelName = prefix + c["kernel"]
	if err := boot.copy(ctx, f.kernelName, f.kernel); err != nil {
		return found{}, err
	}
	if name := c.initramfs(); name != "" {
		f.initramfsName, f.initramfs = prefix+name, filepath.Join(dir, "initramfs")
		if err := boot.copy(ctx, f.initramfsName, f.initramfs); err != nil { // the firmware goes on without
			f.initramfsName, f.initramfs = f.initramfsName+" (missing)", ""
		}
	}
	line, err := boot.read(ctx, prefix+c["cmdline"])
	if err != nil {
		return found{}, err
	}
	f.cmdline, _, _ = strings.Cut(string(line), "\n")
	return f, nil
}

// settings are those of config.txt that choose what is started. The last one of a name holds.
type settings map[string]string

// include reads a file of settings. A section is read when it is for the board; a new one ends it.
func (c settings) include(ctx context.Context, boot bootPartition, name string, model Model, depth int) error {
	text, err := boot.read(ctx, name)
	if err != nil {
		return err
	}
	if depth > 8 {
		return fmt.Errorf("%s: included too deep", name)
	}
	reads := true
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(strings.TrimSpace(line), "#")
		line = strings.TrimSpace(line)
		if section, ok := strings.CutPrefix(line, "["); ok {
			section = strings.TrimSuffix(section, "]")
			reads = section == "all" || slices.Contains(model.Filters, section)
			continue
		}
		if !reads || line == "" {
			continue
		}
		words := strings.Fields(line)
		switch {
		case words[0] == "include" && len(words) == 2:
			if err := c.include(ctx, boot, words[1], model, depth+1); err != nil {
				return err
			}
		case words[0] == "initramfs" && len(words) >= 2:
			c["initramfs"] = words[1]
		default:
			key, value, _ := strings.Cut(line, "=")
			c[strings.TrimSpace(key)] = strings.TrimSpace(value)
		}
	}
	return nil
}

// initramfs is the one that is named, or by auto_initramfs the one that goes with the kernel's name.
func (c settings) initramfs() string {
	switch {
	case c["initramfs"] != "":
		return c["initramfs"]
	case c["ramfsfile"] != "":
		return c["ramfsfile"]
	case c["auto_initramfs"] == "1":
		return strings.TrimSuffix(strings.Replace(c["kernel"], "kernel", "initramfs", 1), ".img")
	}
	return ""
}

// bootPartition is the first FAT partition of a card, in mtools' notation.
type bootPartition string

func openBoot(ctx context.Context, card string) (bootPartition, error) {
	out, err := exec.CommandContext(ctx, "sfdisk", "--json", card).Output()
	if err != nil {
		return "", fmt.Errorf("partition table of the card: %w", err)
	}
	var table struct {
		Partitiontable struct {
			Partitions []struct {
				Start int64  `json:"start"`
				Type  string `json:"type"`
			}
		}
	}
	if err := json.Unmarshal(out, &table); err != nil {
		return "", err
	}
	for _, p := range table.Partitiontable.Partitions {
		if slices.Contains([]string{"b", "c", "e", "6"}, p.Type) {
			return bootPartition(fmt.Sprintf("%s@@%d", card, p.Start*512)), nil
		}
	}
	return "", errors.New("the card has no FAT partition")
}

func (p bootPartition) read(ctx context.Context, name string) ([]byte, error) {
	out, err := exec.CommandContext(ctx, "mtype", "-i", string(p), "::/"+name).Output()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return out, nil
}

func (p bootPartition) copy(ctx context.Context, name, to string) error {
	data, err := p.read(ctx, name)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o644)
}

// wasReset reads the machine's events (QEMU, qapi/run-state.json) to their end and says whether it ended by a reboot.
func wasReset(events io.Reader) bool {
	reset := false
	for lines := bufio.NewScanner(events); lines.Scan(); {
		var e struct {
			Event string
			Data  struct{ Reason string }
		}
		if json.Unmarshal(lines.Bytes(), &e) == nil && e.Event == "SHUTDOWN" {
			reset = e.Data.Reason == "guest-reset"
		}
	}
	return reset
}
