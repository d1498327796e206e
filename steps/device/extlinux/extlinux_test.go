package extlinux

import (
	"strings"
	"testing"
)

const debian = `## /boot/extlinux/extlinux.conf
default l0
menu title U-Boot menu
prompt 0
timeout 50

label l0
	menu label Debian GNU/Linux 12
	linux /boot/vmlinuz-6
	initrd /boot/initrd.img-6
	fdtdir /usr/lib/linux-image-6/
	append root=/dev/vda1 ro quiet

label l0r
	menu label Debian GNU/Linux 12 (rescue target)
	linux /boot/vmlinuz-6
	initrd /boot/initrd.img-6
	append root=/dev/vda1 ro single
`

// TestChosen: the entry that U-Boot starts when nobody is there (U-Boot, boot/pxe_utils.c).
func TestChosen(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want Label
	}{
		"as Debian writes it":                     {debian, Label{"l0", "/boot/vmlinuz-6", "/boot/initrd.img-6", "root=/dev/vda1 ro quiet", []string{"\tfdtdir /usr/lib/linux-image-6/"}}},
		"the last default counts":                 {debian + "DEFAULT l0r\n", Label{"l0r", "/boot/vmlinuz-6", "/boot/initrd.img-6", "root=/dev/vda1 ro single", nil}},
		"ontimeout is a default":                  {debian + "ontimeout l0r", Label{"l0r", "/boot/vmlinuz-6", "/boot/initrd.img-6", "root=/dev/vda1 ro single", nil}},
		"no such default, so the first":           {debian + "default L0R\n", Label{"l0", "/boot/vmlinuz-6", "/boot/initrd.img-6", "root=/dev/vda1 ro quiet", []string{"\tfdtdir /usr/lib/linux-image-6/"}}},
		"the end of a line is a part of the name": {"label a\nlinux x\nlabel b\nlinux y\ndefault b \n", Label{"a", "x", "", "", nil}},
		"the later of two with one name":          {"label a\nlinux x\nlabel a\nlinux y\ndefault a\n", Label{"a", "y", "", "", nil}},
		"menu default within an entry":            {"label a\nlinux x\nlabel b\nmenu default\nlinux y\n", Label{"b", "y", "", "", nil}},
		"no default":                              {"LABEL a\nKERNEL x\n", Label{"a", "x", "", "", nil}},
		"the first initrd, the last kernel":       {"label a\nkernel x\nkernel y\ninitrd i\ninitrd j\n", Label{"a", "y", "i", "", nil}},
		"initrd= among the arguments":             {"label a\nkernel y\nappend ro initrd=i quiet\ninitrd j\n", Label{"a", "y", "i", "ro initrd=i quiet", nil}},
		"a # is a comment at a line's start":      {"label a\nkernel y\n # kernel z\nappend ro x=#1\n", Label{"a", "y", "", "ro x=#1", nil}},
		"what ends an entry":                      {"label a\nkernel y\ntimeout 5\nlabel b\nkernel z\n", Label{"a", "y", "", "", nil}},
	} {
		m, err := Parse(c.text)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got, err := m.Chosen()
		if err != nil || got.Name != c.want.Name || got.Kernel != c.want.Kernel || got.Initrd != c.want.Initrd || got.Append != c.want.Append ||
			strings.Join(got.Others, "|") != strings.Join(c.want.Others, "|") {
			t.Errorf("%s: %+v, %v, want %+v", name, got, err, c.want)
		}
	}
}

func TestRefused(t *testing.T) {
	for text, want := range map[string]string{
		"":                                    "no label",
		"label a\nappend ro\n":                "no kernel",
		"label a\nlocalboot 1\n":              "localboot",
		"include other.conf\n":                "includes another file",
		"menu include other.conf\n":           "includes another file",
		"label a\nkernel x\nui menu.c32\n":    `"ui"`,
		"label a\nkernel\n":                   "without a value",
		"label a\nkernel #x\n":                "without a value",
		"default\nlabel a\nkernel x\n":        "without a value",
		"timeout soon\nlabel a\nkernel x\n":   "timeout",
		"label a\nkernel x\nfallback other\n": "fallback",
	} {
		m, err := Parse(text)
		if err == nil {
			_, err = m.Chosen()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestWaits(t *testing.T) {
	for text, want := range map[string]bool{
		debian: false, "label a\nkernel x\n": false, "menu title x\nlabel a\nkernel x\n": true, "menu title x\ntimeout 0\n": true,
		"timeout 0\nlabel a\nmenu label A\nkernel x\n": false,
	} {
		m, err := Parse(text)
		if err != nil || m.Waits() != want {
			t.Errorf("%q waits: %v, %v", text, m.Waits(), err)
		}
	}
}

// TestBlock: behind everything else ours is what is chosen, with the kernel and device tree of the entry that it is made of.
func TestBlock(t *testing.T) {
	m, err := Parse(debian)
	if err != nil {
		t.Fatal(err)
	}
	l, err := m.Chosen()
	if err != nil {
		t.Fatal(err)
	}
	block := l.Block("ours", "/boot/ours.img", "root=/dev/vda1 rdinit=/x")
	want := "label ours\n\tlinux /boot/vmlinuz-6\n\tinitrd /boot/ours.img\n\tfdtdir /usr/lib/linux-image-6/\n\tappend root=/dev/vda1 rdinit=/x\ndefault ours\n"
	if block != want {
		t.Errorf("block\n%s\nwant\n%s", block, want)
	}
	if m, err = Parse(debian + block); err != nil {
		t.Fatal(err)
	}
	got, err := m.Chosen()
	if err != nil || got.Name != "ours" || got.Initrd != "/boot/ours.img" || len(m.Labels) != 3 || m.Waits() {
		t.Errorf("chosen %+v of %+v, %v", got, m, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(debian)
	f.Add("label a\nkernel x\r\nappend initrd=y\nmenu default")
	f.Fuzz(func(t *testing.T, text string) {
		m, err := Parse(text)
		if err != nil {
			return
		}
		l, err := m.Chosen()
		if err != nil {
			return
		}
		if text != "" && !strings.HasSuffix(text, "\n") {
			text += "\n"
		}
		if m, err = Parse(text + l.Block("balena-migrate", "/i", "args")); err != nil {
			t.Fatalf("ours can't be read: %v", err)
		}
		got, err := m.Chosen()
		if err != nil || got.Name != "balena-migrate" || got.Kernel != l.Kernel || got.Initrd != "/i" || got.Append != "args" {
			t.Errorf("%+v is chosen, %v, want ours made of %+v", got, err, l)
		}
	})
}
