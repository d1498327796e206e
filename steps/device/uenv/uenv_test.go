package uenv

import (
	"strings"
	"testing"
)

const debian = `#Docs: http://elinux.org/Beagleboard:U-boot_partitioning_layout_2.0

uname_r=5.10.168-ti-r83
#uuid=
  enable_uboot_overlays=1
uboot_overlay_addr0=<file0>.dtbo
cmdline=coherent_pool=1M net.ifnames=0
cmdline=coherent_pool=1M quiet a\=b
`

func TestParse(t *testing.T) {
	f, err := Parse(debian)
	if err != nil || len(f) != 5 || f[1].Line != 5 {
		t.Fatalf("%+v, %v", f, err)
	}
	for name, want := range map[string]string{"uname_r": "5.10.168-ti-r83", "enable_uboot_overlays": "1", "cmdline": "coherent_pool=1M quiet a=b"} {
		if got, ok := f.Get(name); !ok || got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if _, ok := f.Get("uuid"); ok || len(f.Unknown()) > 0 {
		t.Errorf("uuid %v, unknown %v", ok, f.Unknown())
	}
}

func TestRefused(t *testing.T) {
	for text, want := range map[string]string{
		"uname_r\n": "expected NAME=VALUE", "=x\n": "the name", "a b=x": "the name", "uname_r=1\r\n": "Windows",
		"cmdline=a\\\nb=c\n": "goes on", "x=\x00": "bytes 0",
	} {
		if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// TestUnknown: what may change what is started is named, whatever it is.
func TestUnknown(t *testing.T) {
	for _, name := range []string{"uenvcmd", "loadrd", "loadimage", "uname_boot", "bootcmd", "client_ip", "uenv_root", "rdfile", "args_mmc_old", "x"} {
		f, err := Parse(debian + name + "=run something\n")
		if err != nil || len(f.Unknown()) != 1 || f.Unknown()[0].Name != name || f.Unknown()[0].Line != 9 {
			t.Errorf("%s: %+v, %v", name, f.Unknown(), err)
		}
	}
}

// TestBlock: one line sets one variable, which no backslash changes, and the rest stays.
func TestBlock(t *testing.T) {
	block := Block("/boot/ours.img", "panic=10 rdinit=/x")
	f, err := Parse(debian + block)
	if err != nil || len(f) != 6 {
		t.Fatalf("%+v, %v", f, err)
	}
	got, _ := f.Get("loadrd")
	for _, want := range []string{"${rdaddr} /boot/ours.img", `"${cmdline} panic=10 rdinit=/x"`, "else load ${devtype} ${bootpart} ${rdaddr} ${bootdir}/${rdfile} ||"} {
		if !strings.Contains(got, want) {
			t.Errorf("loadrd is %q, want %q in it", got, want)
		}
	}
	if block != "loadrd="+got+"\n" {
		t.Errorf("block %q", block)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(debian)
	f.Add("a=\\\\\n#\\\nb=\\")
	f.Fuzz(func(t *testing.T, text string) {
		before, err := Parse(text)
		if err != nil {
			return
		}
		if text != "" && !strings.HasSuffix(text, "\n") {
			text += "\n"
		}
		after, err := Parse(text + Block("/i", "args"))
		if err != nil || len(after) != len(before)+1 {
			t.Fatalf("%d variables, %v, were %d", len(after), err, len(before))
		}
		if got, _ := after.Get("loadrd"); !strings.Contains(got, "/i") {
			t.Errorf("loadrd is %q", got)
		}
	})
}
