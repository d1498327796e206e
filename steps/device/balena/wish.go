package balena

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Wish is what an operator asks for: the latest version, one exactly, or a range (P3).
type Wish struct {
	text string
	// exact is set for a version by itself.
	exact *Version
	// from and below bound a range; both are nil for the latest.
	from, below *Version
}

// ParseWish reads "latest" or "default", a version, or a range: ~1.2.3 is any 1.2 from 1.2.3 on, ^1.2.3 any 1 from
// 1.2.3 on; with fewer numbers, ~1.2, ^1 and ~1, from the first one on.
func ParseWish(text string) (Wish, error) {
	text = strings.TrimSpace(text)
	w := Wish{text: text}
	switch {
	case text == "latest", text == "default":
		return w, nil
	case strings.HasPrefix(text, "~"), strings.HasPrefix(text, "^"):
		return w, w.readRange(text[0], strings.TrimSpace(text[1:]))
	}
	v, err := ParseVersion(text)
	if err != nil {
		return w, fmt.Errorf("%w; or latest, or a range such as ~6.1.2 or ^6.1", err)
	}
	w.exact = &v
	return w, nil
}

// readRange works out where a range begins and ends.
func (w *Wish) readRange(kind byte, text string) error {
	core, rest := text, ""
	if i := strings.IndexAny(text, "-+"); i >= 0 {
		core, rest = text[:i], text[i:]
	}
	given := strings.Count(core, ".") + 1
	v, err := ParseVersion(core + strings.Repeat(".0", max(3-given, 0)) + rest)
	if err != nil {
		return err
	}
	w.from = &v
	end := Version{Major: v.Major + 1}
	switch {
	case kind == '~' && given > 1, kind == '^' && v.Major == 0 && (v.Minor > 0 || given == 2):
		end = Version{Major: v.Major, Minor: v.Minor + 1}
	case kind == '^' && v.Major == 0 && given == 3:
		end = Version{Patch: v.Patch + 1}
	}
	w.below = &end
	return nil
}

// String is the text of the wish.
func (w Wish) String() string { return w.text }

// suits says whether a version may be chosen. Pre-releases only are if they are asked for exactly (P3).
func (w Wish) suits(v Version) bool {
	if w.exact != nil {
		return v.Compare(*w.exact) == 0 && len(w.exact.Build) > 0 || len(w.exact.Build) == 0 && v.core().Compare(w.exact.core()) == 0
	}
	if len(v.Pre) > 0 {
		return false
	}
	return w.from == nil || v.Compare(*w.from) >= 0 && v.Compare(*w.below) < 0
}

// core is the version without build metadata.
func (v Version) core() Version {
	v.Build = nil
	return v
}

// ErrNone is wrapped by the error for a wish that no version suits.
var ErrNone = errors.New("there is no such version of balenaOS")

// Choose returns the latest of all that suits.
func (w Wish) Choose(all []Version) (Version, error) {
	fit := slices.DeleteFunc(slices.Clone(all), func(v Version) bool { return !w.suits(v) })
	if len(fit) > 0 {
		return slices.MaxFunc(fit, Version.Compare), nil
	}
	if len(all) == 0 {
		return Version{}, fmt.Errorf("%w: no version at all, expected %s", ErrNone, w.text)
	}
	sorted := slices.SortedFunc(slices.Values(all), func(a, b Version) int { return b.Compare(a) })
	var latest []string
	for _, v := range sorted[:min(len(sorted), 5)] {
		latest = append(latest, v.String())
	}
	return Version{}, fmt.Errorf("%w: none of %d versions, the latest being %s, suits %s", ErrNone, len(all), strings.Join(latest, ", "), w.text)
}
