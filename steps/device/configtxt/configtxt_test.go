package configtxt

import (
	"errors"
	"io/fs"
	"reflect"
	"strings"
	"testing"

	"github.com/balena-community/balena-migrate/stage2/disarm"
)

func files(m map[string]string) func(string) ([]byte, error) {
	return func(name string) ([]byte, error) {
		text, ok := m[name]
		if !ok {
			return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		}
		return []byte(text), nil
	}
}

func pi4() Board {
	return BoardOf("Raspberry Pi 4 Model B Rev 1.4\x00", "Revision\t: c03114\nSerial\t\t: 10000000abcdef01\n")
}

func TestResolve(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		board Board
		want  Start
		err   string
	}{
		"empty":           {files: map[string]string{"config.txt": ""}, want: Start{Cmdline: "cmdline.txt"}},
		"Raspbian 9":      {files: map[string]string{"config.txt": "dtparam=audio=on\n#initramfs x followkernel\n"}, want: Start{Cmdline: "cmdline.txt"}},
		"Raspberry Pi OS": {files: map[string]string{"config.txt": "auto_initramfs=1\n[cm4]\notg_mode=1\n[all]\n"}, want: Start{Auto: true, Cmdline: "cmdline.txt"}},
		"by hand": {
			files: map[string]string{"config.txt": "initramfs initrd.img-5.10-v7l+ followkernel\r\ncmdline=other.txt\r\n"},
			want:  Start{Initramfs: []string{"initrd.img-5.10-v7l+"}, Cmdline: "other.txt"},
		},
		"several files": {
			files: map[string]string{"config.txt": "ramfsfile=a,b\nramfsaddr=-1"}, want: Start{Initramfs: []string{"a", "b"}, Cmdline: "cmdline.txt"},
		},
		"models": {
			files: map[string]string{"config.txt": "[pi1]\ninitramfs one\n[pi4]\ninitramfs four\n[cm4]\ninitramfs cm\n[pi4]\n"},
			want:  Start{Initramfs: []string{"four"}, Cmdline: "cmdline.txt"},
		},
		"filters add up": {
			files: map[string]string{"config.txt": "[pi3]\n[0x10000000abcdef01]\ncmdline=no\n[pi4]\ncmdline=both\n[0x1]\ncmdline=no\n"},
			want:  Start{Cmdline: "both"},
		},
		"none ends with all": {files: map[string]string{"config.txt": "[none]\ncmdline=no\n[all]\ncmdline=yes"}, want: Start{Cmdline: "yes"}},
		"board-type":         {files: map[string]string{"config.txt": "[board-type=0x11]\ncmdline=yes\n[board-type=0x14]\ncmdline=no"}, want: Start{Cmdline: "yes"}},
		"an ordinary boot":   {files: map[string]string{"config.txt": "[tryboot]\ncmdline=no"}, want: Start{Cmdline: "cmdline.txt"}},
		"include": {
			files: map[string]string{"config.txt": "[pi3]\ninclude no.txt\n[all]\ninclude more.txt\ncmdline=last", "more.txt": "cmdline=first\nos_prefix=six/"},
			want:  Start{Prefix: "six/", Cmdline: "last"},
		},
		"upstream": {files: map[string]string{"config.txt": "upstream_kernel=1"}, want: Start{Prefix: "upstream/", Cmdline: "cmdline.txt"}},
		"another partition's": {
			files: map[string]string{"config.txt": "[boot_partition=2]\ncmdline=a\n[boot_partition=3]\ncmdline=b\n"},
			board: Board{Models: []string{"pi4"}, Partition: 3}, want: Start{Cmdline: "b"},
		},
		"a partition that is not known": {
			files: map[string]string{"config.txt": "[boot_partition=2]\ncmdline=a\n"}, err: "behind the filter [boot_partition=2]",
		},
		"a model on a board that is not known": {
			files: map[string]string{"config.txt": "[none]\ncmdline=a\n[cm0]\ncmdline=b\n"}, board: BoardOf("Raspberry Pi Compute Module 0", ""),
			err: "line 4: found cmdline behind the filter [cm0]",
		},
		"comparisons of one thing replace each other": {
			files: map[string]string{"config.txt": "[boot_count>3]\n[boot_count=1]\ncmdline=a\n"}, err: "behind the filter [boot_count=1],",
		},
		"pins":    {files: map[string]string{"config.txt": "[gpio4=1]\ninitramfs a\n"}, err: "found initramfs behind the filter [gpio4=1]"},
		"monitor": {files: map[string]string{"config.txt": "\n[EDID=DEL-X]\ncmdline=x"}, err: "config.txt line 3: found cmdline behind the filter [EDID=DEL-X]"},
		"monitor without an effect": {
			files: map[string]string{"config.txt": "[EDID=DEL-X]\nhdmi_group=1\n[HDMI:1]\nhdmi_mode=4"}, want: Start{Cmdline: "cmdline.txt"},
		},
		"behind 98 characters": {
			files: map[string]string{"config.txt": strings.Repeat(" ", 98) + "cmdline=x"}, want: Start{Cmdline: "cmdline.txt"},
		},
		"a circle":       {files: map[string]string{"config.txt": "include config.txt"}, err: "no circle of includes"},
		"a file missing": {files: map[string]string{"config.txt": "include gone.txt"}, err: "gone.txt"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.board.Models == nil && c.board.Type == 0 {
				c.board = pi4()
			}
			var got Start
			lines, err := Read(files(c.files), c.board)
			if err == nil {
				got, err = Resolve(lines)
			}
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("%v, want an error with %q", err, c.err)
				}
				return
			}
			if err != nil || !reflect.DeepEqual(got, c.want) {
				t.Errorf("%+v, %v; want %+v", got, err, c.want)
			}
		})
	}
}

