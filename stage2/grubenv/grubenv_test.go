package grubenv

import (
	"bytes"
	"strings"
	"testing"
)

func block(body string) []byte {
	text := header + body
	return []byte(text + strings.Repeat("#", Size-len(text)))
}

func TestSetAndUnsetRestoreTheBlock(t *testing.T) {
	for _, body := range []string{"", "saved_entry=0\n", "# kept\nsaved_entry=a\\\\b\nx=\n", "next_entry=\nboot_success=1\n"} {
		before := block(body)
		env, err := Parse(before)
		if err != nil {
			t.Fatal(err)
		}
		env.Set("balena_test", `a\b`)
		if got, ok := env.Get("balena_test"); !ok || got != `a\b` {
			t.Errorf("get after set: %q %v", got, ok)
		}
		armed, err := env.Bytes()
		if err != nil || len(armed) != Size {
			t.Fatalf("%d bytes, %v", len(armed), err)
		}
		again, err := Parse(armed)
		if err != nil {
			t.Fatal(err)
		}
		again.Unset("balena_test")
		after, _ := again.Bytes()
		if !bytes.Equal(before, after) {
			t.Errorf("body %q came back as %q", body, strings.TrimRight(string(after), "#"))
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for name, data := range map[string][]byte{
		"short": []byte(header), "long": append(block(""), '#'), "no header": bytes.Repeat([]byte("#"), Size), "zeros": make([]byte, Size),
	} {
		if _, err := Parse(data); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestBytesRefusesWhatDoesNotFit(t *testing.T) {
	env := New()
	env.Set("x", strings.Repeat("y", Size))
	if _, err := env.Bytes(); err == nil {
		t.Error("no error")
	}
}

func FuzzParse(f *testing.F) {
	f.Add(block("saved_entry=0\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		env, err := Parse(data)
		if err != nil {
			return
		}
		env.Set("next_entry", "balena")
		if got, _ := env.Get("next_entry"); got != "balena" {
			t.Errorf("got %q", got)
		}
		if out, err := env.Bytes(); err == nil && len(out) != Size {
			t.Errorf("%d bytes", len(out))
		}
	})
}
