package boot

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/steps/device/uimage"
)

// U-Boot has no one-shot entry that every board knows, and what its environment could hold for one lies in places that
// differ by board and release, where a wrong write bricks. So both back ends change a file that stage 2 puts back as its
// first act; until then each boot starts stage 2. U-Boot reads ext4 without its journal: should the power be cut while
// stage 2 puts the file back, stage 2 may start once more; it then finds the record gone and goes on in the old system.

// compatible are the names of the board and its processor in the device tree, nil on a machine without.
func compatible(s Site) []string {
	data, err := s.ReadFile("/proc/device-tree/compatible")
	if err != nil {
		return nil
	}
	return strings.FieldsFunc(string(data), func(c rune) bool { return c == 0 })
}

// uBoot says whether the board is one that U-Boot starts by its own files: it has a device tree, no EFI, and is neither a
// Raspberry Pi nor one of NVIDIA's, whose CBoot reads an extlinux.conf too.
func uBoot(s Site) bool {
	names := compatible(s)
	nvidia := slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(n, "nvidia,") })
	_, err := s.Stat("/sys/firmware/efi")
	return len(names) > 0 && !nvidia && err != nil && !(RaspberryPi{}).Here(s)
}

func bootBlocked(got, want, remedy string) []schema.Blocked {
	return []schema.Blocked{{Check: "boot-loader", Got: got, Want: want, Remedy: remedy}}
}

// startedOtherwise names the first of these arguments that the running kernel was not started with, "" if there is none.
// What U-Boot replaces by a variable's value is not compared.
func startedOtherwise(s Site, args []string) (string, error) {
	cmdline, err := s.ReadFile("/proc/cmdline")
	if err != nil {
		return "", err
	}
	had := strings.Fields(string(cmdline))
	for _, a := range args {
		if !strings.Contains(a, "$") && !slices.Contains(had, a) {
			return a, nil
		}
	}
	return "", nil
}

// versioned finds a release in the name of a kernel's file.
var versioned = regexp.MustCompile(`-[0-9]+\.[0-9]+`)

// anotherKernel says why the file is not the kernel that runs, whose modules stage 2 has; "" if nothing speaks against it.
func anotherKernel(s Site, name string) (string, error) {
	release, err := Release(s)
	if err != nil {
		return "", err
	}
	real, err := s.RealPath(name)
	if err != nil {
		return "", err
	}
	info, err := s.Stat(real)
	if err != nil {
		return "", err
	}
	base := path.Base(real)
	booted := bootTime(s)
	switch {
	case strings.HasSuffix(base, "-"+release):
	case versioned.MatchString(base):
		return fmt.Sprintf("%s, while kernel %s runs", real, release), nil
	case !booted.IsZero() && info.ModTime().After(booted):
		return real + ", which was replaced after this system had started", nil
	}
	return "", nil
}

// join puts the host's own initramfs, if it comes along, in front of ours: U-Boot loads one only. Each begins at a
// multiple of 4 bytes. Where the host's is in U-Boot's own wrapping, so is the whole.
func join(s Site, e Entry) ([]byte, error) {
	if e.Initrd == "" {
		return e.Stage2, nil
	}
	data, err := s.ReadFile(e.Initrd)
	if err != nil {
		return nil, err
	}
	head, inner, err := uimage.Open(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", e.Initrd, err)
	}
	whole := slices.Concat(inner, make([]byte, -len(inner)&3), e.Stage2)
	return head.Wrap(whole), nil
}

// endLine gives a text's last line its end.
func endLine(text string) string {
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return text
}
