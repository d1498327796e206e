package balena

import (
	"slices"
	"strings"
	"testing"
)

// Each is later than the one before (semver 2.0.0, item 11, and balena's revisions).
func TestOrder(t *testing.T) {
	order := []string{
		"0.0.1", "0.1.0", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1", "1.0.0",
		"2.9.0", "2.10.0", "2.50.1", "2.50.1+rev1", "2.50.1+rev2.prod", "2.50.1+rev10", "2.50.2-1700000000000", "2.50.2", "18446744073709551615.0.0",
	}
	for i, a := range order {
		for j, b := range order {
			v, err := ParseVersion(a)
			w, err2 := ParseVersion(b)
			if err != nil || err2 != nil {
				t.Fatal(err, err2)
			}
			want := 0
			if i < j {
				want = -1
			} else if i > j {
				want = 1
			}
			if got := v.Compare(w); got != want {
				t.Errorf("%s against %s: %d, want %d", a, b, got, want)
			}
		}
	}
	v, err := ParseVersion("v1.2.3+rev1")
	if err != nil || v.String() != "1.2.3+rev1" {
		t.Errorf("%s, %v", v, err)
	}
}

func TestBadVersions(t *testing.T) {
	for _, text := range []string{
		"", "1", "1.2", "1.2.3.4", "a.b.c", "1.2.x", "01.2.3", "1.2.3-", "1.2.3-a..b", "1.2.3+", "1.2.3+ä", "-1.2.3", "1.2.3 ", "18446744073709551616.0.0",
		"1.2.3-" + strings.Repeat("a", 300), "1.2.3\n", "vv1.2.3",
	} {
		if v, err := ParseVersion(text); err == nil || !strings.Contains(err.Error(), "6.1.2") {
			t.Errorf("%q: %+v, error %v", text, v, err)
		}
	}
}

// P3: latest, exact, and ranges; pre-releases only if asked for exactly.
func TestChoose(t *testing.T) {
	all := []string{
		"2.9.7", "2.50.0", "2.50.1", "2.50.1+rev1", "2.50.1+rev2", "2.51.0-rc.1", "2.48.0", "2.98.33", "3.0.0", "6.1.2", "6.1.24", "6.1.9", "6.2.0", "7.0.0-rc.1",
		"0.1.2", "0.1.9", "0.2.0", "0.0.3", "0.0.4",
	}
	var versions []Version
	for _, text := range all {
		v, err := ParseVersion(text)
		if err != nil {
			t.Fatal(err)
		}
		versions = append(versions, v)
	}
	for wish, want := range map[string]string{
		"latest": "6.2.0", "default": "6.2.0", " latest ": "6.2.0", "2.50.0": "2.50.0", "v2.50.0": "2.50.0", "2.50.1": "2.50.1+rev2", "2.50.1+rev1": "2.50.1+rev1",
		"7.0.0-rc.1": "7.0.0-rc.1", "2.51.0-rc.1": "2.51.0-rc.1",
		"~2.50.0": "2.50.1+rev2", "~2.50.1": "2.50.1+rev2", "~2.50": "2.50.1+rev2", "~2": "2.98.33", "~6.1.10": "6.1.24",
		"^2.50.0": "2.98.33", "^2": "2.98.33", "^6.1": "6.2.0", "^6.1.2": "6.2.0", "~ 6.1": "6.1.24",
		"^0.1.2": "0.1.9", "^0.0.3": "0.0.3", "^0": "0.2.0", "^0.0": "0.0.4", "^0.1": "0.1.9", "~0.0.3": "0.0.4",
		"^2.51.0-rc.1": "2.98.33",
	} {
		w, err := ParseWish(wish)
		if err != nil {
			t.Errorf("%s: %v", wish, err)
			continue
		}
		if got, err := w.Choose(versions); err != nil || got.String() != want {
			t.Errorf("%s: %s, want %s; error %v", wish, got, want, err)
		}
	}
	for wish, want := range map[string]string{
		"^7": "none of 19 versions, the latest being 7.0.0-rc.1, 6.2.0, 6.1.24, 6.1.9, 6.1.2, suits ^7", "9.9.9": "suits 9.9.9", "7.0.0": "suits 7.0.0",
		"2.50.1+rev3": "suits 2.50.1+rev3", "~2.51.0": "suits ~2.51.0",
	} {
		w, err := ParseWish(wish)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := w.Choose(versions); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %s, error %v, want %q", wish, got, err, want)
		}
	}
	if _, err := (Wish{text: "latest"}).Choose(nil); err == nil {
		t.Error("something was chosen of nothing")
	}
}

func TestBadWishes(t *testing.T) {
	for _, text := range []string{"", "newest", ">=1.2.3", "1.x", "~", "^", "~1.2.3.4", "^a", "1.2", "1.2.3 - 2.0.0", "~1..2", "^1.2.3-"} {
		if w, err := ParseWish(text); err == nil {
			t.Errorf("%q: %+v", text, w)
		}
	}
}

// Whatever the texts, order is an order, and what is chosen suits.
func FuzzVersion(f *testing.F) {
	f.Add("1.2.3-rc.1+rev2", "1.2.3", "^1.2")
	f.Add("v2.50.1+rev1.prod", "0.0.1-0.a", "~0.0.1")
	f.Add("latest", "18446744073709551615.1.1", "^18446744073709551615")
	f.Fuzz(func(t *testing.T, a, b, wish string) {
		v, errA := ParseVersion(a)
		w, errB := ParseVersion(b)
		if errA != nil || errB != nil {
			return
		}
		if v.Compare(w) != -w.Compare(v) || v.Compare(v) != 0 {
			t.Errorf("%s, %s: %d and %d", v, w, v.Compare(w), w.Compare(v))
		}
		if again, err := ParseVersion(v.String()); err != nil || again.Compare(v) != 0 {
			t.Errorf("%s read again: %s, %v", v, again, err)
		}
		want, err := ParseWish(wish)
		if err != nil {
			return
		}
		got, err := want.Choose([]Version{v, w})
		if err == nil && (!want.suits(got) || slices.ContainsFunc([]Version{v, w}, func(x Version) bool { return want.suits(x) && x.Compare(got) > 0 })) {
			t.Errorf("%s of %s and %s: %s", want, v, w, got)
		}
	})
}
