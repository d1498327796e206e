package precheck

import (
	"strings"
	"testing"

	"github.com/balena-community/balena-migrate/schema"
)

func TestParseOS(t *testing.T) {
	for _, c := range []struct {
		text string
		want schema.OSFacts
	}{
		{"ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n", schema.OSFacts{ID: "debian", VersionID: "12", Name: "Debian GNU/Linux 12 (bookworm)"}},
		{"# ID=ubuntu\r\n ID='debian'\r\nVERSION_ID=13", schema.OSFacts{ID: "debian", VersionID: "13", Name: "Linux"}},
		{"ID=a\nID=b", schema.OSFacts{ID: "b", Name: "Linux"}},
		{`PRETTY_NAME="a \"b\" \$c \x 'd'"`, schema.OSFacts{ID: "linux", Name: `a "b" $c \x 'd'`}},
		{`PRETTY_NAME='a \ "b"'"c"d\ e`, schema.OSFacts{ID: "linux", Name: `a \ "b"cd e`}},
		{"MY_ID=x\nNAME\n=\n", schema.OSFacts{ID: "linux", Name: "Linux"}},
		{"PRETTY_NAME=\"open\\", schema.OSFacts{ID: "linux", Name: "open\\"}},
		{"", schema.OSFacts{ID: "linux", Name: "Linux"}},
	} {
		if got := parseOS(c.text); got != c.want {
			t.Errorf("%q: %+v, want %+v", c.text, got, c.want)
		}
	}
}

func FuzzParseOS(f *testing.F) {
	f.Add("ID=\"debian\"\nVERSION_ID='12'\n")
	f.Add("PRETTY_NAME=\"\\\"\xff")
	f.Fuzz(func(t *testing.T, text string) {
		got := parseOS(text)
		if _, err := schema.Encode(got); err != nil {
			t.Error(err)
		}
		if !strings.Contains(text, "ID") && got.ID != "linux" {
			t.Errorf("ID %q out of nothing", got.ID)
		}
	})
}

// TestWriteSpeed is S53: sectors of 512 bytes, and nothing is divided by zero.
func TestWriteSpeed(t *testing.T) {
	for _, c := range []struct {
		name, stat string
		want       int64
		bad        bool
	}{
		{"eleven fields, before Linux 4.18", "1 2 3 4 5 6 20480 1000 0 1000 2000", 10485, false},
		{"requests that waited together", "1 2 3 4 5 6 20480 50000 0 1000 2000 0 0 0 0 0 0", 10485, false},
		{"busy with reading", "1 2 3 4 5 6 20480 1000 0 90000 2000", 10485, false},
		{"nothing written", "1 2 3 4 0 0 0 0 0 5 5", 0, false},
		{"hardly anything written", "1 2 3 4 1 0 8 2 0 5 5", 0, false},
		{"written in no time", "1 2 3 4 1 0 20480 0 0 0 0", 0, false},
		{"more than 64 bits of bytes", "1 2 3 4 1 0 9223372036854775807 1 0 1 1", 0, true},
		{"negative", "1 2 3 4 1 0 -20480 1 0 1 1", 0, true},
		{"cut off", "1 2 3", 0, true},
		{"text", "a b c d e f g h i j k", 0, true},
	} {
		got, err := writeSpeed(c.stat)
		if got != c.want || (err != nil) != c.bad {
			t.Errorf("%s: %d, %v, want %d", c.name, got, err, c.want)
		}
	}
}

func FuzzWriteSpeed(f *testing.F) {
	f.Add("1 2 3 4 5 6 20480 1000 0 1000 2000")
	f.Fuzz(func(t *testing.T, stat string) {
		if got, _ := writeSpeed(stat); got < 0 {
			t.Errorf("%d kB/s", got)
		}
	})
}