func TestNoConfig(t *testing.T) {
	if _, err := Read(files(nil), pi4()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v, want %v", err, fs.ErrNotExist)
	}
}

func TestBoardOf(t *testing.T) {
	for model, want := range map[string]string{
		"Raspberry Pi Model B Plus Rev 1.2\x00":  "pi1",
		"Raspberry Pi Compute Module Rev 1.0":    "pi1",
		"Raspberry Pi Zero W Rev 1.1":            "pi0 pi0w",
		"Raspberry Pi Zero 2 W Rev 1.0":          "pi0 pi0w pi02",
		"Raspberry Pi 2 Model B Rev 1.1":         "pi2",
		"Raspberry Pi 3 Model B Plus Rev 1.3":    "pi3 pi3+",
		"Raspberry Pi 3 Model B Rev 1.2":         "pi3",
		"Raspberry Pi Compute Module 3 Plus":     "pi3",
		"Raspberry Pi 400 Rev 1.0":               "pi4 pi400",
		"Raspberry Pi Compute Module 4 Rev 1.1":  "pi4 cm4",
		"Raspberry Pi Compute Module 4S Rev 1.0": "pi4 cm4s",
		"Raspberry Pi 5 Model B Rev 1.0":         "pi5",
		"Raspberry Pi 500 Rev 1.0":               "pi5 pi500",
		"Raspberry Pi Compute Module 0 Rev 1.0":  "",
		"Raspberry Pi Compute Module 5 Rev 1.0":  "pi5 cm5",
		"TI AM335x BeagleBone Black":             "",
	} {
		if got := strings.Join(BoardOf(model, "").Models, " "); got != want {
			t.Errorf("%s: %q, want %q", model, got, want)
		}
	}
	if b := pi4(); b.Type != 0x11 || b.Serial != "10000000abcdef01" {
		t.Errorf("board %+v, want type 0x11", b)
	}
	if b := BoardOf("Raspberry Pi Model B Rev 2", "Revision : 000e\n"); b.Type != -1 {
		t.Errorf("old revision code: type %d, want -1", b.Type)
	}
}

