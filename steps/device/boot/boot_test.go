package boot

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/balena-community/balena-migrate/schema"
	"github.com/balena-community/balena-migrate/stage2/disarm"
	"github.com/balena-community/balena-migrate/stage2/grubenv"
	"github.com/balena-community/balena-migrate/steps/host/hosttest"
)

func site(t *testing.T, h *hosttest.Host) Site {
	t.Helper()
	s, err := At(h)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestWords(t *testing.T) {
	for text, want := range map[string][]string{
		"root=/dev/vda1  ro\tquiet\n":        {"root=/dev/vda1", "ro", "quiet"},
		`dyndbg="file x.c +p" "a=b c" quiet`: {"dyndbg=file x.c +p", "a=b c", "quiet"},
		`root=UUID="1-2" x`:                  {`root=UUID="1-2"`, "x"},
		`open="never closed, and on`:         {"open=never closed, and on"},
		"":                                   {},
		`systemd.setenv=A="b c" init=/sbin/init -- 1`: {`systemd.setenv=A="b c"`, "init=/sbin/init", "--", "1"},
	} {
		if got := words(text); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// TestRunning: what starts this machine starts stage 2, less what a boot loader or an earlier stage 2 put there.
func TestRunning(t *testing.T) {
	h := hosttest.Debian(t)
	h.Put("/proc/cmdline", `BOOT_IMAGE=/boot/vmlinuz root=UUID=1 ro panic=10 rdinit=/balena-stage2 initrd=/x dyndbg="file x +p"`+"\n")
	e, err := packaged(h)
	if err != nil {
		t.Fatal(err)
	}
	e.Debug = true
	want := []string{"root=UUID=1", "ro", "dyndbg=file x +p", "debug", "panic=10", "rdinit=/balena-stage2"}
	if got := e.Arguments(); !slices.Equal(got, want) {
		t.Errorf("arguments %q, want %q", got, want)
	}
	if err := os.Remove(filepath.Join(h.Root(), e.Initrd)); err != nil {
		t.Fatal(err)
	}
	if e, err = packaged(h); err != nil || e.Initrd != "" {
		t.Errorf("initramfs %q, %v, want none", e.Initrd, err)
	}
	if err := os.Remove(filepath.Join(h.Root(), e.Kernel)); err != nil {
		t.Fatal(err)
	}
	if _, err = packaged(h); err == nil {
		t.Error("a kernel that is gone was found")
	}
}

func TestFind(t *testing.T) {
	for _, c := range []struct {
		name, file, content string
		want                []string // "check: part of what was found" for each blocker
	}{
		{"in order", "/etc/x", "", nil},
		{"no next_entry", grubCfg, "source custom.cfg", []string{"boot-loader: without next_entry"}},
		{"neither", grubCfg, "", []string{"boot-loader: without next_entry", "boot-loader: without custom.cfg"}},
		{"EFI", "/sys/firmware/efi/fw_platform_size", "64\n", nil},
		{"32-bit EFI", "/sys/firmware/efi/fw_platform_size", "32\n", []string{"boot-loader: EFI firmware of 32 bits"}},
		{"last boot recorded as failed, the menu goes on", grubEnv, hosttest.Grubenv("recordfail=1\n"), nil},
		{"custom.cfg with a default of its own", grubCustom, "set default=memtest\n", []string{"boot-loader: sets the default itself"}},
		{"custom.cfg with an entry of its own", grubCustom, "menuentry x {\n}\n", nil},
		{"not by GRUB (S104)", "/proc/cmdline", "root=/dev/vda1 x_BOOT_IMAGE=1", []string{"boot-loader: not started by GRUB"}},
		{"grubenv too short", grubEnv, "x", []string{"grubenv: 1 bytes"}},
		{"on btrfs (S109)", "/proc/self/mountinfo", "22 1 254:1 / / rw - btrfs /dev/vda1 rw\n", []string{"grubenv: btrfs"}},
		{"in memory (S109)", "/proc/self/mountinfo", "22 1 0:9 / / rw - ext4 none rw\n", []string{"grubenv: not a partition"}},
		{"nothing mounted", "/proc/self/mountinfo", "", []string{"grubenv: no mount"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := hosttest.Debian(t)
			h.Put(c.file, c.content)
			b, blocked := Find(site(t, h), "auto")
			if (b != nil) != (len(c.want) == 0) || len(blocked) != len(c.want) {
				t.Fatalf("found %v, blocked %+v, want %v", b, blocked, c.want)
			}
			for i, w := range c.want {
				check, got, _ := strings.Cut(w, ": ")
				if x := blocked[i]; x.Check != check || !strings.Contains(x.Got, got) || x.Want == "" || x.Remedy == "" {
					t.Errorf("%+v, want %s", x, w)
				}
			}
		})
	}
}

func TestGrubFiles(t *testing.T) {
	h := hosttest.Debian(t)
	h.Put("/proc/cmdline", `BOOT_IMAGE=/boot/vmlinuz root=UUID=1 dyndbg="file x +p" a=$(b);c`)
	h.Put(grubCustom, "menuentry mine {}")
	h.Put(grubEnv, hosttest.Grubenv("saved_entry=old\n"))
	e, err := packaged(h)
	if err != nil {
		t.Fatal(err)
	}
	original := func(name string) (disarm.State, error) { return disarm.Read(h, name) }
	files, err := Grub{}.Files(site(t, h), e, original)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 3 || files[0].Restore != schema.RestoreRemove || files[1].Path != grubCustom || files[2].Path != grubEnv ||
		files[2].Restore != schema.RestoreGrubenv {
		t.Fatalf("files %+v, want the archive, custom.cfg, then grubenv, which arms", files)
	}
	files = files[1:]
	custom := string(files[0].Data)
	for _, want := range []string{
		"menuentry mine {}\n", " --unrestricted --id " + disarm.EntryID + " {", "search --no-floppy --fs-uuid --set=root " + hosttest.RootUUID,
		"linux /boot/vmlinuz-" + hosttest.Release + " root=UUID=1 'dyndbg=file x +p' 'a=$(b);c' panic=10 rdinit=/balena-stage2\n",
		"initrd /boot/initrd.img-" + hosttest.Release + " /boot/" + archiveName + "\n",
	} {
		if !strings.Contains(custom, want) {
			t.Errorf("custom.cfg has no %q:\n%s", want, custom)
		}
	}
	env, err := grubenv.Parse(files[1].Data)
	if err != nil {
		t.Fatal(err)
	}
	if next, _ := env.Get("next_entry"); next != disarm.EntryID {
		t.Errorf("next_entry is %q, want %q", next, disarm.EntryID)
	}
	if saved, _ := env.Get("saved_entry"); saved != "old" {
		t.Errorf("saved_entry is %q, want it kept", saved)
	}
	if (Grub{}).Armed(h) {
		t.Error("armed before the files were written")
	}
	h.Put(grubEnv, string(files[1].Data))
	if !(Grub{}).Armed(h) {
		t.Error("not armed although grubenv says so")
	}
}
