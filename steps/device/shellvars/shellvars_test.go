package shellvars

import (
	"os/exec"
	"strings"
	"testing"

	"mvdan.cc/sh/v3/syntax"
)

// The shell itself is the judge of what a value is.
func TestAsBashHasIt(t *testing.T) {
	for _, value := range []string{
		``, `a`, `"a b"`, `'a b'`, `a\ b`, `"a\"b"`, `"a\$b\` + "`" + `c"`, `'a"b'`, `"a'b"`, `a"b c"'d e'f`, `"a\nb"`, `'a\nb'`, `a\nb`, `"a#b"`, `a#b`,
		`a # b`, "'a\nb'", "\"a\\\nb\"", "a\\\nb", `*`, `{a,b}`, `a=b`, `"\\"`, `'\'`, `\\`, `$'a b'`, `"a "`, `é`, `"a	b"`, `[x]`, `a~b`, `"~"`, `""''`,
	} {
		text := "V=" + value + "\n"
		r, err := Read([]byte(text), "f")
		if err != nil || len(r.Problems) > 0 || len(r.Settings) != 1 {
			t.Errorf("%q: %v, %+v", text, err, r)
			continue
		}
		cmd := exec.Command("bash", "--norc", "-c", `. /dev/stdin; printf %s "$V"`)
		cmd.Stdin = strings.NewReader(text)
		want, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		if r.Settings[0].Value != string(want) {
			t.Errorf("%q: %q, and bash says %q", text, r.Settings[0].Value, want)
		}
	}
}

func TestQuotes(t *testing.T) {
	for _, c := range [][2]string{
		{`a`, "a"}, {`''`, ""}, {``, ""}, {`'a b'`, "a b"}, {`"a b"`, "a b"}, {`a\ b`, "a b"}, {`"a\"b\$c\\d\e"`, `a"b$c\d\e`},
		{`'it'\''s'`, "it's"}, {`a"b"'c'`, "abc"}, {`"two` + "\n" + `lines"`, "two\nlines"}, {`$'plain'`, "plain"}, {`a#b`, "a#b"}, {`a~b`, "a~b"},
		{`'$(x) ` + "`y`" + `'`, "$(x) `y`"}, {`"a\` + "\n" + `b"`, "ab"}, {`-o\ X=Y`, "-o X=Y"}, {`"~"`, "~"}, {`*`, "*"},
	} {
		f, err := Read([]byte("K="+c[0]+"\n"), "f")
		if err != nil || len(f.Problems) > 0 || len(f.Settings) != 1 || f.Settings[0].Value != c[1] {
			t.Errorf("%s: %+v, %v; want %q", c[0], f, err, c[1])
		}
	}
}

// FuzzRead: whatever a file has, it is read, or refused at a place in it; and what is quoted for a shell comes back as it was.
func FuzzRead(f *testing.F) {
	f.Add("A=(a 'b' \"c\")\nB+=x\nexport A=\\\n$'x'\n")
	f.Add("A=$(b) C=`d` E=${F} G=$((1)) H=<(i) J=~ [k]=l\r\n((((\n")
	f.Add("{{ x }} 'a' \\")
	f.Fuzz(func(t *testing.T, text string) {
		file, err := Read([]byte(text), "f")
		if (err == nil) != (file != nil) {
			t.Fatalf("%v, %v", file, err)
		}
		if err != nil && !strings.HasPrefix(err.Error(), "f:") {
			t.Errorf("%v: no place", err)
		}
		quoted, err := syntax.Quote(text, syntax.LangPOSIX)
		if err != nil || strings.HasPrefix(quoted, "~") || strings.Contains(text, "\r\n") {
			return
		}
		if file, err = Read([]byte("K="+quoted), "f"); err != nil || len(file.Problems) > 0 || len(file.Settings) != 1 || file.Settings[0].Value != text {
			t.Errorf("%q quoted as %s: %+v, %v", text, quoted, file, err)
		}
	})
}