// Arming is undone to the byte, and an armed file starts ours and nothing else, on every board.
func TestArmed(t *testing.T) {
	text := "initramfs a followkernel\r\n[pi3]\n initramfs b 0x1\nramfsfile=c\n[none]\nauto_initramfs=1\ncmdline=x.txt"
	armed := Silence(text) + "\n" + Block("our.img", "our.txt")
	for _, model := range []string{"Raspberry Pi 4 Model B", "Raspberry Pi 3 Model B", "Raspberry Pi Zero"} {
		lines, err := Read(files(map[string]string{"config.txt": armed}), BoardOf(model, ""))
		if err != nil {
			t.Fatal(err)
		}
		want := Start{Initramfs: []string{"our.img"}, Cmdline: "our.txt"}
		if got, err := Resolve(lines); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v; want %+v", model, got, err, want)
		}
	}
	if got := disarm.Unmark(Silence(text)); got != text {
		t.Errorf("undone: %q, want %q", got, text)
	}
}

// Flat starts the same as the files that it is made of.
func TestFlat(t *testing.T) {
	read := files(map[string]string{
		"config.txt": "# mine\r\n[pi3]\ninclude no.txt\n[all]\ninclude more.txt\ncmdline=last", "more.txt": "os_prefix=six/\n[pi4]\ninclude deep.txt", "deep.txt": "kernel=k",
	})
	got, err := Flat(read, pi4())
	want := "# mine\r\n[pi3]\ninclude no.txt\n[all]\nos_prefix=six/\n[pi4]\nkernel=k\ncmdline=last\n"
	if err != nil || got != want {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
	if _, err := Flat(files(map[string]string{"config.txt": "include gone.txt"}), pi4()); err == nil {
		t.Error("a missing file is no error")
	}
}

func TestReadAutoboot(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want Autoboot
		err  string
	}{
		"empty":        {},
		"Ubuntu 25.10": {text: "[all]\ntryboot_a_b=1\n", want: Autoboot{TrybootAB: true}},
		"A/B":          {text: "[all]\ntryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=3\n", want: Autoboot{Partition: 2, TrybootAB: true}},
		"NOOBS":        {text: "boot_partition=6\r\n", want: Autoboot{Partition: 6}},
		"none":         {text: "# x\n[none]\nboot_partition=7\n", want: Autoboot{}},
		"a model":      {text: "[pi4]\nboot_partition=2\n", err: "behind the filter [pi4]"},
		"no number":    {text: "boot_partition=two\n", err: "boot_partition=two"},
		"long":         {text: strings.Repeat("#\n", 300), err: "600 bytes"},
	} {
		got, err := ReadAutoboot(c.text)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %v, want an error with %q", name, err, c.err)
			}
			continue
		}
		if err != nil || got != c.want {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, c.want)
		}
	}
}

func TestPath(t *testing.T) {
	s := Start{Prefix: "six/"}
	if a, b := s.Path("cmdline.txt"), s.Path("/cmdline.txt"); a != "/six/cmdline.txt" || b != "/cmdline.txt" {
		t.Errorf("%s %s", a, b)
	}
}

func FuzzRead(f *testing.F) {
	f.Add("initramfs a followkernel\n[pi4]\ncmdline=x\n[EDID=1]\nos_prefix=a/\n")
	f.Add("include config.txt\n[all")
	f.Fuzz(func(t *testing.T, text string) {
		if disarm.Unmark(Silence(text)) != text && !strings.Contains(text, disarm.Mark) {
			t.Error("silencing is not undone")
		}
		_, _ = ReadAutoboot(text)
		lines, err := Read(files(map[string]string{"config.txt": text}), pi4())
		if err != nil {
			return
		}
		flat, err := Flat(files(map[string]string{"config.txt": text}), pi4())
		again, err2 := Read(files(map[string]string{"config.txt": flat}), pi4())
		if err != nil || err2 != nil || !reflect.DeepEqual(again, lines) {
			t.Errorf("flat %q is read as %+v, want %+v", flat, again, lines)
		}
		start, err := Resolve(lines)
		if err == nil && !strings.HasPrefix(start.Path(start.Cmdline), "/") {
			t.Errorf("cmdline at %q", start.Path(start.Cmdline))
		}
	})
}
